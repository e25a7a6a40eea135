"""`genesim example`: the raw files of the built-in example."""

from __future__ import annotations

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say


def run(out: Out, config: Config = None, seed: Seed = None, dry_run: DryRun = False, quiet: Quiet = False) -> None:
    """Write the built-in example: real cells bundled with scanpy, donors simulated by msprime."""
    settings, seed = begin(config, seed, quiet)
    if planned(dry_run, "write the example's raw files", out):
        return
    from genesim.config.run import ExampleConfig
    from genesim.data.example import write_example

    sizes = (settings.example or ExampleConfig()).model_dump()
    say(quiet, *write_example(out, seed=seed, **sizes).values())

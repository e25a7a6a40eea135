"""The whole workflow from raw files to scores, over seeds: mean and SD of every score beside its floor and null.

    python benchmarks/workflow.py --config config/onek1k.yaml --seeds 0 1 2

Runs Snakemake once a seed (each seed divides, trains, simulates and evaluates anew) and writes
`workflow_<name>.csv` and `.json` beside this file. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
from record import ROOT, write_record

HERE = Path(__file__).resolve().parent


def run(config: Path, seed: int) -> pd.DataFrame:
    """Scores of one seed's run."""
    results = f"results/benchmark/{config.stem}/{seed}"
    paths = f"pathvars={{results: {results}, logs: {results}/logs, benchmarks: {results}/benchmarks}}"
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/default", "--configfile", str(config)]
    subprocess.run([*command, "--config", f"seed={seed}", paths], cwd=ROOT, check=True)
    return pd.read_csv(ROOT / results / "evaluation" / "scores.csv").assign(seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config/onek1k.yaml"))
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    scores = pd.concat([run(asked.config, seed) for seed in asked.seeds])
    scores = scores[scores["stratum"].isna()]
    keys = ["subject", "metric", "label", "unit", "direction"]
    values = scores.groupby(keys, sort=False, dropna=False)
    table = values[["value", "floor", "null"]].mean()
    table.insert(1, "value_sd", values["value"].std())
    table.insert(0, "n_seeds", values["seed"].nunique())
    out = asked.out / f"workflow_{asked.config.stem}"
    table.round(4).reset_index().to_csv(out.with_suffix(".csv"), index=False)
    write_record(out.with_suffix(".json"), config=asked.config.read_text().splitlines())


if __name__ == "__main__":
    main()

"""Whether the files of a run's config are there and fit together, looked at without reading counts or genotypes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from anndata.io import read_elem

from genesim.config.inputs import InputsConfig
from genesim.config.run import RunConfig
from genesim.data.annotation import read_genes
from genesim.data.contigs import reconcile_contigs
from genesim.data.donors import join_donors, read_donor_table
from genesim.data.genotypes.phase import find_program
from genesim.data.genotypes.read import open_source
from genesim.data.genotypes.source import Source
from genesim.data.kinship_table import read_kinship
from genesim.data.names import some
from genesim.data.preflight_h5ad import is_zarr, open_h5ad, open_zarr, worded
from genesim.doctor.check import Check
from genesim.doctor.machine import disk
from genesim.errors import GenesimError

T = TypeVar("T")


def _try(name: str, look: Callable[[], T], say: Callable[[Any], str]) -> tuple[Check, T | None]:
    """What `look` finds; a typed error becomes a check that is missing."""
    try:
        found = look()
    except GenesimError as error:
        text = f"{error.where}: {error.found}" if error.where else error.found
        return Check(name, "missing", text, error.remedy or ""), None
    return Check(name, "ok", say(found)), found


def _obs(path: Path) -> pd.DataFrame:
    if is_zarr(path):
        return read_elem(open_zarr(path)["obs"])
    with open_h5ad(path) as file, worded(str(path)):
        return read_elem(file["obs"])


def _keys(name: str, obs: pd.DataFrame, wanted: list[str]) -> Check:
    missing = [key for key in wanted if key not in obs]
    if missing:
        found = f"obs has no {some(missing)}; it has {some(list(obs.columns))}"
        return Check(name, "missing", found, "name columns of obs in the config")
    return Check(name, "ok", f"obs has {', '.join(wanted)}")


def _contigs(source: Source, inputs: InputsConfig) -> list[str]:
    # Those that the header declares; only where it declares none are the records looked at.
    present = list(source.contig_lengths) or list(dict.fromkeys(source.contigs()))
    reconcile_contigs(present, inputs.contigs, where=source.where)
    return list(inputs.contigs) or present


def check_inputs(inputs: InputsConfig) -> Iterator[Check]:
    """Cells, genotypes, donors and genes of a run, one by one and then together."""
    check, obs = _try("inputs.h5ad", lambda: _obs(inputs.h5ad), lambda found: f"{len(found)} cells in {inputs.h5ad}")
    yield check
    if obs is not None:
        keys = [inputs.donor_key, inputs.labels_key, inputs.batch_key]
        covariates = (*inputs.categorical_covariate_keys, *inputs.continuous_covariate_keys)
        yield _keys("inputs.h5ad obs", obs, [key for key in (*keys, *covariates) if key is not None])
    check, source = _try(
        "inputs.vcf",
        lambda: open_source(inputs.vcf, inputs.genotypes),
        lambda found: f"{len(found.donors)} donors in {inputs.vcf}",
    )
    yield check
    if source is not None:
        yield _try("inputs.contigs", lambda: _contigs(source, inputs), lambda found: some(found))[0]
    table = None
    if inputs.donors is not None:
        path, columns = inputs.donors, inputs.donor_columns
        check, table = _try("inputs.donors", lambda: read_donor_table(path, columns), lambda t: f"{len(t)} in {path}")
        yield check
    paired = "donors" not in inputs.deal and (inputs.donors is None or table is not None)
    if obs is not None and source is not None and inputs.donor_key in obs and paired:
        cells, genotyped = obs[inputs.donor_key].astype(str), pd.Index(list(source.donors), dtype=object)
        yield _try(
            "donors of both",
            lambda: join_donors(cells, genotyped, table, min_overlap=inputs.min_donor_overlap),
            lambda joined: f"{int((joined['has_cells'] & joined['has_genotypes']).sum())} have cells and genotypes",
        )[0]
    if inputs.genes is not None:
        genes = inputs.genes
        yield _try("inputs.genes", lambda: read_genes(genes), lambda found: f"{len(found)} genes in {genes}")[0]
    if inputs.kinship is not None:
        kinship = inputs.kinship
        yield _try("inputs.kinship", lambda: read_kinship(kinship), lambda found: f"{len(found)} donors")[0]
    if inputs.phase != "never":
        yield _try("inputs.phase", lambda: find_program(inputs.phase), str)[0]


def check_run(run: RunConfig) -> Iterator[Check]:
    """All that a run reads, and the place that it writes to."""
    if run.inputs is not None:
        yield from check_inputs(run.inputs)
    if run.perturbation is not None:
        screen = run.perturbation
        check, obs = _try("perturbation.h5ad", lambda: _obs(screen.h5ad), lambda found: f"{len(found)} cells")
        yield check
        if obs is not None:
            keys = [screen.perturbation_key, screen.dose_key, screen.library_key, *screen.covariate_keys]
            yield _keys("perturbation.h5ad obs", obs, [key for key in keys if key is not None])
        yield _try("perturbation.sweep", screen.requests, lambda found: f"{len(found)} perturbations")[0]
    prior = run.models.effects.prior
    for name, path in prior.files.items():
        there = Path(path).is_file()
        yield Check(
            f"prior {name}", "ok" if there else "missing", str(path), "" if there else "check the path: it is not there"
        )
    yield _try("scenario", run.resolved_scenario, lambda found: found.name)[0]
    yield disk(Path(run.pathvars.results), "results folder")

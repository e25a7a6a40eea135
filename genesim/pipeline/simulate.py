"""simulate: a scenario and trained models -> a new cohort's genotypes, cells and truth.

Genotypes can be drawn contig by contig (`simulate_genotypes`), by as many jobs: who the donors are
follows from the scenario, the seed and the models alone. Cells likewise, shard by shard (`simulate_cells`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.scenario import Scenario
from genesim.console import log
from genesim.pipeline.cohort import SimulatedCohort, simulate_cohort, with_shares
from genesim.pipeline.cohort_cells import PlannedCells, plan_cells
from genesim.pipeline.cohort_genotypes import draw_genotypes as _draw_genotypes
from genesim.pipeline.cohort_genotypes import read_scenario, simulate_genotypes
from genesim.pipeline.models import Models, haplotype_folders
from genesim.provenance.record import Provenance, hash_input
from genesim.simulate.cell_store import CellShard, gather_cells
from genesim.simulate.cells import shard_rows
from genesim.simulate.dataset import ExpressionTruth, SimulatedDataset
from genesim.simulate.donor_effects import deviation_tables

__all__ = ["Models", "_draw_genotypes", "haplotype_folders", "simulate", "simulate_cells", "simulate_genotypes"]


def _loaded(models: Models | str | Path, need_haplotypes: bool) -> tuple[Models, dict[str, str]]:
    """The models, and hashes of the folders that they were read from."""
    if isinstance(models, Models):
        return models, {}
    root = Path(models)
    folders = {name: root / name for name in ("expression", "effects", "perturbation")}
    if need_haplotypes or (root / "haplotypes").is_dir():
        folders |= {f"haplotypes/{p.name}": p for p in haplotype_folders(root)}
    loaded = Models.load(root, need_haplotypes)  # which checks the manifests that are hashed next
    return loaded, {name: hash_input(path) for name, path in folders.items() if path.is_dir()}


def _digest(scenario: Scenario, seed: int, inputs: dict[str, str], planned: PlannedCells) -> str:
    """Of all that counts are drawn from: shards of other plans must not be mixed."""
    asked = json.dumps([scenario.model_dump(mode="json"), seed, inputs, planned.affected], sort_keys=True)
    obs = pd.util.hash_pandas_object(planned.obs).to_numpy()
    return hashlib.sha256(asked.encode() + obs.tobytes() + np.ascontiguousarray(planned.fold).tobytes()).hexdigest()


def _planned(
    scenario: Scenario, models: Models | str | Path, parts: Sequence[str | Path], seed: int
) -> tuple[Models, dict[str, str], SimulatedCohort, PlannedCells]:
    """All but the counts: it follows from scenario, models and seed, so every job finds the same."""
    models, inputs = _loaded(models, need_haplotypes=scenario.population.vcf is None)
    if scenario.population.vcf is not None:
        inputs["vcf"] = hash_input(scenario.population.vcf)
    cohort = simulate_cohort(scenario, models, parts, seed)
    return models, inputs, cohort, plan_cells(scenario, models, cohort, seed)


def simulate_cells(
    scenario: Scenario | str | Path,
    models: Models | str | Path,
    seed: int = 0,
    *,
    shard: tuple[int, int],
    out: str | Path,
    parts: Sequence[str | Path] = (),
) -> CellShard:
    """Draw one shard of a scenario's cells into `out`, for `simulate(cells_from=...)`.

    Args:
        shard: `(k, n)`, the k-th (from 0) of n. Shards are whole chunks of 2,048 cells, so that the draw is the same
            bit for bit; of few cells, some shards are empty.
        parts: As for `simulate`.

    Raises:
        ConditionError, ConfigError: As for `simulate`.
    """
    scenario = read_scenario(scenario)
    models, inputs, _, planned = _planned(scenario, models, parts, seed)
    counts, library = planned.plan.draw(shard)
    first = shard_rows(len(planned.obs), shard).start
    drawn = CellShard(counts, library, first, _digest(scenario, seed, inputs, planned))
    drawn.save(out)
    log.info("cells %d to %d of %d: %s", first + 1, first + counts.shape[0], len(planned.obs), out)
    return drawn


def simulate(
    scenario: Scenario | str | Path,
    models: Models | str | Path,
    seed: int = 0,
    *,
    parts: Sequence[str | Path] = (),
    cells_from: Sequence[str | Path] = (),
    out: str | Path | None = None,
) -> SimulatedDataset:
    """Play out a scenario.

    Args:
        scenario: The record, or its YAML file.
        models: Trained models, or the directory that holds them.
        parts: Genotype stores of `simulate_genotypes`; without them genotypes are drawn here.
        cells_from: Shards of `simulate_cells`; without them cells are drawn here. The output is the same.
        out: Directory to write; nothing is written without one.

    Raises:
        ConditionError: An ancestry, cell type or covariate level was not in training.
        ConfigError: The scenario needs a model that is not there, or cannot be met.
    """
    scenario = read_scenario(scenario)
    models, inputs, cohort, planned = _planned(scenario, models, parts, seed)

    expression = models.expression
    cells = expression.empty_cells(planned.obs)
    if cells_from:
        shards = (CellShard.load(path) for path in cells_from)
        cells.X, library = gather_cells(shards, _digest(scenario, seed, inputs, planned), len(planned.obs))
    else:
        cells.X, library = planned.plan.draw()
    if scenario.cells.batches.n == 1:
        del cells.obs["planted_batch" if "planted_batch" in planned.obs else "batch"]
    placed = planned.genes[["contig", "tss", "has_effect"]]
    cells.var = cells.var.drop(columns=placed.columns, errors="ignore").join(placed)
    counted = np.bincount(planned.donor, minlength=len(cohort.donors))
    donors = with_shares(cohort.donors.assign(n_cells=counted), cohort.truth)
    donors["mean_library_size"] = np.bincount(planned.donor, library, len(donors)) / counted
    cell_types = list(expression.cell_types)
    streamed = {}
    if scenario.donor_effects.deviates:
        law, names, sd = scenario.donor_effects, list(donors.index), planned.learned_sd
        streamed["donor_deviation"] = lambda: deviation_tables(law, names, cell_types, expression.genes, seed, sd)
    settings = scenario.model_dump(mode="json") | {"models": models.methods}
    if scenario.population.vcf is not None:
        settings["vcf_report"] = dict(cohort.genotypes.report)
    dataset = SimulatedDataset(
        cells=cells,
        genotypes=cohort.genotypes,
        effects=planned.effects,
        donors=donors,
        genes=planned.genes,
        fold=ExpressionTruth(planned.fold, donors.index, cell_types, planned.affected),
        more_truth=cohort.truth | planned.truth,
        scenario=scenario,
        provenance=Provenance("simulate", seed, settings, inputs, synthetic=True),
        streamed_truth=streamed,
        true_rates=planned.plan.true_rates if scenario.truth.rates else None,
    )
    if out is not None:
        dataset.write(out)
        log.info(
            "simulated: %d cells of %d donors, %d variants: %s",
            cells.n_obs,
            len(donors),
            cohort.genotypes.n_variants,
            out,
        )
    return dataset

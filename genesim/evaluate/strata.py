"""Cells of one cell type, one batch or one held-out donor: where is the likeness worst?

A stratum's test cells stand beside as many simulated, training (floor) and null cells of the same type or batch, and of
the same mix of cell types. A held-out donor has no counterpart: simulated cells of all donors stand beside the donor's,
and the floor is what the training donors' cells reach. Held-out donors are numbered in the order of their names, which
are told nowhere: a table of scores may be handed out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.console import log
from genesim.evaluate.cells import Labels, stratified
from genesim.evaluate.expression_hand import Comparison, HandCells
from genesim.evaluate.score import Score, scored
from genesim.metrics import expression
from genesim.metrics.interval import Interval, half_sample_intervals, normal_interval

WITHIN = ("classifier_auc_harder", "gene_mean_rmse", "ks_zero_fraction", "ks_log_library", "ks_detected_genes")
"""Metrics of a stratum."""
DONOR = "held-out donor"
_N_FOLDS, _N_COMPONENTS, _N_TOP_GENES = 3, 20, 50
"""Most folds, components and single genes of the classifier: hundreds of cells feed no more, and strata are many."""


@dataclass(frozen=True)
class Stratum:
    """Cells to compare.

    Attributes:
        name: Such as "cell type: B cells".
        rows: By data set, ascending; as many in each set, of the same cell types.
    """

    name: str
    rows: Mapping[str, Int[np.ndarray, " cell"]]


def strata(
    labels: Mapping[str, Labels],
    codes: Mapping[str, Int[np.ndarray, " cell"]],
    batches: Mapping[str, np.ndarray],
    donors: Mapping[str, np.ndarray],
    seed: int,
    config: EvaluateConfig,
) -> list[Stratum]:
    """The strata with cells enough in every set: cell types, then batches, then held-out donors.

    Args:
        labels: Cell type of each cell, by set; None where it is not known.
        codes: Codes of the cell types, shared by all sets.
        batches: Batch of each cell, of every set or of none.
        donors: Donor of each test cell ("test") and, where they may be among the test donors, of each training cell
            ("train"): a donor's cells are no floor for the donor's others. May be empty.
        seed: Of the draws.
        config: Least and most cells, and most strata of a kind; where there are more, the largest.
    """
    given = {name: own for name, own in labels.items() if own is not None}
    kinds: dict[str, Mapping[str, np.ndarray]] = {
        "cell type": given if len(given) == len(labels) else {},
        "batch": batches,
        DONOR: donors,
    }
    found: list[Stratum] = []
    for kind, values in kinds.items():
        of = {name: np.asarray(own, object).astype(str) for name, own in values.items()}
        if "test" not in of:
            continue
        count = pd.Series(of["test"]).value_counts()
        numbers = {level: i for i, level in enumerate(sorted(count.index), 1)}
        chosen: dict[int, Stratum] = {}
        for level in sorted(count.index, key=lambda level: (-count[level], level)):
            if len(chosen) == config.max_strata:
                log.info("%s: scored within the %d largest of %d", kind, len(chosen), len(count))
                break
            name = f"{kind}: {numbers[level] if kind == DONOR else level}"
            if kind == DONOR:
                pools = {other: np.ones(len(own), bool) for other, own in codes.items()}
                pools |= {other: of[other] != level for other in of} | {"test": of["test"] == level}
            else:
                pools = {other: of[other] == level for other in codes}
            rows = _drawn(pools, codes, rng.generator(seed, "evaluate", "strata", name), config)
            if rows is not None:
                chosen[numbers[level]] = Stratum(name, rows)
        found += [chosen[number] for number in sorted(chosen)]
    return found


def _drawn(
    pools: Mapping[str, np.ndarray],
    codes: Mapping[str, Int[np.ndarray, " cell"]],
    generator: np.random.Generator,
    config: EvaluateConfig,
) -> dict[str, Int[np.ndarray, " cell"]] | None:
    """Rows of each set at the test cells' mix of types, of the types that every set has; None if they are too few."""
    n_types = 1 + max(int(own.max(initial=0)) for own in codes.values())
    rows = {name: generator.permutation(np.flatnonzero(inside)) for name, inside in pools.items()}
    of_type = {name: codes[name][index] for name, index in rows.items()}
    drawn = stratified(of_type["test"], config.max_cells_per_stratum, np.arange(len(of_type["test"])))
    quota = np.bincount(of_type["test"][drawn], minlength=n_types)
    for own in of_type.values():
        quota = np.minimum(quota, np.bincount(own, minlength=n_types))
    if quota.sum() < config.min_cells_per_stratum:
        return None
    return {
        name: np.sort(np.concatenate([rows[name][own == t][:k] for t, k in enumerate(quota) if k]))
        for name, own in of_type.items()
    }


def _summed(test: HandCells, other: HandCells) -> dict[str, float]:
    genes = [expression.gene_summaries(cells.counts, cells.log) for cells in (test, other)]
    cells = [expression.cell_summaries(cells.counts) for cells in (test, other)]
    ks = expression.ks_distance
    return {
        "gene_mean_rmse": expression.gene_mean_error(genes[0].mean, genes[1].mean),
        "ks_zero_fraction": ks(genes[0].zero_fraction, genes[1].zero_fraction),
        "ks_log_library": ks(cells[0].log_library, cells[1].log_library),
        "ks_detected_genes": ks(cells[0].detected_genes, cells[1].detected_genes),
    }


def _values(test: HandCells, other: HandCells, seed: int, config: EvaluateConfig) -> dict[str, float]:
    auc = Comparison(test, other, None, seed, config).classifier(True).auc
    return {"classifier_auc_harder": auc, **_summed(test, other)}


def _intervals(test: HandCells, other: HandCells, name: str, seed: int, config: EvaluateConfig) -> dict[str, Interval]:
    found = half_sample_intervals(
        lambda a, b: _summed(test.take(a), other.take(b)),
        (len(test), len(other)),
        n_repeats=config.n_bootstrap,
        generator=rng.generator(seed, "evaluate", "strata", "halves", name),
        coverage=config.coverage,
    )
    auc = Comparison(test, other, None, seed, config).classifier(True)
    return {"classifier_auc_harder": normal_interval(*auc, config.coverage), **found}


def stratum_scores(
    chosen: Sequence[Stratum],
    taken: Mapping[str, Mapping[str, sparse.csr_matrix]],
    subject: str,
    seed: int,
    config: EvaluateConfig,
) -> Iterator[Score]:
    """Scores of every stratum, beside its own floor and null.

    Args:
        chosen: The strata.
        taken: Counts of each set ("test", "simulated", "train" and perhaps "null") by name of the stratum.
        subject: Name of the rows.
        seed: Of folds and half-samples.
        config: Sizes.
    """
    small = {"n_folds": _N_FOLDS, "n_components": _N_COMPONENTS, "n_top_genes": _N_TOP_GENES}
    config = config.model_copy(update={name: min(getattr(config, name), most) for name, most in small.items()})
    for stratum in chosen:
        cells = {}
        for name, held in taken.items():
            counts = held[stratum.name]
            cells[name] = HandCells.of(counts, np.zeros(counts.shape[0], np.int64))
        values = _intervals(cells["test"], cells["simulated"], stratum.name, seed, config)
        floor = _values(cells["test"], cells["train"], seed, config)
        null = _values(cells["test"], cells["null"], seed, config) if "null" in cells else {}
        for metric in WITHIN:
            reference = floor[metric], null.get(metric, float("nan"))
            yield scored(subject, metric, values[metric], *reference, len(cells["test"]), stratum.name)

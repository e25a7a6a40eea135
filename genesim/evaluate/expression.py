"""Simulated cells against held-out real cells, beside a floor (training cells) and a null generator.

Every data set is walked through once, by blocks of rows. Metrics that are sums (`expression_sums`) are exact over all
cells, as many in each set as the smallest has; those that need cells at hand (`expression_hand`) take a draw of
`config.max_cells`; copies are looked for among all cells. `n` of a row says how many it saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate import expression_sums as summed
from genesim.evaluate.catalog import EXPRESSION
from genesim.evaluate.cells import Labels, Source, Walked, label_codes, stratified, walk
from genesim.evaluate.copying import copying_rows, copying_scores
from genesim.evaluate.expression_hand import Comparison, HandCells
from genesim.evaluate.score import Score, scored
from genesim.evaluate.strata import Stratum, strata, stratum_scores


def _check(sets: Mapping[str, tuple[Source, Labels]]) -> None:
    n_genes = sets["test"][0].shape[1]
    for name, (counts, labels) in sets.items():
        if counts.shape[0] < 20:
            raise InputError(
                f"has {counts.shape[0]} cells, at least 20 are needed",
                where=f"{name} cells",
                remedy="simulate more cells, or hold out more donors",
            )
        if counts.shape[1] != n_genes:
            raise InputError(
                f"have {counts.shape[1]} genes where the test cells have {n_genes}",
                where=f"{name} cells",
                remedy="align all data sets on the same genes, in the same order",
            )
        if labels is not None and len(labels) != counts.shape[0]:
            raise InputError(
                f"{len(labels)} labels for {counts.shape[0]} cells",
                where=f"{name} cells",
                remedy="give one label a cell",
            )


@dataclass(frozen=True)
class _Sets:
    """All data sets, walked through.

    Attributes:
        walked: What each left.
        hand: Cells at hand, by set.
        wanted: Labels with cells enough in every set, over all cells; None where fewer than two.
        wanted_hand: The same among the cells at hand.
        n: Cells of each set that are summed.
        strata: Cell types, batches and held-out donors to compare within.
    """

    walked: Mapping[str, Walked]
    hand: Mapping[str, HandCells]
    wanted: Int[np.ndarray, " label"] | None
    wanted_hand: Int[np.ndarray, " label"] | None
    n: int
    strata: list[Stratum]


def _read(
    sets: Mapping[str, tuple[Source, Labels]],
    batches: Mapping[str, np.ndarray],
    donors: Mapping[str, np.ndarray] | None,
    copying: Mapping[str, Mapping[str, np.ndarray]],
    seed: int,
    config: EvaluateConfig,
) -> _Sets:
    """Walk through every set once.

    Args:
        sets: Sources with labels.
        batches: Batch of each cell, of every set or of none.
        donors: As `strata` takes them; None compares nothing within strata.
        copying: For some sets, rows by purpose to take for the copying scores.
        seed: Of the draws.
        config: Sizes.
    """
    sizes = {name: source.shape[0] for name, (source, _) in sets.items()}
    codes, n_labels = label_codes({name: labels for name, (_, labels) in sets.items()}, sizes)
    n = min(sizes.values())
    labels = {name: own for name, (_, own) in sets.items()}
    chosen = [] if donors is None else strata(labels, codes, batches, donors, seed, config)
    walked, hand, held, summed_labels = {}, {}, [], []
    for name, (source, _) in sets.items():
        order = rng.generator(seed, "evaluate", "expression", name).permutation(sizes[name])[:n]
        rows = np.sort(order)
        drawn = rows[stratified(codes[name][rows], config.max_cells, np.searchsorted(rows, order))]
        n_parts = summed.N_PARTS if name in ("test", "simulated", "other") else 1  # the others need no interval
        dealt = rng.generator(seed, "evaluate", "parts", name).permutation(n) % n_parts
        wanted = {"hand": drawn, **copying.get(name, {}), **{stratum.name: stratum.rows[name] for stratum in chosen}}
        walked[name] = walk(
            source,
            codes[name],
            rows,
            dealt,
            wanted,
            n_labels=n_labels,
            n_parts=n_parts,
        )
        own = pd.factorize(np.asarray(batches[name], object)[drawn])[0] if batches else None
        hand[name] = HandCells.of(walked[name].taken["hand"], codes[name][drawn], own)
        summed_labels.append(np.bincount(codes[name][rows], minlength=n_labels))
        held.append(np.bincount(codes[name][drawn], minlength=n_labels))
    least = config.min_cells_per_label
    return _Sets(walked, hand, summed.shared_labels(summed_labels, least), summed.shared_labels(held, least), n, chosen)


def _values(sets: _Sets, name: str, seed: int, config: EvaluateConfig) -> dict[str, float]:
    """Every metric of one set against the test cells, without intervals."""
    sums = summed.statistics(sets.walked["test"].sums.over(), sets.walked[name].sums.over(), sets.wanted)
    return sums | Comparison(sets.hand["test"], sets.hand[name], sets.wanted_hand, seed, config).values()


def compare_expression(
    test: Any, other: Any, labels_test: Labels, labels_other: Labels, *, seed: int = 0, config: EvaluateConfig
) -> dict[str, float]:
    """Every metric of `evaluate_expression` of one set of cells against the test cells: values alone, no floor."""
    given = {"test": (Source.of(test), labels_test), "other": (Source.of(other), labels_other)}
    _check(given)
    return _values(_read(given, {}, None, {}, seed, config), "other", seed, config)


def evaluate_expression(
    test: Any,
    simulated: Any,
    train: Any | None = None,
    null: Any | None = None,
    *,
    labels_test: Labels = None,
    labels_simulated: Labels = None,
    labels_train: Labels = None,
    labels_null: Labels = None,
    batches: Mapping[str, np.ndarray] | None = None,
    donors: np.ndarray | None = None,
    seed: int = 0,
    config: EvaluateConfig | None = None,
    subject: str = "expression",
) -> list[Score]:
    """Score simulated cells against held-out real cells, all data sets drawn to one size, then within strata.

    Args:
        test: Held-out real counts, cell x gene (CSR, dense, on disk or a `Source`), of donors that no model has seen.
        simulated: Simulated counts of the same genes, at the test cells' mix of cell types.
        train: Real training counts. Against `test` they give the floor. Without them the floor is one half
            of the test cells against the other, and copying is not judged.
        null: Counts of a naive generator (independent genes per cell type); None leaves the null out.
        labels_test: Cell types; comparisons within types need the labels of every set given.
        labels_simulated: Cell types of `simulated`.
        labels_train: Cell types of `train`.
        labels_null: Cell types of `null`.
        batches: Batch of each cell of "test", "simulated" and, where given, "train" and "null": batch integration is
            then scored as well. They need not be the same in every set; cells are compared within those that are.
        donors: Donor of each test cell: the cells of each are compared as well.
        seed: Seeds subsampling, folds and half-samples.
        config: Sizes and repeats.
        subject: Name of the rows.

    Raises:
        InputError: Fewer than 20 cells, other genes, or labels, batches or donors of another length.
    """
    config = config or EvaluateConfig()
    sets: dict[str, tuple[Source, Labels]] = {
        "test": (Source.of(test), labels_test),
        "simulated": (Source.of(simulated), labels_simulated),
    }
    if train is not None:
        sets["train"] = (Source.of(train), labels_train)
    if null is not None:
        sets["null"] = (Source.of(null), labels_null)
    _check(sets)
    given = dict(batches or {})
    for name, own in given.items():
        if name not in sets or len(own) != sets[name][0].shape[0] or len(given) != len(sets):
            raise InputError(
                f"{len(own)} batches for the {name} cells", where="batches", remedy="give one a cell, of every data set"
            )
    people = {} if donors is None else {"test": np.asarray(donors, object)}
    if people and len(people["test"]) != sets["test"][0].shape[0]:
        raise InputError(f"{len(people['test'])} donors for the test cells", where="donors", remedy="give one a cell")
    if train is None:
        whole = sets["test"][0]
        order = rng.generator(seed, "evaluate", "expression", "split").permutation(whole.shape[0])
        for name, half in (("train", np.sort(order[::2])), ("test", np.sort(order[1::2]))):
            sets[name] = whole.select(half), None if labels_test is None else np.asarray(labels_test)[half]
        halves = {"train": np.sort(order[::2]), "test": np.sort(order[1::2])}
        given |= {name: given["test"][half] for name, half in halves.items()} if given else {}
        people |= {name: people["test"][half] for name, half in halves.items()} if people else {}
    sizes = {name: source.shape[0] for name, (source, _) in sets.items()}
    copying = {} if train is None else copying_rows(sizes, seed, config)
    read = _read(sets, given, people, copying, seed, config)
    values = summed.intervals(read.walked["test"].sums, read.walked["simulated"].sums, read.wanted, seed, config)
    hand = Comparison(read.hand["test"], read.hand["simulated"], read.wanted_hand, seed, config)
    values |= hand.intervals()
    floor = _values(read, "train", seed, config)
    reference = {} if null is None else _values(read, "null", seed, config)
    nan = float("nan")
    scores = [
        scored(
            subject,
            name,
            values[name],
            floor.get(name, nan),
            reference.get(name, nan),
            read.n if name in summed.SUMMED else len(read.hand["test"]),
        )
        for name in EXPRESSION
        if name in values and np.isfinite(values[name].value)
    ]
    if train is not None:
        scores += copying_scores(read.walked, subject, seed, config)
    taken = {name: walked.taken for name, walked in read.walked.items()}
    return [*scores, *stratum_scores(read.strata, taken, subject, seed, config)]

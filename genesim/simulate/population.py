"""New donors and their cells, as declared by a scenario: who, of which ancestry and sex, with how many cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.scenario import CellsScenario, Population
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.donor_effects import draw_ages
from genesim.simulate.pedigree_table import first_cousins, half_siblings, nuclear_families


def apportion(weights: Mapping[str, float], n: int) -> dict[str, int]:
    """Split `n` by weight with the largest-remainder rule, so that the counts add up to `n` exactly."""
    names = list(weights)
    share = np.array([weights[name] for name in names], float)
    exact = n * share / share.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return dict(zip(names, counts.tolist(), strict=True))


def check_levels(asked: Sequence[str], known: Sequence[str], what: str) -> None:
    """Refuse levels that the models were not trained on.

    Raises:
        ConditionError: Naming the unknown levels and listing the known ones.
    """
    unknown = [level for level in asked if level not in set(known)]
    if unknown:
        raise ConditionError(
            f"unknown {what} {', '.join(map(repr, unknown))}",
            where="scenario",
            remedy=f"choose among {', '.join(map(str, known))}",
        )


def _levels(shares: Mapping[str, float], n: int, stream: np.random.Generator) -> np.ndarray:
    levels = [level for level, count in apportion(shares, n).items() for _ in range(count)]
    return stream.permutation(np.array(levels, object))


def families(population: Population, seed: int) -> pd.DataFrame:
    """The pedigree of a population of relatives: donor, father, mother, sex."""
    relatives = population.relatives
    if relatives is None:
        return pd.DataFrame(columns=["donor", "father", "mother", "sex"])
    n = (population.n_donors or 0) // relatives.size
    draw = rng.seed(seed, "population", "sex")
    if relatives.design == "nuclear_families":
        return nuclear_families(n, relatives.n_children, prefix=population.prefix, seed=draw)
    make = half_siblings if relatives.design == "half_siblings" else first_cousins
    return make(n, prefix=population.prefix, seed=draw)


def _relatives(population: Population, weights: Mapping[str, float], seed: int) -> pd.DataFrame:
    """Members of families, a family of one ancestry; sexes follow the design."""
    pedigree = families(population, seed)
    size = population.relatives.size if population.relatives is not None else 1
    labels = _levels(weights, len(pedigree) // size, rng.generator(seed, "population", "ancestry"))
    donors = pedigree.set_index(pd.Index(pedigree["donor"], dtype=object, name="donor"))[["father", "mother", "sex"]]
    donors.insert(0, "ancestry", np.repeat(labels, size))
    return donors


def ancestry_weights(population: Population, training_mix: Mapping[str, float]) -> dict[str, float]:
    """Share of each label that donors can have; admixed donors all have the label of their population.

    Raises:
        ConditionError: An ancestry that was not in training.
    """
    admixture = population.admixture
    weights = population.ancestry or dict(training_mix)
    if admixture is not None:
        weights = {name: 1.0 for pulse in admixture.pulses for name in pulse.ancestry}
    check_levels(list(weights), list(training_mix), "ancestry")
    return {admixture.label: 1.0} if admixture is not None else weights


def assign_batches(n_donors: int, n_batches: int, seed: int) -> np.ndarray:
    """A batch for each donor, as evenly as can be."""
    batch = rng.generator(seed, "population", "batch").permutation(np.arange(n_donors) % n_batches)
    return np.array([f"batch{b + 1}" for b in batch], object)


def draw_donors(population: Population, training_mix: Mapping[str, float], n_batches: int, seed: int) -> pd.DataFrame:
    """New donors: index `donor`; columns `ancestry`, `sex`, `batch`; `age` by its law; of relatives `father`, `mother`.

    Counts per ancestry and per sex follow the declared shares exactly (largest remainder); who is
    who is shuffled, so that an id says nothing. Admixed donors all have the label of their population.
    """
    weights = ancestry_weights(population, training_mix)
    n = population.n_donors or 0
    if population.relatives is not None:
        donors = _relatives(population, weights, seed)
    else:
        width = max(4, len(str(n)))
        ids = [f"{population.prefix}{i:0{width}d}" for i in range(1, n + 1)]
        donors = pd.DataFrame(index=pd.Index(ids, name="donor", dtype=object))
        for column, shares in (("ancestry", weights), ("sex", population.sex)):
            donors[column] = _levels(shares, n, rng.generator(seed, "population", column))
    donors["batch"] = assign_batches(n, n_batches, seed)
    if population.age is not None:
        donors["age"] = draw_ages(population.age, n, rng.generator(seed, "population", "age"))
    return donors


def draw_cell_table(
    donors: pd.DataFrame,
    cells: CellsScenario,
    training_composition: Mapping[str, float],
    seed: int,
    shift: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row a cell: index `cell`; columns `donor`, `cell_type`, and those of `donors`.

    See `draw_cells_of_donors`, which also returns each donor's true composition.
    """
    return draw_cells_of_donors(donors, cells, training_composition, seed, shift)[0]


def draw_cells_of_donors(
    donors: pd.DataFrame,
    cells: CellsScenario,
    training_composition: Mapping[str, float],
    seed: int,
    shift: np.ndarray | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of cells, and the true share of each cell type [donor, type] that they are drawn by.

    A donor's number of cells is 1 plus its share of the rest under gamma weights of the declared
    coefficient of variation; its composition is Dirichlet around the declared or learned mean, then shifted.

    Args:
        shift: Of the natural-log share of each type [donor, type of `training_composition`]; shares add up to 1 again.

    Raises:
        ConfigError: Fewer cells than donors.
    """
    shares = cells.composition or dict(training_composition)
    check_levels(list(shares), list(training_composition), "cell type")
    types = np.array(list(shares), object)
    mean = np.array([shares[t] for t in types], float)
    mean /= mean.sum()
    n = len(donors)
    if cells.n_cells < n:
        raise ConfigError(
            f"cells.n_cells is {cells.n_cells}, and there are {n} donors",
            where="scenario",
            remedy="every donor needs a cell: ask for more cells or fewer donors",
        )
    order = pd.Index(list(training_composition)).get_indexer(pd.Index(list(shares)))
    factor = None if shift is None else np.exp(shift[:, order])
    truth = np.zeros((n, len(training_composition)))
    counts_stream = rng.generator(seed, "cells", "per_donor")
    cv = cells.cells_per_donor_cv
    weights = counts_stream.gamma(1 / cv**2, cv**2, n) if cv > 0 else np.ones(n)
    n_cells = 1 + counts_stream.multinomial(cells.n_cells - n, weights / weights.sum())
    stream = rng.generator(seed, "cells", "composition")
    columns: dict[str, list[np.ndarray]] = {"donor": [], "cell_type": []}
    for number, (donor, count) in enumerate(zip(donors.index, n_cells, strict=True)):
        concentration = cells.composition_concentration
        share = mean if concentration is None else stream.dirichlet(concentration * mean)
        if factor is not None:
            share = share * factor[number] / (share @ factor[number])
        truth[number, order] = share
        columns["donor"].append(np.full(count, donor, object))
        columns["cell_type"].append(stream.choice(types, count, p=share))
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
    table = table.join(donors, on="donor")
    width = max(6, len(str(len(table))))
    table.index = pd.Index([f"cell{i:0{width}d}" for i in range(1, len(table) + 1)], name="cell", dtype=object)
    return table, pd.DataFrame(truth, index=donors.index, columns=list(training_composition))

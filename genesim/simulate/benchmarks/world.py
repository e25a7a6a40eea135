"""What a benchmark is drawn from (`World`), and what it is made of (`BenchmarkData`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from genesim import rng
from genesim.data.genotypes import Genotypes
from genesim.errors import ConfigError
from genesim.simulate.cells import CHUNK, CellSource

Difficulty = Literal["easy", "medium", "hard"]
Size = Literal["small", "medium", "large"]

_SCALE = {"small": 1, "medium": 4, "large": 16}


@dataclass(frozen=True)
class Genotyped:
    """Donors with genotypes.

    Attributes:
        donors: Index donor; column `ancestry`.
        genotypes: Of the same donors, in the same order.
        frequency: Of ALT, by variant id, as the effects' expectation takes it.
    """

    donors: pd.DataFrame
    genotypes: Genotypes
    frequency: pd.Series


@dataclass(frozen=True)
class World:
    """Where cells, and donors with genotypes, come from.

    Attributes:
        cells: Rates and counts of cells whose obs holds `cell_type`.
        composition: Share of each cell type.
        genes: Index gene; `contig`, `tss` (0-based; -1 where unknown).
        genotyped: Draws so many donors under a seed.
        origin: One sentence on where the cells come from, with the licence, for the card.
    """

    cells: CellSource
    composition: Mapping[str, float]
    genes: pd.DataFrame
    genotyped: Callable[[int, int], Genotyped]
    origin: str


@dataclass(frozen=True)
class Design:
    """How much, and how hard.

    Attributes:
        size: 1, 4 and 16 times the cells of a suite's smallest set.
        difficulty: Sizes of what is planted.
        seed: Decides every draw.
    """

    size: Size = "small"
    difficulty: Difficulty = "medium"
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, known in (
            ("size", self.size, tuple(_SCALE)),
            ("difficulty", self.difficulty, ("easy", "medium", "hard")),
        ):
            if value not in known:
                raise ConfigError(f"unknown {what} {value!r}", where="benchmark", remedy=f"use {', '.join(known)}")

    def cells(self, smallest: int) -> int:
        """Number of cells, of which the small size has `smallest`."""
        return smallest * _SCALE[self.size]

    def donors(self, smallest: int) -> int:
        """Number of donors: it doubles where the cells grow fourfold."""
        return smallest * round(_SCALE[self.size] ** 0.5)

    def pick(self, easy: float, medium: float, hard: float) -> float:
        """The value of this difficulty."""
        return {"easy": easy, "medium": medium, "hard": hard}[self.difficulty]

    def stream(self, *names: str | int) -> np.random.Generator:
        """Random numbers of this benchmark, by name."""
        return rng.generator(self.seed, "benchmark", *names)


@dataclass(frozen=True)
class BenchmarkData:
    """One benchmark, before it is written.

    Attributes:
        cells: Counts and what a solver may see of each cell.
        truth: Tables of what was planted, by name.
        planted: What was planted, in numbers, for the card.
        genotypes: Where the task has them.
    """

    cells: ad.AnnData
    truth: dict[str, pd.DataFrame]
    planted: dict[str, Any]
    genotypes: Genotypes | None = None


def common_types(world: World, n: int) -> list[str]:
    """The `n` most common cell types, fewer where there are fewer."""
    return sorted(world.composition, key=lambda name: (-world.composition[name], name))[:n]


def expressed_genes(world: World, cell_type: str, n: int, seed: int) -> np.ndarray:
    """Columns of the `n` genes with the highest mean rate in a cell type, measured on 256 drawn cells."""
    obs = pd.DataFrame({"cell_type": np.full(256, cell_type, object)})
    rates, _ = world.cells.draw_rates(obs, rng.seed(seed, "benchmark", "expressed", cell_type), 0)
    return np.sort(np.argsort(-np.asarray(rates).mean(axis=0), kind="stable")[:n])


def cell_table(n: int, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """obs of `n` cells, with ids."""
    index = pd.Index([f"cell{i:06d}" for i in range(1, n + 1)], dtype=object, name="cell")
    return pd.DataFrame(dict(columns), index=index)


def draw_types(composition: Mapping[str, float], n: int, stream: np.random.Generator) -> np.ndarray:
    """A cell type for each of `n` cells, by share."""
    names = sorted(composition)
    share = np.array([composition[name] for name in names], float)
    return stream.choice(np.array(names, object), n, p=share / share.sum())


def deal_donors(n_cells: int, n_donors: int, stream: np.random.Generator) -> np.ndarray:
    """A donor number for each cell; every donor has cells, how many varies (coefficient of variation 0.3)."""
    weights = stream.gamma(1 / 0.09, 0.09, n_donors)
    more = stream.choice(n_donors, n_cells - n_donors, p=weights / weights.sum())
    return np.sort(np.concatenate([np.arange(n_donors), more]))


def draw(
    world: World, obs: pd.DataFrame, log2_fold: Callable[[slice], Float[np.ndarray, "cell gene"]], seed: int
) -> sparse.csr_matrix:
    """Counts of the cells of `obs`: mean = library size x rate x 2^fold; rates are not rescaled to sum to one.

    Args:
        obs: Column `cell_type`.
        log2_fold: Of a slice of the cells, what was planted.
    """
    seed = rng.seed(seed, "benchmark", "cells")
    parts = []
    for first in range(0, len(obs), CHUNK):
        rows = slice(first, min(first + CHUNK, len(obs)))
        given = obs.iloc[rows][["cell_type"]]
        rates, library = world.cells.draw_rates(given, seed, first)
        fold = np.exp2(log2_fold(rows))
        parts.append(sparse.csr_matrix(world.cells.draw_counts(rates, library, given, seed, first, fold)))
    return sparse.vstack(parts, format="csr").astype(np.int32)


def as_cells(world: World, counts: sparse.csr_matrix, obs: pd.DataFrame) -> ad.AnnData:
    """AnnData of the counts; text columns become categories."""
    obs = obs.copy()
    for name in obs:
        if obs[name].dtype == object:
            obs[name] = obs[name].astype("category")
    return ad.AnnData(X=counts, obs=obs, var=pd.DataFrame(index=pd.Index(world.cells.genes, dtype=object, name="gene")))

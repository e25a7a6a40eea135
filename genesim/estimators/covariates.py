"""Between a table of covariates and a `Condition`: level codes, standardised numbers, the training mix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from genesim import rng
from genesim.data.names import plain_labels
from genesim.errors import ConditionError, H5adError
from genesim.types import Condition

LIBRARY_SIZE = "library_size"
"""Column of a wanted obs that fixes library sizes."""
_MOST_ANALOGIES = 8


@dataclass(frozen=True)
class Covariates:
    """Covariates of a model and how often each combination of them was seen in training.

    Attributes:
        levels: Known levels (text) of each categorical covariate, by column name, in order of code.
        centre: Mean and SD of each continuous covariate, by column name.
        codes: Distinct training rows of level codes [row, categorical].
        values: The same rows' continuous covariates, standardised [row, continuous].
        n_cells: Training cells of each distinct row.
    """

    levels: dict[str, tuple[str, ...]]
    centre: dict[str, tuple[float, float]]
    codes: np.ndarray
    values: np.ndarray
    n_cells: np.ndarray

    @classmethod
    def fit(cls, obs: pd.DataFrame, categorical: Sequence[str], continuous: Sequence[str]) -> Covariates:
        """Learn levels and scales from the training cells' obs.

        Raises:
            H5adError: A continuous covariate is not numeric or not finite, or a name stands twice.
        """
        names = [*categorical, *continuous]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise H5adError(
                f"{', '.join(repeated)} stands for two covariates",
                where="obs",
                remedy="name each column once",
            )
        levels = {name: tuple(plain_labels(obs[name]).categories) for name in categorical}
        centre = {}
        for name in continuous:
            column = _numbers(obs[name], name)
            centre[name] = (float(column.mean()), float(column.std()) or 1.0)
        empty = np.zeros((0, len(levels)), np.int32)
        bare = cls(levels, centre, empty, np.zeros((0, len(centre)), np.float32), np.zeros(0, np.int64))
        codes, values = bare._encode(obs)
        if not names:
            return cls(levels, centre, codes[:1], values[:1], np.array([len(obs)]))
        rows, n_cells = np.unique(np.hstack([codes, values.astype(np.float64)]), axis=0, return_counts=True)
        n = len(levels)
        return cls(levels, centre, rows[:, :n].astype(np.int32), rows[:, n:].astype(np.float32), n_cells)

    @property
    def names(self) -> list[str]:
        """Column names, categorical ones first."""
        return [*self.levels, *self.centre]

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Number of levels of each categorical covariate."""
        return tuple(len(known) for known in self.levels.values())

    def shares(self) -> list[np.ndarray]:
        """Share of each level among the training cells, one array a categorical covariate."""
        return [
            np.bincount(self.codes[:, i], weights=self.n_cells, minlength=n) / self.n_cells.sum()
            for i, n in enumerate(self.n_levels)
        ]

    def _encode(self, obs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        codes = np.full((len(obs), len(self.levels)), -1, np.int32)
        for i, (name, known) in enumerate(self.levels.items()):
            if name not in obs:
                continue
            asked = plain_labels(obs[name])
            unknown = sorted(set(asked.categories) - set(known))
            if unknown:
                raise ConditionError(
                    f"unknown level {', '.join(map(repr, unknown[:5]))} of {name!r}",
                    where="obs",
                    remedy=f"choose among {', '.join(known[:30])}{' ...' if len(known) > 30 else ''}",
                )
            # The appended -1 is where a missing value (code -1) lands.
            renumber = np.append(pd.Index(known, dtype=object).get_indexer(asked.categories), -1)
            codes[:, i] = renumber[asked.codes]
        values = np.zeros((len(obs), len(self.centre)), np.float32)
        for i, (name, (mean, sd)) in enumerate(self.centre.items()):
            if name in obs:
                given = obs[name].notna().to_numpy()
                values[given, i] = (_numbers(obs[name][given], name) - mean) / sd
        return codes, values

    def condition(self, obs: pd.DataFrame, log_library: np.ndarray) -> Condition:
        """Condition of each row of `obs`; what is absent or missing is an unknown level (-1) or the mean.

        Raises:
            ConditionError: A level that was not in training (the message lists the known ones).
        """
        codes, values = self._encode(obs)
        return Condition(codes, values, np.asarray(log_library, np.float32))

    def complete(self, obs: pd.DataFrame, seed: int, first: int = 0) -> pd.DataFrame:
        """`obs` with absent covariates drawn from the training cells that share the present ones.

        Where no training cell shares them all, absent covariates come from the whole training mix. Row i's
        draw depends on its own values, `seed` and `first + i` alone.

        Raises:
            ConditionError: A level that was not in training, or a column that the model does not have.
        """
        given = [name for name in self.levels if name in obs]
        absent = [name for name in self.names if name not in obs]
        codes, _ = self._encode(obs)
        obs = obs.copy()
        if not absent or not len(obs):
            return obs
        uniform = _row_uniforms(seed, first, len(obs))
        columns = [list(self.levels).index(name) for name in given]
        chosen = np.empty(len(obs), np.int64)
        wanted, group = np.unique(codes[:, columns], axis=0, return_inverse=True)
        group = np.reshape(group, -1) if columns else np.zeros(len(obs), int)
        for g, want in enumerate(wanted if columns else np.zeros((1, 0), int)):
            fits = ((self.codes[:, columns] == want) | (want < 0)).all(axis=1)
            weight = np.cumsum(np.where(fits, self.n_cells, 0) if fits.any() else self.n_cells)
            rows = np.flatnonzero(group == g)
            chosen[rows] = np.searchsorted(weight, uniform[rows] * weight[-1], side="right")
        for name in absent:
            if name in self.levels:
                code = self.codes[chosen, list(self.levels).index(name)]
                obs[name] = np.array(self.levels[name], object)[code]
            else:
                mean, sd = self.centre[name]
                obs[name] = self.values[chosen, list(self.centre).index(name)].astype(float) * sd + mean
        return obs

    @cached_property
    def _combinations(self) -> dict[tuple[int, ...], float]:
        """Training cells of each combination of level codes that was seen."""
        found, row = np.unique(self.codes, axis=0, return_inverse=True)
        n_cells = np.bincount(np.reshape(row, -1), weights=self.n_cells)
        return {tuple(code): n for code, n in zip(found.tolist(), n_cells.tolist(), strict=True)}

    def analogies(
        self, codes: Int[np.ndarray, "cell categorical"]
    ) -> list[tuple[Float[np.ndarray, " cell"], Int[np.ndarray, "cell categorical"]]]:
        """Each row's levels as a signed sum of combinations that were seen: weights and level codes, term by term.

        A combination that was seen, or that has an unknown level, stands for itself, and so does one without
        analogies. An unseen one is "a changed as b was": the mean over the `_MOST_ANALOGIES` best parallelograms
        of seen combinations a + b' - b, where a differs from it in one covariate, and b' from b in the same way.
        The best are those of most cells (harmonic mean).
        """
        wanted, group = np.unique(codes, axis=0, return_inverse=True)
        sums = [_analogy(tuple(code), self._combinations) for code in wanted.tolist()]
        terms = []
        for i in range(max((len(terms) for terms in sums), default=1)):
            # A shorter sum is filled up with its first term, at no weight.
            chosen = [terms[i] if i < len(terms) else (terms[0][0], 0.0) for terms in sums]
            weight = np.array([weight for _, weight in chosen], np.float32)
            code = np.array([code for code, _ in chosen], np.int32).reshape(len(wanted), codes.shape[1])
            terms.append((weight[np.reshape(group, -1)], code[np.reshape(group, -1)]))
        return terms

    def by_analogy(self, codes: Int[np.ndarray, "cell categorical"]) -> Bool[np.ndarray, " cell"]:
        """Rows whose levels were never seen together and stand for a sum of others (`analogies`)."""
        return (self.analogies(codes)[0][1] != codes).any(axis=1)

    def missing(self, obs: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
        """What the categorical covariates that `obs` gives as None were in training: shares and levels.

        One pair for each combination of their levels, with its share of the training cells.
        """
        names = [name for name in self.levels if name in obs and pd.isna(obs[name])]
        columns = [list(self.levels).index(name) for name in names]
        found, row = np.unique(self.codes[:, columns], axis=0, return_inverse=True)
        n_cells = np.bincount(np.reshape(row, -1), weights=self.n_cells)
        for codes, n in zip(found, n_cells, strict=True):
            levels = {name: self.levels[name][code] for name, code in zip(names, codes, strict=True)}
            yield float(n / n_cells.sum()), levels

    def table(self, n: int, obs: Mapping[str, Any] | pd.DataFrame | None) -> pd.DataFrame:
        """What `sample` was asked for, as a frame of `n` rows: fixed values are repeated, a frame is checked.

        Raises:
            ConditionError: The frame has not `n` rows, or a fixed value is not one value.
        """
        if obs is None:
            return pd.DataFrame(index=pd.RangeIndex(n))
        if isinstance(obs, pd.DataFrame):
            if len(obs) != n:
                raise ConditionError(f"{len(obs)} rows of obs for {n} cells", where="obs", remedy="give one row a cell")
            return obs
        lists = sorted(k for k, v in obs.items() if not isinstance(v, str) and np.ndim(v) > 0)
        if lists:
            raise ConditionError(
                f"{', '.join(lists)} has several values",
                where="obs",
                remedy="give a DataFrame, one row a cell",
            )
        unknown = sorted(set(obs) - {*self.names, LIBRARY_SIZE})
        if unknown:
            raise ConditionError(
                f"the model has no covariate {', '.join(map(repr, unknown))}",
                where="obs",
                remedy=f"choose among {', '.join([*self.names, LIBRARY_SIZE])}",
            )
        return pd.DataFrame({name: [value] * n for name, value in obs.items()}, index=pd.RangeIndex(n))

    def to_dict(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON part and array part of the record."""
        described = {
            "levels": {name: list(known) for name, known in self.levels.items()},
            "centre": {name: list(pair) for name, pair in self.centre.items()},
            "order": [list(self.levels), list(self.centre)],
        }
        return described, {"codes": self.codes, "values": self.values, "n_cells": self.n_cells}

    @classmethod
    def from_dict(cls, described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Covariates:
        """The record that `to_dict` described."""
        categorical, continuous = described["order"]
        return cls(
            {name: tuple(described["levels"][name]) for name in categorical},
            {name: (described["centre"][name][0], described["centre"][name][1]) for name in continuous},
            np.asarray(arrays["codes"]),
            np.asarray(arrays["values"]),
            np.asarray(arrays["n_cells"]),
        )


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    n_bad = int((~np.isfinite(numbers)).sum())
    if n_bad:
        raise H5adError(
            f"continuous covariate {name!r} is not a finite number in {n_bad} cells",
            where="obs",
            remedy="give it as a categorical covariate, or fill the gaps",
        )
    return numbers


def _analogy(wanted: tuple[int, ...], seen: dict[tuple[int, ...], float]) -> list[tuple[tuple[int, ...], float]]:
    """Terms of one combination; see `Covariates.analogies`."""
    if wanted in seen or min(wanted, default=-1) < 0:
        return [(wanted, 1.0)]
    found: dict[tuple[frozenset[tuple[int, ...]], tuple[int, ...]], float] = {}
    for k, level in enumerate(wanted):
        near = {code[k]: code for code in seen if code[:k] + code[k + 1 :] == wanted[:k] + wanted[k + 1 :]}
        for b, n in seen.items():
            changed = (*b[:k], level, *b[k + 1 :])
            if b[k] in near and changed in seen:
                a = near[b[k]]
                found[frozenset((a, changed)), b] = 1 / (1 / seen[a] + 1 / seen[changed] + 1 / n)
    best = sorted(found.items(), key=lambda item: (-item[1], sorted(item[0][0]), item[0][1]))[:_MOST_ANALOGIES]
    terms: dict[tuple[int, ...], float] = {}
    for (corners, b), weight in best:
        for code, sign in (*((corner, 1.0) for corner in sorted(corners)), (b, -1.0)):
            terms[code] = terms.get(code, 0.0) + sign * weight / sum(w for _, w in best)
    return list(terms.items()) or [(wanted, 1.0)]


def _row_uniforms(seed: int, first: int, n: int) -> np.ndarray:
    """One uniform number a row, a function of (seed, row number)."""
    stream = rng.generator(seed, "covariates")
    bits = stream.bit_generator
    if not isinstance(bits, np.random.PCG64):
        return stream.random(first + n)[first:]
    bits.advance(first)  # one 64-bit word a double
    return stream.random(n)

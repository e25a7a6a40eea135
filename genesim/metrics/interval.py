"""Intervals by half-sampling: honest for statistics that a bootstrap's repeated points would bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Interval(NamedTuple):
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def normal_interval(value: float, standard_error: float, coverage: float = 0.95) -> Interval:
    """value -+ z * standard error."""
    from scipy.stats import norm

    half = float(norm.ppf(0.5 + coverage / 2)) * standard_error
    return Interval(value, value - half, value + half)


def proportion_interval(hits: int, n: int, coverage: float = 0.95) -> Interval:
    """Wilson's interval of a proportion (Wilson 1927, JASA): never empty, not even at 0 or n hits."""
    from scipy.stats import norm

    z2 = float(norm.ppf(0.5 + coverage / 2)) ** 2
    rate = hits / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return Interval(rate, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def half_samples(
    sizes: tuple[int, ...], n_repeats: int, generator: np.random.Generator
) -> list[tuple[Int[np.ndarray, " half"], ...]]:
    """For each repeat, one random half (without replacement, in order) of each data set."""
    return [
        tuple(np.sort(generator.permutation(size)[: max(2, size // 2)]) for size in sizes) for _ in range(n_repeats)
    ]


def half_sample_intervals(
    statistics: Callable[..., dict[str, float]],
    sizes: tuple[int, ...],
    *,
    n_repeats: int,
    generator: np.random.Generator,
    coverage: float = 0.95,
) -> dict[str, Interval]:
    """Intervals of named statistics by the delete-half jackknife (Shao and Wu 1989, Ann. Stat.).

    The spread over random halves equals the standard error of the full value for statistics near linear,
    without the repeated points by which a bootstrap biases distances. Halves only give the spread, not the
    centre, because distances are larger in smaller samples.

    Args:
        statistics: Called with one index array a data set, gives named values.
        sizes: Number of points of each data set.
        n_repeats: Random halves.
        generator: Draws the halves.
        coverage: Coverage of the interval.
    """
    full = statistics(*(np.arange(size) for size in sizes))
    halves = [statistics(*index) for index in half_samples(sizes, n_repeats, generator)]
    result = {}
    for name, value in full.items():
        found = np.array([half.get(name, np.nan) for half in halves])
        found = found[np.isfinite(found)]
        error = float(found.std(ddof=1)) if len(found) > 2 else float("nan")
        result[name] = normal_interval(value, error, coverage)
    return result

"""Credible sets: the fewest variants holding a share of one effect's posterior, kept where they are pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CredibleSet:
    """One credible set of a gene.

    Attributes:
        effect: Index l of the single effect.
        variants: Indices, most probable first.
        coverage: Posterior mass inside.
        purity: Smallest absolute correlation between two members.
    """

    effect: int
    variants: np.ndarray
    coverage: float
    purity: float


def credible_sets(
    alpha: np.ndarray,
    present: np.ndarray,
    genotype: np.ndarray,
    coverage: float = 0.95,
    min_purity: float = 0.5,
    min_present: float = 0.9,
    max_checked: int = 100,
) -> list[CredibleSet]:
    """Credible sets of one gene (Wang et al. 2020, section 3.2.2; purity after their section 3.4).

    Args:
        alpha: effect x variant; sums to 1 for each effect.
        present: Probability that each effect exists.
        genotype: donor x variant, projected as in `EffectProblem` (columns scaled).
        coverage: Posterior mass wanted.
        min_purity: Sets below it are dropped.
        min_present: So are effects that exist with less probability.
        max_checked: Purity uses this many evenly spaced members of a larger set.
    """
    found: list[CredibleSet] = []
    seen: set[tuple[int, ...]] = set()
    for effect in np.flatnonzero(present >= min_present):
        order = np.argsort(-alpha[effect], kind="stable")
        mass = np.cumsum(alpha[effect][order])
        size = int(np.searchsorted(mass, coverage)) + 1
        members = order[: min(size, len(order))]
        signature = tuple(sorted(members.tolist()))
        if signature in seen:
            continue
        checked = (
            members
            if len(members) <= max_checked
            else members[np.linspace(0, len(members) - 1, max_checked).astype(int)]
        )
        x = genotype[:, checked]
        norm = np.sqrt((x**2).sum(0))
        correlation = np.abs(x.T @ x) / np.maximum(np.outer(norm, norm), 1e-12)
        purity = float(correlation.min())
        if purity >= min_purity:
            seen.add(signature)
            found.append(CredibleSet(int(effect), members, float(mass[min(size, len(mass)) - 1]), min(purity, 1.0)))
    return found

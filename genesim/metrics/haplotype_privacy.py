"""How near synthetic haplotypes come to the training ones: adversarial accuracy, membership, copies, tracts.

Haplotypes as in `haplotypes`: int8 [haplotype, variant], 0 or 1. None of these proves that no donor can be
recognised. They only see what was released as haplotypes; whoever holds the model's weights can test membership far
better.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError
from genesim.metrics.haplotypes import Haplotypes, checked

BLOCK = 512  # haplotypes in one block of distances


class AdversarialAccuracy(NamedTuple):
    """Both sides of the nearest-neighbour adversary; 0.5 is the aim for each."""

    real: float
    """AA_T: share of real haplotypes nearer to another real one than to any synthetic one."""
    synthetic: float
    """AA_S: share of synthetic haplotypes nearer to another synthetic one than to any real one."""

    @property
    def mean(self) -> float:
        """The published AATS. Read both sides too: independent variants score 1 and 0, mean 0.5."""
        return (self.real + self.synthetic) / 2


def nearest_distance(queries: Haplotypes, references: Haplotypes, *, same: bool = False) -> Int[np.ndarray, " query"]:
    """Smallest Hamming distance of each query to the references; to the *other* ones where `same`."""
    queries = checked(queries, "queries")
    references = checked(references, "references", queries.shape[1])
    y = references.astype(np.float32)
    size = y.sum(1)
    nearest = np.empty(len(queries), int)
    for start in range(0, len(queries), BLOCK):
        x = queries[start : start + BLOCK].astype(np.float32)
        distance = x.sum(1)[:, None] + size - 2 * (x @ y.T)
        if same:
            distance[np.arange(len(x)), start + np.arange(len(x))] = np.inf
        nearest[start : start + BLOCK] = np.rint(np.minimum(distance.min(1), 2**31))
    return nearest


def nearest_between(a: Haplotypes, b: Haplotypes) -> tuple[Int[np.ndarray, " row_of_a"], Int[np.ndarray, " row_of_b"]]:
    """Smallest Hamming distance of each row of `a` to `b` and of each row of `b` to `a`, from one product."""
    a = checked(a, "haplotypes")
    b = checked(b, "haplotypes", a.shape[1])
    y = b.astype(np.float32)
    size = y.sum(1)
    from_a, from_b = np.empty(len(a)), np.full(len(b), np.inf)
    for start in range(0, len(a), BLOCK):
        x = a[start : start + BLOCK].astype(np.float32)
        distance = x.sum(1)[:, None] + size - 2 * (x @ y.T)
        from_a[start : start + BLOCK] = distance.min(1)
        from_b = np.minimum(from_b, distance.min(0))
    return np.rint(from_a).astype(int), np.rint(from_b).astype(int)


def _share_greater(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean((left > right) + 0.5 * (left == right)))


def accuracy_of_distances(
    across: tuple[np.ndarray, np.ndarray], within: tuple[np.ndarray, np.ndarray]
) -> AdversarialAccuracy:
    """`adversarial_accuracy` from nearest distances that are at hand.

    Args:
        across: Of each real haplotype to the synthetic ones, and of each synthetic one to the real ones
            (`nearest_between`).
        within: Of each to the others of its own set (`nearest_distance(..., same=True)`).

    Raises:
        InputError: Unequal numbers of real and synthetic haplotypes, or fewer than two.
    """
    n_real, n_synthetic = len(across[0]), len(across[1])
    if n_real != n_synthetic or n_real < 2:
        raise InputError(
            f"there are {n_real} real and {n_synthetic} synthetic haplotypes",
            where="adversarial accuracy",
            remedy="draw equal numbers, at least two",
        )
    return AdversarialAccuracy(*(_share_greater(a, w) for a, w in zip(across, within, strict=True)))


def adversarial_accuracy(real: Haplotypes, synthetic: Haplotypes) -> AdversarialAccuracy:
    """Nearest-neighbour adversarial accuracy, each side by itself.

    AA_T = mean 1[d_TS(i) > d_TT(i)], AA_S = mean 1[d_ST(i) > d_SS(i)], with Hamming distances, itself left
    out, a tie counting 1/2 (Yale et al. 2020, Neurocomputing 416:244; they use the strict inequality).
    Below 0.5 on the real side the synthetic haplotypes are copies; above 0.5 they are told apart.

    Raises:
        InputError: Fewer than two haplotypes, or unequal numbers (the share depends on them).
    """
    within = nearest_distance(real, real, same=True), nearest_distance(synthetic, synthetic, same=True)
    return accuracy_of_distances(nearest_between(real, synthetic), within)


def privacy_loss(train: Haplotypes, held_out: Haplotypes, synthetic: Haplotypes) -> float:
    """Mean adversarial accuracy against held-out minus that against training haplotypes (Yale et al. 2020).

    About 0 where training haplotypes are no nearer than others; 0.5 for copies.
    """
    return adversarial_accuracy(held_out, synthetic).mean - adversarial_accuracy(train, synthetic).mean


class Membership(NamedTuple):
    """How well an attacker tells training from held-out haplotypes."""

    auc: float
    """P(member ranks higher) + P(tie)/2; 0.5 is chance."""
    tpr: float
    """Members found at the false-positive rate that was allowed; about that rate is chance."""


def membership_of_distances(
    member: Float[np.ndarray, " m"] | Int[np.ndarray, " m"],
    other: Float[np.ndarray, " n"] | Int[np.ndarray, " n"],
    *,
    false_positive_rate: float = 0.01,
) -> Membership:
    """The attack "a small distance to the synthetic haplotypes means a member" (GAN-Leaks, see `membership`).

    The threshold is the largest distance that at most `false_positive_rate` of the held-out haplotypes reach:
    ties count against the attacker. Carlini et al. 2022 (S&P) on why the low-rate end matters.

    Args:
        member: Distance of each training haplotype.
        other: Distance of each held-out one.
    """
    from scipy.stats import rankdata

    ranks = rankdata(-np.concatenate([member, other]))[: len(member)]
    auc = (ranks.sum() - len(member) * (len(member) + 1) / 2) / (len(member) * len(other))
    allowed = int(false_positive_rate * len(other))
    # More than `allowed` held-out ones would reach the next order statistic.
    found = np.mean(member < np.sort(other)[allowed]) if allowed < len(other) else 1.0
    return Membership(float(auc), float(found))


def membership(train: Haplotypes, held_out: Haplotypes, synthetic: Haplotypes) -> Membership:
    """Telling training from held-out haplotypes by -min Hamming distance to a synthetic one.

    The black-box attack of Chen et al. 2020 (GAN-Leaks, CCS).
    """
    return membership_of_distances(nearest_distance(train, synthetic), nearest_distance(held_out, synthetic))


def membership_auc(train: Haplotypes, held_out: Haplotypes, synthetic: Haplotypes) -> float:
    """AUC of `membership`: P(d_train < d_held) + P(tie)/2. 0.5 is chance."""
    return membership(train, held_out, synthetic).auc


def exact_copies(train: Haplotypes, synthetic: Haplotypes) -> int:
    """Number of synthetic haplotypes that equal a training one at every variant."""
    train = checked(train, "training haplotypes")
    synthetic = checked(synthetic, "synthetic haplotypes", train.shape[1])
    known = {row.tobytes() for row in np.packbits(train, axis=1)}
    return sum(row.tobytes() in known for row in np.packbits(synthetic, axis=1))


def _since_reference(divergence: np.ndarray, is_reference: np.ndarray, top: int) -> np.ndarray:
    """Start of the match with the nearest reference above, in the order of reversed prefixes.

    The match with a row further up starts at the largest divergence on the way: a running maximum that
    begins anew below each reference; `top` (no match) where there is no reference above.
    """
    segment = np.cumsum(is_reference) - is_reference  # references above this row
    running = np.maximum.accumulate(divergence + segment * (top + 1)) - segment * (top + 1)
    return np.where(segment > 0, running, top)


def longest_shared_tract_each(
    queries: Haplotypes, references: Haplotypes, positions: Int[np.ndarray, " variant"]
) -> Int[np.ndarray, " query"]:
    """Longest stretch, in base pairs from first to last variant, that each query shares with a reference.

    Positional Burrows-Wheeler transform (Durbin 2014, Bioinformatics 30:1266): with rows sorted by their
    reversed prefixes, the reference with the longest match that ends here is next above or next below, so
    that one pass over the variants finds them all in O(variants x haplotypes).
    """
    queries = checked(queries, "queries")
    references = checked(references, "references", queries.shape[1])
    positions = np.asarray(positions)
    panel = np.ascontiguousarray(np.concatenate([queries, references]).T)
    n_variants, n_rows = panel.shape
    order, divergence = np.arange(n_rows), np.zeros(n_rows, int)
    longest = np.zeros(n_rows, int)
    for variant in range(n_variants):
        allele, after = panel[variant, order], variant + 1
        parts = []
        for value in (0, 1):
            rows = np.flatnonzero(allele == value)
            if rows.size:
                starts = np.concatenate([[0], rows[:-1] + 1])
                between = np.maximum.reduceat(divergence[: rows[-1] + 1], starts)
                between[0] = after
                parts.append((order[rows], between))
        order, divergence = (np.concatenate(part) for part in zip(*parts, strict=True))
        is_reference = order >= len(queries)
        above = _since_reference(divergence, is_reference, after)
        # Seen from below, the divergence that separates a row from the next lies at the next.
        upward = np.append(divergence[1:], after)[::-1]
        below = _since_reference(upward, is_reference[::-1], after)[::-1]
        start = np.minimum(above, below)
        matched = start < after
        length = positions[variant] - positions[np.minimum(start, variant)]
        longest[order] = np.maximum(longest[order], np.where(matched, length, 0))
    return longest[: len(queries)]


def longest_shared_tract(
    queries: Haplotypes,
    references: Haplotypes,
    positions: Int[np.ndarray, " variant"],
    *,
    quantile: float = 0.95,
) -> float:
    """`quantile` of the longest exact stretch (bp) that each query shares with any reference.

    Catches mosaics that nearest-neighbour distances miss. Compare synthetic-to-train with
    held-out-to-train.
    """
    each: Float[np.ndarray, " query"] = longest_shared_tract_each(queries, references, positions).astype(float)
    return float(np.quantile(each, quantile))

"""Adversarial accuracy from distance matrices, so that many subsets cost one matrix product."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def hamming(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "m n"]:
    """Number of variants at which each haplotype of `a` differs from each of `b`; exact below 2^24."""
    x, y = a.astype(np.float32), b.astype(np.float32)
    return x.sum(axis=1)[:, None] + y.sum(axis=1) - 2 * (x @ y.T)


class Nearest:
    """Two sets of haplotypes and their distances; `accuracy` on any subsets of the rows.

    Gives what `genesim.metrics.haplotype_privacy.adversarial_accuracy` gives for those rows.
    """

    def __init__(self, real: np.ndarray, simulated: np.ndarray) -> None:
        self.across = hamming(real, simulated)
        self.real, self.simulated = hamming(real, real), hamming(simulated, simulated)
        np.fill_diagonal(self.real, np.inf)
        np.fill_diagonal(self.simulated, np.inf)

    def accuracy(self, rows_real: Int[np.ndarray, " n"], rows_simulated: Int[np.ndarray, " n"]) -> tuple[float, float]:
        """Share of real haplotypes nearer to real ones, and of simulated nearer to simulated; ties 1/2.

        Cut to the shorter of both, because the shares depend on the sizes.
        """
        n = min(len(rows_real), len(rows_simulated))
        a, b = rows_real[:n], rows_simulated[:n]
        across = self.across[np.ix_(a, b)]
        pairs = (
            (across.min(axis=1), self.real[np.ix_(a, a)].min(axis=1)),
            (across.min(axis=0), self.simulated[np.ix_(b, b)].min(axis=1)),
        )
        shares = [float(np.mean((far > near) + 0.5 * (far == near))) for far, near in pairs]
        return shares[0], shares[1]

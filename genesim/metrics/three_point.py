"""Three-point correlation over all triples of variants, exactly, from matrix products of haplotypes.

With centred alleles x_h and the third moment C_ijk = mean_h x_hi x_hj x_hk of each set, the inner product of the
moments of two sets over all triples is a mean over pairs of haplotypes, one of each set:

    sum_ijk C_ijk D_ijk = mean_{h,g} (x_h . y_g)^3

and triples of three distinct variants follow by Newton's identities, s1^3 - 3 s1 s2 + 2 s3 with
s_k = sum_i (x_hi y_gi)^k. Three products of two [haplotype, variant] matrices thus stand for 10^10 triples.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError
from genesim.metrics.haplotypes import Haplotypes, checked


def _distinct(power_sums: list[np.ndarray]) -> float:
    """Mean over rows or pairs of the sum over ordered triples of distinct variants."""
    first, second, third = (part.astype(np.float64) for part in power_sums)
    return float((first**3 - 3 * first * second + 2 * third).mean())


def _product(x: Float[np.ndarray, "m variant"], y: Float[np.ndarray, "n variant"]) -> float:
    """Inner product of two sets' third moments over distinct triples."""
    square_x, square_y = x * x, y * y  # numpy's power of floats is slow
    return _distinct([x @ y.T, square_x @ square_y.T, (square_x * x) @ (square_y * y).T])


def _total(x: Float[np.ndarray, "m variant"]) -> float:
    """Sum of a set's third moments over distinct triples."""
    return _distinct([(x**power).sum(1, dtype=np.float64) for power in (1, 2, 3)])


def _centred(haplotypes: Haplotypes) -> Float[np.ndarray, "haplotype variant"]:
    return haplotypes - haplotypes.mean(0, dtype=np.float32)


class ThreePoint:
    """Real haplotypes, to compare the third moments of several synthetic sets with.

    Yelmen et al. 2023, PLoS Comput Biol 19:e1011584, correlate the moments of a sample of triples. The value
    falls with the number of haplotypes on either side, whose noise adds to distant triples: compare sets of
    equal size, and read it beside the floor at that size.

    Args:
        real: Reference haplotypes.
        min_maf: Smallest minor-allele frequency in `real` of the variants that are used.
        common: Variants to use instead.
    """

    def __init__(
        self, real: Haplotypes, *, min_maf: float = 0.05, common: Int[np.ndarray, " common"] | None = None
    ) -> None:
        real = checked(real, "real haplotypes")
        frequency = real.mean(0)
        chosen = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= min_maf) if common is None else common
        self.n_variants, self.common = real.shape[1], np.asarray(chosen)
        self.real = _centred(real[:, self.common])
        n = len(self.common)
        self.n_triples = n * (n - 1) * (n - 2)
        if self.n_triples > 0:
            self.total = _total(self.real)
            self.square = _product(self.real, self.real)

    def correlation(self, synthetic: Haplotypes) -> float:
        """Pearson r of E[(x_i - p_i)(x_j - p_j)(x_k - p_k)] over all triples of distinct variants.

        NaN with fewer than three variants or no variation of the moments on one side.

        Raises:
            InputError: Another number of variants, or alleles that are neither 0 nor 1.
        """
        other = _centred(checked(synthetic, "synthetic haplotypes", self.n_variants)[:, self.common])
        n = self.n_triples
        if n <= 0:
            return float("nan")
        total = _total(other)
        covariance = _product(self.real, other) / n - self.total * total / n**2
        variances = self.square / n - (self.total / n) ** 2, _product(other, other) / n - (total / n) ** 2
        if min(variances) <= 0:
            return float("nan")
        return float(covariance / np.sqrt(variances[0] * variances[1]))


def three_point_correlation_exact(real: Haplotypes, synthetic: Haplotypes, *, min_maf: float = 0.05) -> float:
    """`ThreePoint.correlation` of one pair of sets.

    Raises:
        InputError: Unequal numbers of haplotypes, whose noise would differ.
    """
    if len(real) != len(synthetic):
        raise InputError(
            f"there are {len(real)} real and {len(synthetic)} synthetic haplotypes",
            where="three-point correlation",
            remedy="draw equal numbers",
        )
    return ThreePoint(real, min_maf=min_maf).correlation(synthetic)

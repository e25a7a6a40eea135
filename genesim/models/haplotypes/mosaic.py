"""Li-Stephens mosaic: new haplotypes copy long stretches of training haplotypes, with mutation.

Li and Stephens 2003, Genetics 165:2213, equations A1-A2; as a generator, HAPGEN2 (Su, Marchini and
Donnelly 2011, Bioinformatics 27:2304). With n haplotypes of the asked ancestry, the copied one changes
between neighbouring variants with probability 1 - exp(-4 Ne r / n), r in morgans, to any of the n, and the
copied allele is flipped with probability theta / (2 (theta + n)), theta = 1 / sum_{i<n} 1/i.

NOT PRIVATE: the model *is* the training haplotypes, and a draw repeats stretches of them. It is here as a
baseline, and for openly licensed panels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int8

from genesim.config.model import HaplotypeConfig
from genesim.errors import ConditionError, ConfigError
from genesim.models.haplotypes.chain import (
    Draw,
    check_alleles,
    check_ancestry,
    check_trainable,
    chunks,
    local_ancestry,
    row_keys,
    sample_chunk,
)

EFFECTIVE_SIZE = 11_418  # HAPGEN2's value for Europeans
MESSAGE_NUMBERS = 64_000_000  # numbers in the forward messages of one compiled call (256 MB)


def mutation_rate(n: int) -> float:
    """Li and Stephens' miscopying probability for n copied haplotypes."""
    theta = 1.0 / sum(1.0 / i for i in range(1, max(n, 2)))
    return theta / (2 * (theta + n))


@jax.jit
def _sample(
    panel: Int8[Array, "panel variant"],
    first: Int[Array, " ancestry"],
    size: Int[Array, " ancestry"],
    switch: Float[Array, "ancestry variant"],
    mutation: Float[Array, " ancestry"],
    keys: Array,
    ancestry: Int[Array, "haplotype variant"],
) -> tuple[Array, Array]:
    variants = jnp.arange(panel.shape[1])
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (3, variants.size)))(keys)
    jump = uniform[:, 0] < switch[ancestry, variants]
    jump |= jnp.concatenate([jnp.ones_like(jump[:, :1]), ancestry[:, 1:] != ancestry[:, :-1]], axis=1)
    drawn = (uniform[:, 1] * size[ancestry]).astype(int)
    candidate = first[ancestry] + jnp.minimum(drawn, size[ancestry] - 1)
    last_jump = lax.cummax(jnp.where(jump, variants, 0), axis=1)
    copied = jnp.take_along_axis(candidate, last_jump, axis=1)
    flip = uniform[:, 2] < mutation[ancestry]
    return panel[copied, variants] ^ flip.astype(jnp.int8), copied


@partial(jax.jit, static_argnames="posterior")
def _walk(
    panel: Int8[Array, "variant panel"],
    member: Bool[Array, " panel"],
    switch: Float[Array, " variant"],
    mutation: Float[Array, ""],
    alleles: Int8[Array, "variant haplotype"],
    posterior: bool,
) -> Array:
    """Log-likelihood [haplotype], or posterior P(allele = 1) [variant, haplotype]; O(panel) a site."""
    share = member / member.sum()

    def emit(here: Array, called: Array) -> Array:
        agrees = jnp.where(here[None, :] == called[:, None], 1 - mutation, mutation)
        return jnp.where(called[:, None] < 0, 1.0, agrees)

    def forward(alpha: Array, site: tuple[Array, Array, Array]) -> tuple[Array, tuple[Any, Array]]:
        here, rho, called = site
        joint = ((1 - rho) * alpha + rho * share) * emit(here, called)
        scale = joint.sum(1)
        alpha = joint / scale[:, None]
        return alpha, (alpha if posterior else None, scale)

    sites = (panel, switch, alleles)
    _, (alphas, scales) = lax.scan(forward, jnp.tile(share, (alleles.shape[1], 1)), sites)
    if not posterior:
        return jnp.log(scales).sum(0)

    def backward(beta: Array, site: tuple[Any, ...]) -> tuple[Array, Array]:
        here, rho, called, alpha, scale = site
        state = alpha * beta
        filled = (state @ ((1 - mutation) * here + mutation * (1 - here))) / state.sum(1)
        upward = beta * emit(here, called) / scale[:, None]
        below = (1 - rho) * upward + rho * (upward @ share)[:, None]
        return below, jnp.where(called < 0, filled, called)

    ones = jnp.ones((alleles.shape[1], panel.shape[1]))
    _, filled = lax.scan(backward, ones, (*sites, alphas, scales), reverse=True)
    return filled


class Mosaic(nnx.Module):
    """The panel and its copying rates; same `sample`, `log_likelihood` and `impute` as a `HiddenChain`.

    Args:
        panel: Training haplotypes without missing alleles, sorted by ancestry.
        ancestry: Their ancestry codes.
        centimorgans: Genetic position of each variant, non-decreasing.
        n_ancestries: Number of ancestry codes; each needs at least one haplotype to be asked for.
        effective_size: Ne.
    """

    STORED: ClassVar[tuple[str, ...]] = ("panel", "ancestry", "centimorgans")

    def __init__(
        self,
        panel: Int8[np.ndarray, "panel variant"],
        ancestry: Int[np.ndarray, " panel"],
        centimorgans: Float[np.ndarray, " variant"],
        n_ancestries: int,
        effective_size: float = EFFECTIVE_SIZE,
    ) -> None:
        self.panel = nnx.Variable(jnp.asarray(panel, jnp.int8))
        self.ancestry = nnx.Variable(jnp.asarray(ancestry, jnp.int32))
        # Double precision, as given: the rates of a stored model are computed from these again.
        self.centimorgans = nnx.Variable(np.asarray(centimorgans, np.float64))
        self.effective_size = effective_size
        step = np.diff(np.asarray(centimorgans, float), prepend=centimorgans[:1])
        if len(centimorgans) != panel.shape[1] or not np.isfinite(step).all() or (step < 0).any():
            raise ConfigError(
                "genetic positions are not one finite, non-decreasing value a variant",
                where="genetic map",
                remedy="sort the map and check its unit (cM)",
            )
        size = np.bincount(np.asarray(ancestry), minlength=n_ancestries)
        self._size = nnx.Variable(jnp.asarray(size))
        self._first = nnx.Variable(jnp.asarray(np.cumsum(size) - size))
        rate = 4 * effective_size * step / 100 / np.maximum(size, 1)[:, None]
        self._switch = nnx.Variable(jnp.asarray(-np.expm1(-rate), jnp.float32))
        self._mutation = nnx.Variable(jnp.asarray([mutation_rate(int(n)) for n in size], jnp.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs."""
        return {name: np.asarray(getattr(self, name)[...]) for name in self.STORED}

    @classmethod
    def restore(cls, arrays: dict[str, Any], config: HaplotypeConfig, n_ancestries: int) -> Mosaic:
        """Undo `arrays`."""
        return cls(arrays["panel"], arrays["ancestry"], arrays["centimorgans"], n_ancestries)

    @property
    def n_ancestries(self) -> int:
        return self._size.shape[0]

    @property
    def n_variants(self) -> int:
        return self.panel.shape[1]

    def _check_copyable(self, codes: np.ndarray) -> None:
        empty = [code for code in np.unique(codes).tolist() if not int(self._size[...][code])]
        if empty:
            raise ConditionError(
                f"ancestry code {empty[0]} has no training haplotype to copy",
                where="ancestry",
                remedy="ask for an ancestry that is in the training data",
            )

    def sample(
        self,
        key: jax.Array,
        ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"],
        given: Int8[np.ndarray, "haplotype variant"] | None = None,
    ) -> Draw:
        """Draw one haplotype a row of `ancestry`; `states` holds the copied panel row of each allele.

        Raises:
            ConfigError: Alleles are given, which only learned chains are drawn conditional on.
        """
        if given is not None:
            raise ConfigError("a mosaic cannot be drawn given alleles", where="mosaic", remedy="use method='anchmm'")
        codes = local_ancestry(ancestry, self.n_ancestries, self.n_variants)
        self._check_copyable(codes)
        keys = row_keys(key, len(codes))
        alleles = np.zeros((len(codes), self.n_variants), np.int8)
        states = np.zeros((len(codes), self.n_variants), np.int32)
        for rows, padded in chunks(np.arange(len(codes)), sample_chunk(self.n_variants)):
            local = jnp.broadcast_to(jnp.asarray(codes[padded]), (len(padded), self.n_variants))
            drawn = _sample(
                self.panel[...],
                self._first[...],
                self._size[...],
                self._switch[...],
                self._mutation[...],
                keys[padded],
                local,
            )
            alleles[rows], states[rows] = (np.asarray(part)[: len(rows)] for part in drawn)
        return Draw(alleles, states)

    def walk(
        self, key: jax.Array, ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"]
    ) -> Iterator[Draw]:
        """What `sample` draws, in one piece."""
        yield self.sample(key, ancestry)

    def _walk_rows(self, alleles: np.ndarray, ancestry: np.ndarray, posterior: bool) -> np.ndarray:
        alleles = check_alleles(alleles, self.n_variants)
        codes = check_ancestry(ancestry, len(alleles), self.n_ancestries)
        self._check_copyable(codes)
        out = np.zeros(alleles.shape if posterior else len(alleles), np.float32)
        panel = self.panel[...].T
        rows_a_call = max(1, MESSAGE_NUMBERS // panel.size) if posterior else 64
        for code in np.unique(codes):
            member = self.ancestry[...] == code
            for rows, padded in chunks(np.flatnonzero(codes == code), rows_a_call):
                found = _walk(
                    panel,
                    member,
                    self._switch[...][code],
                    self._mutation[...][code],
                    jnp.asarray(alleles[padded].T),
                    posterior,
                )
                out[rows] = np.asarray(found.T)[: len(rows)]
        return out

    def log_likelihood(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, " haplotype"]:
        """Exact natural-log probability of each haplotype given the panel of its ancestry."""
        return self._walk_rows(alleles, ancestry, posterior=False)

    def impute(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, "haplotype variant"]:
        """Posterior probability of the alternative allele; observed alleles are returned as 0 or 1."""
        return self._walk_rows(alleles, ancestry, posterior=True)


def fit_mosaic(
    alleles: Int8[np.ndarray, "haplotype variant"],
    ancestry: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
    centimorgans: Float[np.ndarray, " variant"],
) -> Mosaic:
    """Keep the training haplotypes, sorted by ancestry; a missing allele becomes its ancestry's major one.

    Raises:
        InputError, ConditionError, TrainingError: See `check_trainable`.
        ConfigError: Genetic positions that cannot be used.
    """
    alleles, codes = check_trainable(alleles, ancestry, n_ancestries)
    order = np.argsort(codes, kind="stable")
    panel, codes = alleles[order].copy(), codes[order]
    for code in np.unique(codes):
        rows = panel[codes == code]
        major = ((rows == 1).sum(0) * 2 > (rows >= 0).sum(0)).astype(np.int8)
        panel[codes == code] = np.where(rows < 0, major, rows)
    return Mosaic(panel, codes, centimorgans, n_ancestries)

"""A hidden Markov chain over the variants of one contig, its transitions depending on ancestry.

p(z_m | z_{m-1}, a) = transitions[a, m, z_{m-1}, z_m] and x_m | z_m ~ Bernoulli(emission[m, z_m]).
The learned model (`anchmm`) and two of its nulls (`independent`, `markov`) are such chains and share the
exact likelihood, sampling and imputation below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Int8

from genesim.config.model import HaplotypeConfig
from genesim.errors import ConditionError, InputError, TrainingError
from genesim.models.haplotypes.forward_backward import forward_log_likelihood, posterior_allele

SAMPLE_CHUNK = 512  # haplotypes drawn in one compiled call, at most
SAMPLE_NUMBERS = 16_000_000  # alleles drawn in one compiled call, at most: about 300 MB of working memory


class Draw(NamedTuple):
    """Drawn haplotypes and the hidden states behind them (the copied panel row for a mosaic)."""

    alleles: Int8[np.ndarray, "haplotype variant"]
    states: Int[np.ndarray, "haplotype variant"]


def check_alleles(alleles: np.ndarray, n_variants: int | None = None) -> np.ndarray:
    """`alleles` as int8 [haplotype, variant] with values 1, 0, -1 (missing) or -2 (absent copy).

    Raises:
        InputError: Another shape, another value, or another number of variants than the model has.
    """
    found = np.asarray(alleles)
    if found.ndim != 2 or (n_variants is not None and found.shape[1] != n_variants):
        wanted = "any number" if n_variants is None else n_variants
        raise InputError(
            f"alleles have shape {found.shape}",
            where="haplotypes",
            remedy=f"pass [haplotype, variant] with {wanted} variants",
        )
    if found.size and (found.min() < -2 or found.max() > 1):
        raise InputError(
            f"allele codes run from {found.min()} to {found.max()}",
            where="haplotypes",
            remedy="use 0, 1, -1 (missing) or -2 (absent copy); split multiallelic variants first",
        )
    return found.astype(np.int8, copy=False)


def check_trainable(alleles: np.ndarray, ancestry: np.ndarray, n_ancestries: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked alleles and ancestry codes of a training set.

    Raises:
        InputError: Shapes or codes that cannot be used.
        TrainingError: No haplotypes or no variants.
    """
    alleles = check_alleles(alleles)
    if 0 in alleles.shape:
        raise TrainingError(
            f"there are {alleles.shape[0]} haplotypes and {alleles.shape[1]} variants to learn from",
            remedy="relax the filters or choose another region",
        )
    return alleles, check_ancestry(ancestry, alleles.shape[0], n_ancestries)


def check_ancestry(ancestry: np.ndarray, n_haplotypes: int, n_ancestries: int, *, local: bool = False) -> np.ndarray:
    """`ancestry` codes as int32 [haplotype], or also [haplotype, variant] where `local`.

    Raises:
        InputError: Not one code a haplotype.
        ConditionError: A code outside 0..n_ancestries-1.
    """
    codes = np.asarray(ancestry)
    if codes.shape[:1] != (n_haplotypes,) or codes.ndim > 1 + local:
        raise InputError(
            f"ancestry has shape {codes.shape} for {n_haplotypes} haplotypes",
            where="ancestry",
            remedy="give one code a haplotype",
        )
    if codes.size and (codes.min() < 0 or codes.max() >= n_ancestries):
        raise ConditionError(
            f"ancestry codes run from {codes.min()} to {codes.max()}",
            where="ancestry",
            remedy=f"the model knows codes 0 to {n_ancestries - 1}",
        )
    return codes.astype(np.int32)


def local_ancestry(ancestry: np.ndarray, n_ancestries: int, n_variants: int) -> np.ndarray:
    """Codes [haplotype, 1] or, given one a haplotype and variant, [haplotype, variant].

    Raises:
        InputError, ConditionError: See `check_ancestry`; another number of columns.
    """
    codes = check_ancestry(ancestry, len(ancestry), n_ancestries, local=True)
    codes = codes[:, None] if codes.ndim == 1 else codes
    if codes.shape[1] not in (1, n_variants):
        raise InputError(
            f"local ancestry has {codes.shape[1]} columns",
            where="ancestry",
            remedy=f"give one code a haplotype, or {n_variants} (one a variant)",
        )
    return codes


def row_keys(key: jax.Array, n_rows: int) -> jax.Array:
    """One key a row: `key` itself if it already is an array of keys, else folded by row number."""
    return key if key.ndim else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(n_rows))


def chunks(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pieces of `rows`, each completed by repeating its first row.

    Completed to `size`, or to the next power of two (16 at least) where there are fewer rows, so that few
    shapes are ever compiled.
    """
    size = min(size, max(16, 1 << max(len(rows) - 1, 0).bit_length()))
    for start in range(0, len(rows), size):
        piece = rows[start : start + size]
        yield piece, np.concatenate([piece, np.repeat(piece[:1], size - len(piece))])


def sample_chunk(n_variants: int) -> int:
    """Haplotypes to draw in one compiled call."""
    return max(1, min(SAMPLE_CHUNK, SAMPLE_NUMBERS // n_variants))


@jax.jit
def _log_likelihood(transitions: Array, emission: Array, ancestry: Array, alleles: Array) -> Array:
    return forward_log_likelihood(transitions[ancestry], emission, alleles.T)


@partial(jax.jit, static_argnames="window")
def _posterior(transitions: Array, emission: Array, ancestry: Array, alleles: Array, window: int) -> Array:
    return posterior_allele(transitions[ancestry], emission, alleles.T, window).T


@jax.jit
def _sample(
    transitions: Float[Array, "ancestry variant state state"],
    emission: Float[Array, "variant state"],
    keys: Array,
    ancestry: Int[Array, "haplotype variant"] | Int[Array, "haplotype 1"],
) -> tuple[Int8[Array, "variant haplotype"], Int[Array, "variant haplotype"]]:
    n_variants, n_states = emission.shape
    draw = jax.vmap(lambda key: jax.random.uniform(key, (n_variants, 2)))(keys)
    local = jnp.broadcast_to(ancestry, (keys.shape[0], n_variants))

    def step(state: Array, site: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        variant, here, uniform, emits = site
        cumulative = jnp.cumsum(transitions[here, variant, state], axis=1)
        below = cumulative <= uniform[:, :1] * cumulative[:, -1:]
        state = jnp.minimum(below.sum(1), n_states - 1)
        return state, ((uniform[:, 1] < emits[state]).astype(jnp.int8), state)

    sites = (jnp.arange(n_variants), local.T, draw.transpose(1, 0, 2), emission)
    _, drawn = lax.scan(step, jnp.zeros(keys.shape[0], int), sites)
    return drawn


class HiddenChain(nnx.Module):
    """The chain's parameters and what follows from them exactly.

    Args:
        transitions: [ancestry, variant, state, state]; rows sum to 1; entry m leads into variant m, and
            entry 0 holds the initial distribution in every row.
        emission: [variant, state] probability of the alternative allele.
        window: Variants in one window of a posterior (memory, not accuracy).
        chunk: Haplotypes in one compiled call.
    """

    STORED: ClassVar[tuple[str, ...]] = ("transitions", "emission")

    def __init__(
        self,
        transitions: Float[Array | np.ndarray, "ancestry variant state state"],
        emission: Float[Array | np.ndarray, "variant state"],
        *,
        window: int = 10_000,
        chunk: int = 256,
    ) -> None:
        self.transitions = nnx.Param(jnp.asarray(transitions, jnp.float32))
        self.emission = nnx.Param(jnp.asarray(emission, jnp.float32))
        self.window = window
        self.chunk = chunk

    @property
    def n_ancestries(self) -> int:
        return self.transitions.shape[0]

    @property
    def n_variants(self) -> int:
        return self.transitions.shape[1]

    @property
    def n_states(self) -> int:
        return self.transitions.shape[2]

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs."""
        return {name: np.asarray(getattr(self, name)[...]) for name in self.STORED}

    @classmethod
    def restore(cls, arrays: dict[str, Any], config: HaplotypeConfig, n_ancestries: int) -> HiddenChain:
        """Undo `arrays`."""
        return HiddenChain(
            arrays["transitions"], arrays["emission"], window=config.window_size, chunk=config.minibatch_size
        )

    def _by_ancestry(
        self,
        alleles: np.ndarray,
        ancestry: np.ndarray,
        run: Callable[[int, np.ndarray], Array],
        out: np.ndarray,
    ) -> np.ndarray:
        """Fill `out` row by row with `run` over chunks that hold one ancestry each."""
        alleles = check_alleles(alleles, self.n_variants)
        codes = check_ancestry(ancestry, len(alleles), self.n_ancestries)
        for code in np.unique(codes):
            for rows, padded in chunks(np.flatnonzero(codes == code), self.chunk):
                out[rows] = np.asarray(run(int(code), alleles[padded]))[: len(rows)]
        return out

    def log_likelihood(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, " haplotype"]:
        """Exact natural-log probability of each haplotype; alleles below 0 are summed out."""

        def run(code: int, rows: np.ndarray) -> Array:
            return _log_likelihood(self.transitions[...], self.emission[...], code, rows)

        return self._by_ancestry(alleles, ancestry, run, np.zeros(len(alleles), np.float32))

    def impute(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, "haplotype variant"]:
        """Posterior probability of the alternative allele; observed alleles are returned as 0 or 1."""

        def run(code: int, rows: np.ndarray) -> Array:
            return _posterior(self.transitions[...], self.emission[...], code, rows, self.window)

        return self._by_ancestry(alleles, ancestry, run, np.zeros(np.shape(alleles), np.float32))

    def sample(
        self, key: jax.Array, ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"]
    ) -> Draw:
        """Draw one haplotype a row of `ancestry`.

        Args:
            key: One key, or one key a row; a row's draw depends on its own key and ancestry alone.
            ancestry: Codes, one a haplotype, or one a haplotype and variant (local ancestry).
        """
        codes = local_ancestry(ancestry, self.n_ancestries, self.n_variants)
        keys = row_keys(key, len(codes))
        alleles = np.zeros((len(codes), self.n_variants), np.int8)
        states = np.zeros((len(codes), self.n_variants), np.int16)
        for rows, padded in chunks(np.arange(len(codes)), sample_chunk(self.n_variants)):
            drawn = _sample(self.transitions[...], self.emission[...], keys[padded], jnp.asarray(codes[padded]))
            alleles[rows], states[rows] = (np.asarray(part).T[: len(rows)] for part in drawn)
        return Draw(alleles, states)

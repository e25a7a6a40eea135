"""A hidden Markov chain over the variants of one contig, its transitions depending on ancestry.

A haplotype of ancestry a belongs to group g with probability groups[a, g]; its state is constant within a block
of variants and p(z_b | z_{b-1}, g) = transitions[g, b, z_{b-1}, z_b]; x_m | z ~ Bernoulli(emission[m, z]).
The learned model (`anchmm`) and two of its nulls (`independent`, `markov`) are such chains and share the
exact likelihood, sampling and imputation below.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from genesim.models.haplotypes.forward_backward import (
    backward_messages,
    blocked,
    blocked_alleles,
    log_likelihood,
    posterior,
)

SAMPLE_CHUNK = 4096  # haplotypes drawn in one compiled call, at most
SAMPLE_NUMBERS = 16_000_000  # alleles drawn in one compiled call, at most
WALK_BLOCKS = 128  # blocks that `walk` draws at a time
GROUP_STREAM = 2**31 - 1  # folded into a haplotype's key for its group; blocks fold in their number


class Draw(NamedTuple):
    """Drawn haplotypes and the hidden states behind them: one a block (for a mosaic, the panel row of each variant)."""

    alleles: Int8[np.ndarray, "haplotype variant"]
    states: Int[np.ndarray, "haplotype block"]


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


@partial(jax.jit, static_argnames="size")
def _draw(
    transitions: Float[Array, "group block state state"],
    emission: Float[Array, "variant state"],
    keys: Array,
    group: Int[Array, "block haplotype"],
    given: Int8[Array, "haplotype variant"] | None,
    start: Int[Array, ""],
    state: Int[Array, " haplotype"],
    size: int,
) -> tuple[Int8[Array, "block haplotype site"], Int[Array, "block haplotype"]]:
    """Draw the blocks of `emission`, the first of which is block `start` of the contig, after `state`."""
    emits = blocked(emission, size, 0.5)
    n_blocks, _, n_states = emits.shape
    calls, messages = None, None
    if given is not None:
        calls = blocked_alleles(given, size)
        messages = backward_messages(transitions, emits, calls, group)

    def step(state: Array, block: tuple[Any, ...]) -> tuple[Array, tuple[Array, Array]]:
        index, here, emits, calls, message = block
        uniform = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, start + index), (size + 1,)))(keys)
        weights = transitions[here, index, state]
        cumulative = jnp.cumsum(weights if message is None else weights * message, axis=1)
        below = cumulative <= uniform[:, :1] * cumulative[:, -1:]
        state = jnp.minimum(below.sum(1), n_states - 1)
        alleles = (uniform[:, 1:] < emits.T[state]).astype(jnp.int8)
        return state, (alleles if calls is None else jnp.where(calls < 0, alleles, calls), state)

    _, drawn = lax.scan(step, state, (jnp.arange(n_blocks), group, emits, calls, messages))
    return drawn


class HiddenChain(nnx.Module):
    """The chain's parameters and what follows from them exactly.

    Args:
        transitions: [group, block, state, state]; rows sum to 1; entry b leads into block b, and
            entry 0 holds the initial distribution in every row.
        emission: [variant, state] probability of the alternative allele.
        groups: [ancestry, group] share of each group in an ancestry, rows sum to 1; where None every
            ancestry is a group of its own.
        block_size: Variants in a block, within which the state is constant; the last block may have fewer.
        window: Variants in one window of a posterior (memory, not accuracy).
        chunk: Haplotypes in one compiled call.
    """

    STORED: ClassVar[tuple[str, ...]] = ("transitions", "emission", "groups")

    def __init__(
        self,
        transitions: Float[Array | np.ndarray, "group block state state"],
        emission: Float[Array | np.ndarray, "variant state"],
        groups: Float[np.ndarray, "ancestry group"] | None = None,
        *,
        block_size: int = 1,
        window: int = 10_000,
        chunk: int = 256,
    ) -> None:
        self.transitions = nnx.Param(jnp.asarray(transitions, jnp.float32))
        self.emission = nnx.Param(jnp.asarray(emission, jnp.float32))
        self.groups = nnx.Variable(np.asarray(np.eye(len(transitions)) if groups is None else groups, np.float32))
        self.block_size = block_size
        self.window = max(1, window // block_size)
        self.chunk = chunk

    @property
    def n_ancestries(self) -> int:
        return self.groups[...].shape[0]

    @property
    def n_groups(self) -> int:
        return self.transitions.shape[0]

    @property
    def n_blocks(self) -> int:
        return self.transitions.shape[1]

    @property
    def n_variants(self) -> int:
        return self.emission.shape[0]

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
            arrays["transitions"],
            arrays["emission"],
            arrays["groups"],
            window=config.window_size,
            chunk=config.minibatch_size,
        )

    def _members(self, code: int) -> Int[np.ndarray, " group"]:
        """Groups of an ancestry."""
        return np.flatnonzero(self.groups[...][code] > 0)

    def _chunks(self, alleles: np.ndarray, codes: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Ancestry, rows and their completed alleles, in chunks that hold one ancestry each."""
        for code in np.unique(codes):
            for rows, padded in chunks(np.flatnonzero(codes == code), self.chunk):
                yield int(code), rows, alleles[padded]

    def _group_log_likelihood(self, code: int, alleles: np.ndarray) -> Float[np.ndarray, "member haplotype"]:
        """log groups[code, g] + log p(alleles | g) for the groups of one ancestry."""
        found = [
            np.log(self.groups[...][code, group])
            + np.asarray(log_likelihood(self.transitions[...][group], self.emission[...], alleles, self.block_size))
            for group in self._members(code)
        ]
        return np.stack(found)

    def log_likelihood(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, " haplotype"]:
        """Exact natural-log probability of each haplotype; alleles below 0 and the groups are summed out."""
        alleles = check_alleles(alleles, self.n_variants)
        codes = check_ancestry(ancestry, len(alleles), self.n_ancestries)
        out = np.zeros(len(alleles), np.float32)
        for code, rows, padded in self._chunks(alleles, codes):
            out[rows] = np.logaddexp.reduce(self._group_log_likelihood(code, padded), axis=0)[: len(rows)]
        return out

    def impute(
        self, alleles: Int8[np.ndarray, "haplotype variant"], ancestry: Int[np.ndarray, " haplotype"]
    ) -> Float[np.ndarray, "haplotype variant"]:
        """Posterior probability of the alternative allele; observed alleles are returned as 0 or 1."""
        alleles = check_alleles(alleles, self.n_variants)
        codes = check_ancestry(ancestry, len(alleles), self.n_ancestries)
        out = np.zeros(alleles.shape, np.float32)
        for code, rows, padded in self._chunks(alleles, codes):
            members = self._members(code)
            shares = np.ones((1, len(padded)))
            if len(members) > 1:
                logs = self._group_log_likelihood(code, padded)
                shares = np.exp(logs - np.logaddexp.reduce(logs, axis=0))
            for group, share in zip(members, shares, strict=True):
                found = posterior(
                    self.transitions[...][group], self.emission[...], padded, self.block_size, self.window
                )
                out[rows] += (np.asarray(found) * share[:, None].astype(np.float32))[: len(rows)]
        return out

    def _drawn_groups(
        self, keys: jax.Array, codes: np.ndarray, given: np.ndarray | None
    ) -> Int[np.ndarray, "haplotype block"]:
        """The group that each haplotype has in each block: one a haplotype and ancestry.

        Given alleles weigh the groups of a haplotype that has one ancestry; with local ancestry they do not.
        """
        local = codes[:, :: self.block_size] if codes.shape[1] > 1 else codes
        if self.n_groups == self.n_ancestries:
            return local  # every ancestry is one group, in the same order
        uniform = np.asarray(jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, GROUP_STREAM)))(keys))
        shares = np.broadcast_to(self.groups[...], (len(codes), *self.groups[...].shape)).copy()
        if given is not None and codes.shape[1] == 1:
            for code, rows, padded in self._chunks(given, codes[:, 0]):
                logs = self._group_log_likelihood(code, padded)
                found = np.exp(logs - np.logaddexp.reduce(logs, axis=0)).T[: len(rows)]
                shares[rows[:, None], code, self._members(code)] = found
        cumulative = shares.cumsum(2)
        picked = (cumulative <= uniform[:, None, None] * cumulative[:, :, -1:]).sum(2)
        return np.take_along_axis(picked, local, axis=1)

    def head(self, n_variants: int) -> HiddenChain:
        """The chain of the blocks that hold the first variants."""
        n_blocks = -(-n_variants // self.block_size)
        return HiddenChain(
            self.transitions[...][:, :n_blocks],
            self.emission[...][: n_blocks * self.block_size],
            self.groups[...],
            block_size=self.block_size,
            window=self.window * self.block_size,
            chunk=self.chunk,
        )

    def _run(
        self, keys: jax.Array, groups: np.ndarray, given: np.ndarray | None, first: int, last: int, state: np.ndarray
    ) -> Draw:
        """Blocks `first` to `last` (exclusive) after `state`; `groups` [haplotype, block] or [haplotype, 1]."""
        variants = slice(first * self.block_size, min(last * self.block_size, self.n_variants))
        emission = self.emission[...][variants]
        transitions = self.transitions[...] if last - first == self.n_blocks else self.transitions[...][:, first:last]
        alleles = np.zeros((len(groups), emission.shape[0]), np.int8)
        states = np.zeros((len(groups), last - first), np.int16)
        for rows, padded in chunks(np.arange(len(groups)), sample_chunk(emission.shape[0])):
            local = groups[padded, first:last] if groups.shape[1] > 1 else groups[padded]
            drawn, path = _draw(
                transitions,
                emission,
                keys[padded],
                jnp.broadcast_to(jnp.asarray(local), (len(padded), last - first)).T,
                None if given is None else jnp.asarray(given[padded, variants]),
                jnp.int32(first),
                jnp.asarray(state[padded]),
                self.block_size,
            )
            here = np.asarray(drawn).transpose(1, 0, 2).reshape(len(padded), -1)
            alleles[rows], states[rows] = here[: len(rows), : alleles.shape[1]], np.asarray(path).T[: len(rows)]
        return Draw(alleles, states)

    def walk(
        self,
        key: jax.Array,
        ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"],
        prefix: Int8[np.ndarray, "haplotype prefix"] | None = None,
    ) -> Iterator[Draw]:
        """Draw one haplotype a row of `ancestry`, a run of variants at a time: what `sample` draws, in less memory.

        Args:
            key, ancestry: See `sample`.
            prefix: Alleles of the first variants, all known; what follows is drawn given them, and yielded.
        """
        codes = local_ancestry(ancestry, self.n_ancestries, self.n_variants)
        keys = row_keys(key, len(codes))
        first, state = 0, np.zeros(len(codes), int)
        if prefix is None:
            groups = self._drawn_groups(keys, codes, None)
        else:
            head = self.head(prefix.shape[1])
            given = np.full((len(codes), head.n_variants), -1, np.int8)
            given[:, : prefix.shape[1]] = prefix
            groups = (head if codes.shape[1] == 1 else self)._drawn_groups(keys, codes, given)
            drawn = head._run(keys, groups, given, 0, head.n_blocks, state)
            first, state = head.n_blocks, drawn.states[:, -1].astype(int)
            if prefix.shape[1] < head.n_variants:
                yield Draw(drawn.alleles[:, prefix.shape[1] :], drawn.states)
        for start in range(first, self.n_blocks, WALK_BLOCKS):
            drawn = self._run(keys, groups, None, start, min(start + WALK_BLOCKS, self.n_blocks), state)
            state = drawn.states[:, -1].astype(int)
            yield drawn

    def sample(
        self,
        key: jax.Array,
        ancestry: Int[np.ndarray, " haplotype"] | Int[np.ndarray, "haplotype variant"],
        given: Int8[np.ndarray, "haplotype variant"] | None = None,
    ) -> Draw:
        """Draw one haplotype a row of `ancestry`.

        Args:
            key: One key, or one key a row; a row's draw depends on its own key, ancestry and given alleles alone.
            ancestry: Codes, one a haplotype, or one a haplotype and variant (local ancestry); within a block
                the code of its first variant counts.
            given: Alleles that a haplotype must have, negative where free: the rest is drawn given them, by
                backward filtering and forward sampling (exact).
        """
        codes = local_ancestry(ancestry, self.n_ancestries, self.n_variants)
        keys = row_keys(key, len(codes))
        if given is not None:
            given = check_alleles(given, self.n_variants)
        groups = self._drawn_groups(keys, codes, given)
        return self._run(keys, groups, given, 0, self.n_blocks, np.zeros(len(codes), int))

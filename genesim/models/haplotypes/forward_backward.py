"""Scaled forward-backward of a hidden Markov chain whose state is constant within a block of variants.

One convention throughout: `transitions[b]` leads *into* block b, from a uniform state before the first
block, so that `transitions[0]` holds the initial distribution in each row. Alleles are 0, 1, or negative
for "not observed" (emission 1). A block of one variant gives the ordinary chain. Scaling follows Rabiner
(1989), Proc. IEEE 77:257, section V.A, in logarithms within a block.

A chain is walked in windows of at most `window` blocks. Only the forward message at each window's entry is
kept; inside a window it is computed again on the way back. The result is exact, and working memory is
window x haplotype x state instead of block x haplotype x state.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

SMALLEST = 1e-30  # probability in a logarithm, so that an impossible allele has a finite one

Blocks = Float[Array, "block state state"]


class ChainStatistics(NamedTuple):
    """Expected counts of one chunk of haplotypes, summed over its rows by weight."""

    pairs: Float[Array, "block state state"]
    """Sum of forward x scaled backward messages; times the transitions, the expected transition counts."""
    alleles: Float[Array, "block 2 site state"]
    """Expected visits of a state with the reference (0) and the alternative (1) allele observed."""
    log_likelihood: Float[Array, " haplotype"]
    """Natural log of each row's probability (unweighted)."""


class _Window(NamedTuple):
    transitions: Float[Array, "window state state"]
    emission: Float[Array, "window site state"]
    alleles: Int[Array, "window haplotype site"]
    active: Float[Array, " window"]


def blocked(values: Array, size: int, fill: float) -> Array:
    """[variant, ...] to [block, site, ...], the last block completed with `fill`."""
    lacking = -values.shape[0] % size
    padded = jnp.pad(values, [(0, lacking)] + [(0, 0)] * (values.ndim - 1), constant_values=fill)
    return padded.reshape(-1, size, *values.shape[1:])


def blocked_alleles(alleles: Int[Array, "haplotype variant"], size: int) -> Int[Array, "block haplotype site"]:
    """The alleles block by block; variants that complete the last one are not observed."""
    return blocked(alleles.T, size, -1).transpose(0, 2, 1)


def window_plan(n_blocks: int, window: int) -> tuple[int, int]:
    """Number of windows and blocks in each; the last one overlaps where they do not divide evenly."""
    n_windows = -(-n_blocks // window)
    return n_windows, -(-n_blocks // n_windows)


def _cut(transitions: Array, emission: Array, alleles: Array, index: Array, size: int) -> tuple[_Window, Array]:
    """Window `index` and its start. Blocks that the previous window has covered are made transparent."""
    start = jnp.minimum(index * size, emission.shape[0] - size)
    active = start + jnp.arange(size) >= index * size

    def take(values: Array) -> Array:
        return lax.dynamic_slice_in_dim(values, start, size)

    calls = jnp.where(active[:, None, None], take(alleles), -1)
    return _Window(take(transitions), take(emission), calls, active.astype(jnp.float32)), start


def _step_transition(transition: Array, active: Array) -> Array:
    return active * transition + (1 - active) * jnp.eye(transition.shape[0], dtype=transition.dtype)


def emit(
    emission: Float[Array, "site state"], alleles: Int[Array, "haplotype site"]
) -> tuple[Float[Array, "haplotype state"], Float[Array, " haplotype"]]:
    """p(alleles of the block | state), relative to the likeliest state, and that state's log-probability."""
    reference, alternative = jnp.log(jnp.maximum(1 - emission, SMALLEST)), jnp.log(jnp.maximum(emission, SMALLEST))
    logs = (alleles == 0).astype(jnp.float32) @ reference + (alleles == 1).astype(jnp.float32) @ alternative
    top = logs.max(1)
    return jnp.exp(logs - top[:, None]), top


def _forward(window: _Window, entry: Array, keep: bool) -> tuple[Array, tuple[Any, Any, Array]]:
    """Forward messages of one window: the last one; when `keep`, all of them and the scaled emissions; log scales."""

    def step(alpha: Array, block: _Window) -> tuple[Array, tuple[Any, Any, Array]]:
        emitted, top = emit(block.emission, block.alleles)
        joint = (alpha @ _step_transition(block.transitions, block.active)) * emitted
        scale = joint.sum(1)
        alpha = joint / scale[:, None]
        kept = (alpha, emitted / scale[:, None]) if keep else (None, None)
        return alpha, (*kept, jnp.log(scale) + top)

    return lax.scan(step, entry, window)


def _entry(n_haplotypes: int, n_states: int) -> Array:
    return jnp.full((n_haplotypes, n_states), 1.0 / n_states, jnp.float32)


def _entries(
    transitions: Array, emission: Array, alleles: Array, window: int
) -> tuple[Float[Array, "windows haplotype state"], int, int]:
    """Forward message at the entry of every window."""
    n_windows, size = window_plan(emission.shape[0], window)
    first = _entry(alleles.shape[1], emission.shape[2])
    if n_windows == 1:
        return first[None], n_windows, size

    def step(alpha: Array, index: Array) -> tuple[Array, Array]:
        part, _ = _cut(transitions, emission, alleles, index, size)
        after, _ = _forward(part, alpha, keep=False)
        return after, alpha

    _, entries = lax.scan(step, first, jnp.arange(n_windows))
    return entries, n_windows, size


def forward_log_likelihood(
    transitions: Float[Array, "block state state"],
    emission: Float[Array, "block site state"],
    alleles: Int[Array, "block haplotype site"],
) -> Float[Array, " haplotype"]:
    """Exact natural-log probability of each haplotype; memory is linear in the variants."""
    whole = _Window(transitions, emission, alleles, jnp.ones(emission.shape[0], jnp.float32))
    _, (_, _, logs) = _forward(whole, _entry(alleles.shape[1], emission.shape[2]), keep=False)
    return logs.sum(0)


def expected_statistics(
    transitions: Float[Array, "block state state"],
    emission: Float[Array, "block site state"],
    alleles: Int[Array, "block haplotype site"],
    weight: Float[Array, " haplotype"],
    pairs: Float[Array, "block state state"],
    window: int,
) -> ChainStatistics:
    """Add one chunk's expected counts to `pairs` (a running sum) and return them with its other counts."""
    entries, n_windows, size = _entries(transitions, emission, alleles, window)
    n_blocks, n_sites, n_states = emission.shape
    counts = jnp.zeros((n_blocks, 2, n_sites, n_states), jnp.float32)

    def add(total: Array, part: Array, start: Array) -> Array:
        old = lax.dynamic_slice_in_dim(total, start, size)
        return lax.dynamic_update_slice_in_dim(total, old + part, start, 0)

    def back(carry: tuple[Array, Array, Array], index: Array) -> tuple[tuple[Array, Array, Array], Array]:
        beta, pairs, counts = carry
        part, start = _cut(transitions, emission, alleles, index, size)
        _, (alphas, emissions, logs) = _forward(part, entries[index], keep=True)
        before = jnp.concatenate([entries[index][None], alphas[:-1]])

        def step(beta: Array, block: tuple[_Window, Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            here, alpha, alpha_before, emitted = block
            visits = alpha * beta * weight[:, None]
            seen = jnp.stack([(here.alleles == allele).astype(jnp.float32).T @ visits for allele in (0, 1)])
            upward = beta * emitted
            pair = here.active * (alpha_before.T @ (weight[:, None] * upward))
            return upward @ _step_transition(here.transitions, here.active).T, (pair, seen)

        beta, (pair, seen) = lax.scan(step, beta, (part, alphas, before, emissions), reverse=True)
        return (beta, add(pairs, pair, start), add(counts, seen, start)), (logs * part.active[:, None]).sum(0)

    beta = jnp.ones((alleles.shape[1], n_states), jnp.float32)
    (_, pairs, counts), logs = lax.scan(back, (beta, pairs, counts), jnp.arange(n_windows), reverse=True)
    return ChainStatistics(pairs, counts, logs.sum(0))


def posterior_allele(
    transitions: Float[Array, "block state state"],
    emission: Float[Array, "block site state"],
    alleles: Int[Array, "block haplotype site"],
    window: int,
) -> Float[Array, "block haplotype site"]:
    """P(allele = 1 | every observed allele of the haplotype); the allele itself where observed."""
    entries, n_windows, size = _entries(transitions, emission, alleles, window)

    def back(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
        beta, probability = carry
        part, start = _cut(transitions, emission, alleles, index, size)
        _, (alphas, emissions, _) = _forward(part, entries[index], keep=True)

        def step(beta: Array, block: tuple[_Window, Array, Array]) -> tuple[Array, Array]:
            here, alpha, emitted = block
            posterior = alpha * beta
            filled = (posterior @ here.emission.T) / posterior.sum(1, keepdims=True)
            below = (beta * emitted) @ _step_transition(here.transitions, here.active).T
            return below, jnp.where(here.alleles < 0, filled, here.alleles)

        beta, filled = lax.scan(step, beta, (part, alphas, emissions), reverse=True)
        # A transparent block is written again, correctly, by the window that owns it: the one before.
        return (beta, lax.dynamic_update_slice_in_dim(probability, filled, start, 0)), None

    start_values = jnp.zeros(alleles.shape, jnp.float32)
    beta = jnp.ones((alleles.shape[1], emission.shape[2]), jnp.float32)
    (_, probability), _ = lax.scan(back, (beta, start_values), jnp.arange(n_windows), reverse=True)
    return probability


@partial(jax.jit, static_argnames=("size", "window"))
def posterior(transitions: Array, emission: Array, alleles: Array, size: int, window: int) -> Array:
    """`posterior_allele` of [haplotype, variant] alleles, in the same shape."""
    n_variants = alleles.shape[1]
    found = posterior_allele(transitions, blocked(emission, size, 0.5), blocked_alleles(alleles, size), window)
    return found.transpose(1, 0, 2).reshape(alleles.shape[0], -1)[:, :n_variants]


@partial(jax.jit, static_argnames="size")
def log_likelihood(transitions: Array, emission: Array, alleles: Array, size: int) -> Array:
    """`forward_log_likelihood` of [haplotype, variant] alleles."""
    return forward_log_likelihood(transitions, blocked(emission, size, 0.5), blocked_alleles(alleles, size))


def backward_messages(
    transitions: Float[Array, "group block state state"],
    emission: Float[Array, "block site state"],
    alleles: Int[Array, "block haplotype site"],
    group: Int[Array, "block haplotype"],
) -> Float[Array, "block haplotype state"]:
    """What each block's state makes of the alleles of that block and of those after it, scaled to at most 1.

    `group` says which transitions lead a haplotype into a block. Message b times transitions into block b is,
    up to a factor a haplotype, the distribution of its state given the state before and all alleles from there.
    """

    def step(beta: Array, block: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        index, emits, calls, here = block
        emitted, _ = emit(emits, calls)
        upward = beta * emitted
        upward = upward / upward.max(1, keepdims=True)
        below = jnp.zeros_like(upward)
        for code in range(transitions.shape[0]):
            below = jnp.where((here == code)[:, None], upward @ transitions[code, index].T, below)
        return below, upward

    start = jnp.ones((alleles.shape[1], emission.shape[2]), jnp.float32)
    blocks = (jnp.arange(emission.shape[0]), emission, alleles, group)
    _, messages = lax.scan(step, start, blocks, reverse=True)
    return messages

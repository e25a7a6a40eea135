"""Scaled forward-backward of a site-inhomogeneous hidden Markov chain over haplotypes.

One convention throughout: `transitions[m]` leads *into* site m, from a uniform state before the first
site, so that `transitions[0]` holds the initial distribution in each row. Alleles are 0, 1, or negative
for "not observed" (emission 1). Scaling follows Rabiner (1989), Proc. IEEE 77:257, section V.A.

A chain is walked in windows of at most `window` sites. Only the forward message at each window's entry is
kept; inside a window it is computed again on the way back. The result is exact, and working memory is
window x haplotype x state instead of site x haplotype x state.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


class ChainStatistics(NamedTuple):
    """Expected counts of one chunk of haplotypes, summed over its rows by weight."""

    pairs: Float[Array, "variant state state"]
    """Sum of forward x scaled backward messages; times the transitions, the expected transition counts."""
    alleles: Float[Array, "variant 2 state"]
    """Expected visits of a state with the reference (0) and the alternative (1) allele observed."""
    log_likelihood: Float[Array, " haplotype"]
    """Natural log of each row's probability (unweighted)."""


class _Window(NamedTuple):
    transitions: Float[Array, "window state state"]
    emission: Float[Array, "window state"]
    alleles: Int[Array, "window haplotype"]
    active: Float[Array, " window"]


def window_plan(n_variants: int, window: int) -> tuple[int, int]:
    """Number of windows and sites in each; the last one overlaps where they do not divide evenly."""
    n_windows = -(-n_variants // window)
    return n_windows, -(-n_variants // n_windows)


def _cut(
    transitions: Float[Array, "variant state state"],
    emission: Float[Array, "variant state"],
    alleles: Int[Array, "variant haplotype"],
    index: Array,
    size: int,
) -> tuple[_Window, Array]:
    """Window `index` and its start. Sites that the previous window has covered are made transparent."""
    start = jnp.minimum(index * size, emission.shape[0] - size)
    active = start + jnp.arange(size) >= index * size

    def take(values: Array) -> Array:
        return lax.dynamic_slice_in_dim(values, start, size)

    calls = jnp.where(active[:, None], take(alleles), -1)
    return _Window(take(transitions), take(emission), calls, active.astype(jnp.float32)), start


def _site_transition(transition: Array, active: Array) -> Array:
    return active * transition + (1 - active) * jnp.eye(transition.shape[0], dtype=transition.dtype)


def _emit(emission: Float[Array, " state"], alleles: Int[Array, " haplotype"]) -> Array:
    """p(allele | state), [haplotype, state]; 1 where not observed."""
    constant = (alleles <= 0).astype(jnp.float32)
    slope = jnp.where(alleles < 0, 0.0, jnp.where(alleles == 1, 1.0, -1.0))
    return constant[:, None] + slope[:, None] * emission[None, :]


def _forward(window: _Window, entry: Array, keep: bool) -> tuple[Array, tuple[Any, Array]]:
    """Forward messages of one window: the last one, all of them when `keep`, and the scale of each site."""

    def step(alpha: Array, site: _Window) -> tuple[Array, tuple[Any, Array]]:
        joint = (alpha @ _site_transition(site.transitions, site.active)) * _emit(site.emission, site.alleles)
        scale = joint.sum(1)
        alpha = joint / scale[:, None]
        return alpha, (alpha if keep else None, scale)

    return lax.scan(step, entry, window)


def _entry(n_haplotypes: int, n_states: int) -> Array:
    return jnp.full((n_haplotypes, n_states), 1.0 / n_states, jnp.float32)


def _entries(
    transitions: Array, emission: Array, alleles: Array, window: int
) -> tuple[Float[Array, "windows haplotype state"], int, int]:
    """Forward message at the entry of every window."""
    n_windows, size = window_plan(emission.shape[0], window)
    first = _entry(alleles.shape[1], emission.shape[1])
    if n_windows == 1:
        return first[None], n_windows, size

    def step(alpha: Array, index: Array) -> tuple[Array, Array]:
        part, _ = _cut(transitions, emission, alleles, index, size)
        after, _ = _forward(part, alpha, keep=False)
        return after, alpha

    _, entries = lax.scan(step, first, jnp.arange(n_windows))
    return entries, n_windows, size


def forward_log_likelihood(
    transitions: Float[Array, "variant state state"],
    emission: Float[Array, "variant state"],
    alleles: Int[Array, "variant haplotype"],
) -> Float[Array, " haplotype"]:
    """Exact natural-log probability of each column of `alleles`; memory is linear in the sites."""
    n_variants = emission.shape[0]
    whole = _Window(transitions, emission, alleles, jnp.ones(n_variants, jnp.float32))
    _, (_, scale) = _forward(whole, _entry(alleles.shape[1], emission.shape[1]), keep=False)
    return jnp.log(scale).sum(0)


def expected_statistics(
    transitions: Float[Array, "variant state state"],
    emission: Float[Array, "variant state"],
    alleles: Int[Array, "variant haplotype"],
    weight: Float[Array, " haplotype"],
    pairs: Float[Array, "variant state state"],
    window: int,
) -> ChainStatistics:
    """Add one chunk's expected counts to `pairs` (a running sum) and return them with its other counts."""
    entries, n_windows, size = _entries(transitions, emission, alleles, window)
    n_variants, n_states = emission.shape
    counts = jnp.zeros((n_variants, 2, n_states), jnp.float32)

    def add(total: Array, part: Array, start: Array) -> Array:
        old = lax.dynamic_slice_in_dim(total, start, size)
        return lax.dynamic_update_slice_in_dim(total, old + part, start, 0)

    def back(carry: tuple[Array, Array, Array], index: Array) -> tuple[tuple[Array, Array, Array], Array]:
        beta, pairs, counts = carry
        part, start = _cut(transitions, emission, alleles, index, size)
        _, (alphas, scales) = _forward(part, entries[index], keep=True)
        before = jnp.concatenate([entries[index][None], alphas[:-1]])

        def step(beta: Array, site: tuple[_Window, Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            here, alpha, alpha_before, scale = site
            posterior = alpha * beta
            seen = jnp.stack([weight * (here.alleles == 0), weight * (here.alleles == 1)])
            upward = beta * _emit(here.emission, here.alleles) / scale[:, None]
            pair = here.active * (alpha_before.T @ (weight[:, None] * upward))
            return upward @ _site_transition(here.transitions, here.active).T, (pair, seen @ posterior)

        beta, (pair, seen) = lax.scan(step, beta, (part, alphas, before, scales), reverse=True)
        log_scale = (jnp.log(scales) * part.active[:, None]).sum(0)
        return (beta, add(pairs, pair, start), add(counts, seen, start)), log_scale

    beta = jnp.ones((alleles.shape[1], n_states), jnp.float32)
    (_, pairs, counts), logs = lax.scan(back, (beta, pairs, counts), jnp.arange(n_windows), reverse=True)
    return ChainStatistics(pairs, counts, logs.sum(0))


@partial(jax.jit, static_argnames="window")
def posterior_allele(
    transitions: Float[Array, "variant state state"],
    emission: Float[Array, "variant state"],
    alleles: Int[Array, "variant haplotype"],
    window: int,
) -> Float[Array, "variant haplotype"]:
    """P(allele = 1 | every observed allele of the haplotype); the allele itself where observed."""
    entries, n_windows, size = _entries(transitions, emission, alleles, window)

    def back(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
        beta, probability = carry
        part, start = _cut(transitions, emission, alleles, index, size)
        _, (alphas, scales) = _forward(part, entries[index], keep=True)

        def step(beta: Array, site: tuple[_Window, Array, Array]) -> tuple[Array, Array]:
            here, alpha, scale = site
            posterior = alpha * beta
            upward = beta * _emit(here.emission, here.alleles) / scale[:, None]
            filled = (posterior @ here.emission) / posterior.sum(1)
            below = upward @ _site_transition(here.transitions, here.active).T
            return below, jnp.where(here.alleles < 0, filled, here.alleles)

        beta, filled = lax.scan(step, beta, (part, alphas, scales), reverse=True)
        # A transparent site is written again, correctly, by the window that owns it: the one before.
        return (beta, lax.dynamic_update_slice_in_dim(probability, filled, start, 0)), None

    start_values = jnp.zeros(alleles.shape, jnp.float32)
    beta = jnp.ones((alleles.shape[1], emission.shape[1]), jnp.float32)
    (_, probability), _ = lax.scan(back, (beta, start_values), jnp.arange(n_windows), reverse=True)
    return probability

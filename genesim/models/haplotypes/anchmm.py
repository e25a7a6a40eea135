"""AncHMM: an ancestry-conditioned hidden Markov model of K learned ancestral haplotypes, fitted by MAP-EM.

In the line of fastPHASE (Scheet and Stephens 2006, AJHG 78:629) and of hidden-tree circuits for genotypes
(Dang et al. 2023), with these changes. The state is constant within a block of neighbouring variants, so that a
step, which costs K^2, covers several of them. Haplotypes of an ancestry fall into groups (`groups`), and every
group has a full K x K transition matrix into every block instead of a jump rate. A group's matrices are shrunk to
those pooled over groups, tilted to the states that the group visits there: with them a group that is small, or a
state that it rarely visits, borrows who follows whom from everyone, but not everyone's ancestry. The M step is

    T[g,b] ~ Xi[g,b] + lambda * R[g,b] + c * P[b],       P[b] = (1 - rho[b]) I + rho[b] 11' / K
    R[g,b,k,l] ~ Tbar[b,k,l] * v[g,b,l] / vbar[b,l]
    theta[m,k] = (N1[m,k] + 2 alpha phat[m]) / (N0[m,k] + N1[m,k] + 2 alpha)

with Xi, N0, N1 the expected counts, Tbar the pooled transitions (rows of sum_g Xi[g] + c P, normalised), vbar
the pooled share of each state among the visits of a block, v the group's own share after one visit has been added
to it as in the pool, and phat the allele frequency in training. For R as used in a pass, that pass cannot lower
the log posterior; R itself is estimated anew in each pass (empirical Bayes).

The number of numbers is G * B * K * K: with float32, K = 128 and 12 variants a block, 5.5 KiB a group and variant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Int8

from genesim import rng
from genesim.config.model import HaplotypeConfig
from genesim.errors import ConfigError
from genesim.models.base import EmModel
from genesim.models.haplotypes.chain import HiddenChain, check_trainable
from genesim.models.haplotypes.forward_backward import blocked, blocked_alleles, expected_statistics
from genesim.types import Minibatch

TEMPLATE_SHARE = 0.8  # of a random training haplotype in a state's first emission; the rest is the frequency
COPIES_WHILE_FITTING = 8  # of the transitions: parameters, statistics and the loop's copies (measured)


class Hyperparameters(NamedTuple):
    """Weights of the priors; names and defaults as in `HaplotypeConfig`."""

    ancestry_shrinkage: float
    transition_pseudocount: float
    emission_pseudocount: float


class Prior(nnx.Variable):
    """A fixed array that the M step needs."""


def required_bytes(n_groups: int, n_variants: int, config: HaplotypeConfig) -> int:
    """Memory that fitting takes, in bytes: a few copies of the transitions and one window's messages."""
    n_blocks = -(-n_variants // config.block_size)
    transitions = 4 * n_groups * n_blocks * config.n_states**2
    window = max(1, config.window_size // config.block_size)
    messages = 4 * min(window, n_blocks) * config.minibatch_size * config.n_states
    return COPIES_WHILE_FITTING * transitions + 3 * messages


def prior_switch(
    n_variants: int, switch_rate: float, centimorgans: Float[np.ndarray, " variant"] | None = None
) -> Float[np.ndarray, " variant"]:
    """Prior probability rho of a switch into each variant; 1 into the first.

    Without a map it is `switch_rate` everywhere. With one it is 1 - exp(-kappa * cM), kappa chosen so that
    the summed rate over the contig is the same.
    """
    rate = np.full(n_variants, -np.log1p(-switch_rate))
    if centimorgans is not None and n_variants > 1:
        step = np.diff(np.asarray(centimorgans, float))
        if len(centimorgans) != n_variants or not np.isfinite(step).all() or (step < 0).any():
            raise ConfigError(
                "genetic positions are not one finite, non-decreasing value a variant",
                where="genetic map",
                remedy="sort the map and check its unit (cM)",
            )
        if step.sum() > 0:
            rate[1:] = np.maximum(rate[1:].sum() * step / step.sum(), 1e-8)
    rho = -np.expm1(-rate)
    rho[0] = 1.0
    return rho


def block_switch(switch: Float[np.ndarray, " variant"], block_size: int) -> Float[np.ndarray, " block"]:
    """Prior probability of a switch into each block: at any variant since the first one of the block before."""
    starts = np.arange(0, len(switch), block_size)
    stay = np.log1p(-np.minimum(switch[1:], 1 - 1e-12))
    total = np.concatenate([[0.0], stay.cumsum()])
    rho = np.concatenate([[1.0], -np.expm1(total[starts[1:]] - total[starts[:-1]])])
    return rho


def transition_prior(switch: Float[Array, " block"], n_states: int) -> Float[Array, "block state state"]:
    """P[m] = (1 - rho) I + rho 11'/K."""
    return (1 - switch)[:, None, None] * jnp.eye(n_states) + (switch / n_states)[:, None, None]


def _rows(weights: Array) -> Array:
    return weights / weights.sum(-1, keepdims=True)


class AncHmm(HiddenChain, EmModel):
    """The learned chain. Build it with `AncHmm.initialise`, fit it with EM steps (`expect`, `maximise`).

    Args:
        switch: Prior switch probability into each block.
        frequency: Training frequency of the alternative allele, inside (0, 1).
        hyperparameters: Weights of the priors.
    """

    STORED = ("transitions", "emission", "groups", "switch", "frequency")

    def __init__(
        self,
        transitions: Float[Array | np.ndarray, "group block state state"],
        emission: Float[Array | np.ndarray, "variant state"],
        switch: Float[Array | np.ndarray, " block"],
        frequency: Float[Array | np.ndarray, " variant"],
        hyperparameters: Hyperparameters,
        groups: Float[np.ndarray, "ancestry group"] | None = None,
        *,
        block_size: int = 1,
        window: int = 10_000,
        chunk: int = 256,
    ) -> None:
        super().__init__(transitions, emission, groups, block_size=block_size, window=window, chunk=chunk)
        self.switch = Prior(jnp.asarray(switch, jnp.float32))
        self.frequency = Prior(jnp.asarray(frequency, jnp.float32))
        self.hyperparameters = hyperparameters

    @classmethod
    def initialise(
        cls,
        key: jax.Array,
        alleles: Int8[np.ndarray, "haplotype variant"],
        group: Int[np.ndarray, " haplotype"],
        n_groups: int,
        config: HaplotypeConfig,
        centimorgans: Float[np.ndarray, " variant"] | None = None,
        groups: Float[np.ndarray, "ancestry group"] | None = None,
    ) -> AncHmm:
        """Sticky transitions, and states that lean on random training haplotypes.

        Raises:
            InputError, ConditionError, TrainingError: See `check_trainable`.
        """
        alleles, _ = check_trainable(alleles, group, n_groups)
        n_haplotypes, n_variants = alleles.shape
        n_states = config.n_states
        observed = (alleles >= 0).sum(0)
        frequency = ((alleles == 1).sum(0) + 0.5) / (observed + 1.0)
        order = np.asarray(jax.random.uniform(rng.child(key, "templates"), (n_haplotypes,))).argsort()
        template = alleles[np.resize(order, n_states)].T.astype(float)
        template = np.where(template < 0, frequency[:, None], template)
        if n_states > n_haplotypes:  # states that share a template must differ, or EM keeps them equal
            noise = np.asarray(jax.random.uniform(rng.child(key, "noise"), template.shape))
            template = 0.9 * template + 0.1 * noise
        emission = TEMPLATE_SHARE * template + (1 - TEMPLATE_SHARE) * frequency[:, None]
        switch = block_switch(prior_switch(n_variants, config.switch_rate, centimorgans), config.block_size)
        sticky = transition_prior(jnp.asarray(switch, jnp.float32), n_states)
        arrays = {
            "transitions": jnp.broadcast_to(sticky, (n_groups, *sticky.shape)),
            "emission": emission,
            "groups": groups,
            "switch": switch,
            "frequency": frequency,
        }
        return cls.restore(arrays, config, n_groups)

    @classmethod
    def restore(cls, arrays: dict[str, Any], config: HaplotypeConfig, n_ancestries: int) -> AncHmm:
        """The model of these arrays; undoes `arrays`."""
        return cls(
            arrays["transitions"],
            arrays["emission"],
            arrays["switch"],
            arrays["frequency"],
            Hyperparameters(config.ancestry_shrinkage, config.transition_pseudocount, config.emission_pseudocount),
            arrays["groups"],
            block_size=config.block_size,
            window=config.window_size,
            chunk=config.minibatch_size,
        )

    def expect(self, minibatch: Minibatch) -> dict[str, Array]:
        """Expected counts of a minibatch: alleles [haplotype, variant], group codes in `categories[:, 0]`.

        Works in chunks of `chunk` rows and, inside one, group by group, running only those present:
        rows that are sorted by group cost least. Rows whose copies are all absent (-2) weigh nothing.

        Returns:
            `transitions` [group, block, state, state] and `alleles` [variant, 2, state], expected
            counts; `log_likelihood`, summed by weight.
        """
        alleles = jnp.asarray(minibatch.values)
        weight = jnp.asarray(minibatch.weight, jnp.float32) * (alleles != -2).any(1)
        group = jnp.asarray(minibatch.condition.categories)[:, 0]
        transitions, emission = self.transitions[...], blocked(self.emission[...], self.block_size, 0.5)
        chunk = min(self.chunk, alleles.shape[0])
        n_chunks = -(-alleles.shape[0] // chunk)

        def run(index: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
            start = jnp.minimum(index * chunk, alleles.shape[0] - chunk)
            fresh = start + jnp.arange(chunk) >= index * chunk  # the last chunk may overlap the one before
            part = blocked_alleles(lax.dynamic_slice_in_dim(alleles, start, chunk), self.block_size)
            part_weight = lax.dynamic_slice_in_dim(weight, start, chunk) * fresh
            part_group = lax.dynamic_slice_in_dim(group, start, chunk)
            present = jnp.zeros(self.n_groups, bool).at[part_group].max(part_weight > 0)
            order = jnp.argsort(~present)

            def one(position: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
                pairs, counts, likelihood = totals
                code = order[position]
                mine = part_weight * (part_group == code)
                found = expected_statistics(transitions[code], emission, part, mine, pairs[code], self.window)
                return (
                    pairs.at[code].set(found.pairs),
                    counts + found.alleles,
                    likelihood + (mine * found.log_likelihood).sum(),
                )

            return lax.fori_loop(0, present.sum(), one, totals)

        n_blocks, n_sites, n_states = emission.shape
        zeros = (
            jnp.zeros_like(transitions),
            jnp.zeros((n_blocks, 2, n_sites, n_states), jnp.float32),
            jnp.zeros((), jnp.float32),
        )
        pairs, counts, likelihood = lax.fori_loop(0, n_chunks, run, zeros)
        counts = counts.transpose(0, 2, 1, 3).reshape(-1, 2, n_states)[: self.n_variants]
        return {"transitions": pairs * transitions, "alleles": counts, "log_likelihood": likelihood}

    def transition_pseudocounts(
        self, counts: Float[Array, "group block state state"]
    ) -> Float[Array, "group block state state"]:
        """lambda R + c P, what the M step adds to expected transition counts."""
        shrinkage, pseudocount, _ = self.hyperparameters
        prior = pseudocount * transition_prior(self.switch[...], self.n_states)
        pooled = _rows(counts.sum(0) + prior)
        visits = counts.sum(2)
        share = _rows(visits.sum(0) + pseudocount / self.n_states)
        own = _rows(visits + share)
        tilted = _rows(pooled * (own / share)[:, :, None, :])
        return shrinkage * tilted + prior

    def maximise(self, statistics: dict[str, Array]) -> None:
        """MAP re-estimate of transitions and emission from summed statistics, in place."""
        alpha = self.hyperparameters.emission_pseudocount
        counted = statistics["transitions"]
        self.transitions[...] = _rows(counted + self.transition_pseudocounts(counted))
        counts = statistics["alleles"]
        numerator = counts[:, 1] + 2 * alpha * self.frequency[...][:, None]
        self.emission[...] = numerator / (counts.sum(1) + 2 * alpha)

"""AncHMM: an ancestry-conditioned hidden Markov model of K learned ancestral haplotypes, fitted by MAP-EM.

In the line of fastPHASE (Scheet and Stephens 2006, AJHG 78:629) and of hidden-tree circuits for genotypes
(Dang et al. 2023), with two changes: every pair of neighbouring variants has a full K x K transition matrix
per ancestry instead of a jump rate, and matrices are shrunk to the matrix pooled over ancestries and to the
identity. The M step is

    T[a,m] ~ Xi[a,m] + lambda * Tbar[m] + c * P[m],   P[m] = (1 - rho[m]) I + rho[m] 11' / K
    theta[m,k] = (N1[m,k] + 2 alpha phat[m]) / (N0[m,k] + N1[m,k] + 2 alpha)

with Xi, N0, N1 the expected counts, Tbar the pooled transitions (rows of sum_a Xi[a] + c P, normalised) and
phat the allele frequency in training. For Tbar as used in a pass, that pass cannot lower the log posterior;
Tbar itself is estimated anew in each pass (empirical Bayes).

The number of numbers is A * M * K * K: with float32 and K = 32, 4 KiB an ancestry and variant.
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
from genesim.models.haplotypes.forward_backward import expected_statistics
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


def required_bytes(n_ancestries: int, n_variants: int, config: HaplotypeConfig) -> int:
    """Memory that fitting takes, in bytes: a few copies of the transitions and one window's messages."""
    transitions = 4 * n_ancestries * n_variants * config.n_states**2
    messages = 4 * min(config.window_size, n_variants) * config.minibatch_size * config.n_states
    return COPIES_WHILE_FITTING * transitions + 2 * messages


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


def transition_prior(switch: Float[Array, " variant"], n_states: int) -> Float[Array, "variant state state"]:
    """P[m] = (1 - rho) I + rho 11'/K."""
    return (1 - switch)[:, None, None] * jnp.eye(n_states) + (switch / n_states)[:, None, None]


def _rows(weights: Array) -> Array:
    return weights / weights.sum(-1, keepdims=True)


class AncHmm(HiddenChain, EmModel):
    """The learned chain. Build it with `AncHmm.initialise`, fit it with EM steps (`expect`, `maximise`).

    Args:
        switch: Prior switch probability into each variant.
        frequency: Training frequency of the alternative allele, inside (0, 1).
        hyperparameters: Weights of the priors.
    """

    STORED = ("transitions", "emission", "switch", "frequency")

    def __init__(
        self,
        transitions: Float[Array | np.ndarray, "ancestry variant state state"],
        emission: Float[Array | np.ndarray, "variant state"],
        switch: Float[Array | np.ndarray, " variant"],
        frequency: Float[Array | np.ndarray, " variant"],
        hyperparameters: Hyperparameters,
        *,
        window: int = 10_000,
        chunk: int = 256,
    ) -> None:
        super().__init__(transitions, emission, window=window, chunk=chunk)
        self.switch = Prior(jnp.asarray(switch, jnp.float32))
        self.frequency = Prior(jnp.asarray(frequency, jnp.float32))
        self.hyperparameters = hyperparameters

    @classmethod
    def initialise(
        cls,
        key: jax.Array,
        alleles: Int8[np.ndarray, "haplotype variant"],
        ancestry: Int[np.ndarray, " haplotype"],
        n_ancestries: int,
        config: HaplotypeConfig,
        centimorgans: Float[np.ndarray, " variant"] | None = None,
    ) -> AncHmm:
        """Sticky transitions, and states that lean on random training haplotypes.

        Raises:
            InputError, ConditionError, TrainingError: See `check_trainable`.
        """
        alleles, _ = check_trainable(alleles, ancestry, n_ancestries)
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
        switch = prior_switch(n_variants, config.switch_rate, centimorgans)
        sticky = transition_prior(jnp.asarray(switch, jnp.float32), n_states)
        arrays = {
            "transitions": jnp.broadcast_to(sticky, (n_ancestries, *sticky.shape)),
            "emission": emission,
            "switch": switch,
            "frequency": frequency,
        }
        return cls.restore(arrays, config, n_ancestries)

    @classmethod
    def restore(cls, arrays: dict[str, Any], config: HaplotypeConfig, n_ancestries: int) -> AncHmm:
        """The model of these arrays; undoes `arrays`."""
        return cls(
            arrays["transitions"],
            arrays["emission"],
            arrays["switch"],
            arrays["frequency"],
            Hyperparameters(config.ancestry_shrinkage, config.transition_pseudocount, config.emission_pseudocount),
            window=config.window_size,
            chunk=config.minibatch_size,
        )

    def expect(self, minibatch: Minibatch) -> dict[str, Array]:
        """Expected counts of a minibatch: alleles [haplotype, variant], ancestry codes in `categories[:, 0]`.

        Works in chunks of `chunk` rows and, inside one, ancestry by ancestry, running only those present:
        rows that are sorted by ancestry cost least. Rows whose copies are all absent (-2) weigh nothing.

        Returns:
            `transitions` [ancestry, variant, state, state] and `alleles` [variant, 2, state], expected
            counts; `log_likelihood`, summed by weight.
        """
        alleles = jnp.asarray(minibatch.values)
        weight = jnp.asarray(minibatch.weight, jnp.float32) * (alleles != -2).any(1)
        ancestry = jnp.asarray(minibatch.condition.categories)[:, 0]
        transitions, emission = self.transitions[...], self.emission[...]
        chunk = min(self.chunk, alleles.shape[0])
        n_chunks = -(-alleles.shape[0] // chunk)

        def run(index: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
            start = jnp.minimum(index * chunk, alleles.shape[0] - chunk)
            fresh = start + jnp.arange(chunk) >= index * chunk  # the last chunk may overlap the one before
            part = lax.dynamic_slice_in_dim(alleles, start, chunk).T
            part_weight = lax.dynamic_slice_in_dim(weight, start, chunk) * fresh
            part_ancestry = lax.dynamic_slice_in_dim(ancestry, start, chunk)
            present = jnp.zeros(self.n_ancestries, bool).at[part_ancestry].max(part_weight > 0)
            order = jnp.argsort(~present)

            def one(position: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
                pairs, counts, likelihood = totals
                code = order[position]
                mine = part_weight * (part_ancestry == code)
                found = expected_statistics(transitions[code], emission, part, mine, pairs[code], self.window)
                return (
                    pairs.at[code].set(found.pairs),
                    counts + found.alleles,
                    likelihood + (mine * found.log_likelihood).sum(),
                )

            return lax.fori_loop(0, present.sum(), one, totals)

        zeros = (
            jnp.zeros_like(transitions),
            jnp.zeros((self.n_variants, 2, self.n_states), jnp.float32),
            jnp.zeros((), jnp.float32),
        )
        pairs, counts, likelihood = lax.fori_loop(0, n_chunks, run, zeros)
        return {"transitions": pairs * transitions, "alleles": counts, "log_likelihood": likelihood}

    def maximise(self, statistics: dict[str, Array]) -> None:
        """MAP re-estimate of transitions and emission from summed statistics, in place."""
        shrinkage, pseudocount, alpha = self.hyperparameters
        prior = pseudocount * transition_prior(self.switch[...], self.n_states)
        pooled = _rows(statistics["transitions"].sum(0) + prior)
        self.transitions[...] = _rows(statistics["transitions"] + shrinkage * pooled + prior)
        counts = statistics["alleles"]
        numerator = counts[:, 1] + 2 * alpha * self.frequency[...][:, None]
        self.emission[...] = numerator / (counts.sum(1) + 2 * alpha)

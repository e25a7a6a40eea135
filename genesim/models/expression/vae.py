"""Negative-binomial variational autoencoder of counts with gene offsets a covariate level.

After scVI (Lopez 2018, Nature Methods), with two differences: every covariate level has its own
ridge-penalised offset of each gene's log rate, so that fold changes between levels do not have to pass the
latent bottleneck (which attenuates them); and the encoder sees no covariate, so that cells of unknown type
embed too.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from genesim.config.model import ExpressionConfig
from genesim.models.base import GenerativeModel
from genesim.models.expression.draws import draw_counts
from genesim.models.expression.negative_binomial import LOG_THETA_MAX, LOG_THETA_MIN, log_prob, stored_log_prob
from genesim.nn.embedding import LevelSum
from genesim.nn.mlp import Constant, Mlp
from genesim.nn.random import fold, row_keys, row_normal
from genesim.types import Condition, Minibatch

SCALE = 1e4
"""Counts are scaled to this library size before log1p (CP10k)."""
_LOG_SD_BOUND = 6.0


@dataclass(frozen=True)
class GeneStatistics:
    """What the VAE takes from the training counts before it is trained.

    Attributes:
        mean: Mean of log1p CP10k, a gene.
        sd: Standard deviation of log1p CP10k, a gene (at least 1e-3).
        log_frequency: Log of each gene's share of all counts, a quarter count added.
        log_theta: First guess of log inverse dispersion, a gene.
        n_cells: Training cells.
    """

    mean: Float[np.ndarray, " gene"]
    sd: Float[np.ndarray, " gene"]
    log_frequency: Float[np.ndarray, " gene"]
    log_theta: Float[np.ndarray, " gene"]
    n_cells: int

    @classmethod
    def zeros(cls, n_genes: int) -> GeneStatistics:
        """Placeholders of the right shape, to be overwritten by stored values."""
        zero = np.zeros(n_genes, np.float32)
        return cls(zero, zero + 1, zero, zero, 1)


class NbVae(GenerativeModel):
    """counts ~ NB(library size * softmax(decoder(z) + offsets(levels) + slopes(continuous) + bias), theta).

    Args:
        statistics: Standardisation and first guesses from the training counts.
        n_levels: Levels of each categorical covariate.
        level_shares: Share of each level among the training cells, one array a covariate: an unknown level
            (-1) gets the offsets' weighted mean.
        n_continuous: Continuous covariates.
        config: Sizes and penalties; a loading penalty of none means no penalty here.
    """

    def __init__(
        self,
        statistics: GeneStatistics,
        n_levels: tuple[int, ...],
        level_shares: list[np.ndarray],
        n_continuous: int,
        config: ExpressionConfig,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        n_genes, hidden = len(statistics.mean), config.n_hidden
        self.config = config
        self.n_genes, self.n_latent, self.n_levels = n_genes, config.n_latent, tuple(n_levels)
        self.deterministic = True
        self.mean = Constant(jnp.asarray(statistics.mean, jnp.float32))
        self.sd = Constant(jnp.asarray(statistics.sd, jnp.float32))
        self.n_cells = Constant(jnp.float32(statistics.n_cells))
        shares = np.concatenate([np.zeros(0), *level_shares])
        self.level_shares = Constant(jnp.asarray(shares, jnp.float32))
        self.encoder = Mlp(n_genes, hidden, config.n_layers, config.dropout, rngs=rngs)
        self.to_latent = nnx.Linear(hidden, 2 * config.n_latent, rngs=rngs)
        self.decoder = Mlp(config.n_latent, hidden, config.n_layers, config.dropout, rngs=rngs)
        small = nnx.initializers.variance_scaling(0.1, "fan_in", "normal")
        self.to_genes = nnx.Linear(hidden, n_genes, use_bias=False, kernel_init=small, rngs=rngs)
        self.bias = nnx.Param(jnp.asarray(statistics.log_frequency, jnp.float32))
        self.log_theta = nnx.Param(jnp.asarray(statistics.log_theta, jnp.float32))
        self.offsets = LevelSum(tuple(n_levels), n_genes, scale=0.0, rngs=rngs)
        self.theta_offsets = LevelSum(tuple(n_levels), n_genes, scale=0.0, rngs=rngs)
        self.slopes = nnx.Param(jnp.zeros((n_continuous, n_genes)))

    def normalise(self, counts: Float[Array, "cell gene"]) -> Float[Array, "cell gene"]:
        """log1p CP10k, standardised by the training genes' mean and SD, within +-10 SD."""
        total = jnp.maximum(counts.sum(axis=-1, keepdims=True), 1.0)
        return jnp.clip((jnp.log1p(counts * (SCALE / total)) - self.mean[...]) / self.sd[...], -10.0, 10.0)

    def encode(
        self, counts: Float[Array, "cell gene"], keys: jax.Array | None = None
    ) -> tuple[Float[Array, "cell latent"], Float[Array, "cell latent"]]:
        """Mean and log SD of the latent posterior; row `keys` switch dropout on."""
        hidden = self.encoder(self.normalise(counts), keys)
        mean, log_sd = jnp.split(self.to_latent(hidden), 2, axis=-1)
        return mean, jnp.clip(log_sd, -_LOG_SD_BOUND, _LOG_SD_BOUND)

    def log_rates(
        self, z: Float[Array, "cell latent"], condition: Condition, keys: jax.Array | None = None
    ) -> Float[Array, "cell gene"]:
        """Log of each gene's expected share of the cell's counts; exp of it sums to 1 a cell."""
        logits = self.to_genes(self.decoder(z, keys)) + self.bias[...]
        logits = logits + self.offsets(jnp.asarray(condition.categories)) + self._unknown_offset(condition)
        if self.slopes.shape[0]:
            logits = logits + jnp.asarray(condition.continuous) @ self.slopes[...]
        return jax.nn.log_softmax(logits, axis=-1)

    def _unknown_offset(self, condition: Condition) -> Float[Array, "cell gene"] | float:
        """Weighted mean of a covariate's offsets, in the rows where its level is unknown."""
        total: Float[Array, "cell gene"] | float = 0.0
        first = 0
        for column, n_levels in enumerate(self.n_levels):
            block = slice(first, first + n_levels)
            level = jnp.asarray(condition.categories)[:, column]
            unknown = (level < 0) | (level >= n_levels)
            total = total + unknown[:, None] * (self.level_shares[...][block] @ self.offsets.table[...][block])
            first += n_levels
        return total

    def log_dispersion(self, condition: Condition) -> Float[Array, "cell gene"]:
        """Log inverse dispersion (log theta) of each cell's genes, within the bounds that float32 bears.

        An unknown level gets the gene's own theta.
        """
        found = self.log_theta[...] + self.theta_offsets(jnp.asarray(condition.categories))
        return jnp.clip(found, LOG_THETA_MIN, LOG_THETA_MAX)

    def penalty(self) -> Float[Array, ""]:
        """Ridge penalties in nats: a normal prior of precision 2 * `offset_penalty` on offsets and slopes, and
        of 2 * `loading_penalty` on the decoder's last layer."""
        squares = jnp.sum(self.offsets.table[...] ** 2) + jnp.sum(self.slopes[...] ** 2)
        squares = squares + jnp.sum(self.theta_offsets.table[...] ** 2)
        loadings = jnp.sum(self.to_genes.kernel[...] ** 2)
        return self.config.offset_penalty * squares + (self.config.loading_penalty or 0.0) * loadings

    def bound(self, minibatch: Minibatch, keys: jax.Array) -> tuple[Float[Array, " cell"], Float[Array, " cell"]]:
        """Log-likelihood at one posterior draw, and KL divergence from N(0, I), in nats a cell."""
        training = not self.deterministic
        counts = jnp.asarray(minibatch.values, jnp.float32)
        mean, log_sd = self.encode(counts, fold(keys, 1) if training else None)
        z = mean + jnp.exp(log_sd) * row_normal(fold(keys, 0), self.n_latent)
        log_rates = self.log_rates(z, minibatch.condition, fold(keys, 2) if training else None)
        log_mean = jnp.asarray(minibatch.condition.log_library)[:, None] + log_rates
        log_theta = self.log_dispersion(minibatch.condition)
        if minibatch.stored is None:
            likelihood = log_prob(counts, log_mean, log_theta).sum(axis=-1)
        else:
            likelihood = stored_log_prob(minibatch.stored, counts, log_mean, log_theta)
        kl = 0.5 * (mean**2 + jnp.exp(2 * log_sd) - 1.0 - 2 * log_sd).sum(axis=-1)
        return likelihood, kl

    def loss(self, minibatch: Minibatch, key: jax.Array, step: Array) -> tuple[Float[Array, " cell"], dict[str, Array]]:
        """Negative evidence lower bound a cell; beta rises over the first quarter of the plan's steps."""
        likelihood, kl = self.bound(minibatch, row_keys(key, minibatch.weight.shape[0]))
        warm = jnp.clip((step + 1) / (0.25 * self.config.vae.n_steps), 0.0, 1.0)
        loss = -likelihood + self.config.kl_weight * warm * kl + self.penalty() / self.n_cells[...]
        return loss, {"reconstruction": -likelihood, "kl": kl}

    def sample(self, key: jax.Array, condition: Condition) -> Float[Array, "cell gene"]:
        """Counts from the prior z ~ N(0, I), a check of the decoder; the product draws z from the flow."""
        z = row_normal(row_keys(jax.random.fold_in(key, 0), condition.n_examples), self.n_latent)
        mean = np.exp(np.asarray(condition.log_library))[:, None] * jnp.exp(self.log_rates(z, condition))
        theta = np.exp(self.log_dispersion(condition))
        return jnp.asarray(draw_counts(jax.random.fold_in(key, 1), mean, theta).toarray(), jnp.float32)

"""Counts, library sizes and the latent flow, against the law that they were drawn from."""

from __future__ import annotations

import numpy as np
from check import DRAWN, KNOWN, Outcome, axes, check, diagonal
from scipy import stats

from genesim import rng
from genesim.types import Condition

SEED = 20


def _counts(mean_factor: float, theta_factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """NB counts of 3000 cells and 300 genes; library sizes, frequencies and thetas."""
    random = rng.generator(SEED, "verification", "counts")
    frequency = random.dirichlet(np.full(300, 0.7)) + 2e-4
    frequency /= frequency.sum()
    theta = np.exp(random.normal(0.5, 0.8, 300))
    library = np.exp(random.normal(8.0, 0.4, 3000))
    mean = library[:, None] * frequency
    mean[:, ::2] *= mean_factor
    true_theta = theta * theta_factor
    counts = random.negative_binomial(true_theta, true_theta / (true_theta + mean))
    return counts.astype(float), library, frequency, theta


def _fitted(counts: np.ndarray, library: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from genesim.models.expression.independent_nb import IndependentNb

    n = len(counts)
    condition = Condition(np.zeros((n, 0), int), np.zeros((n, 0)), np.log(library))
    model = IndependentNb.fit(counts, condition, 0, None, seed=SEED)
    return model.frequency[-1], model.theta[-1]


@check("the NB fit returns the mean of every gene, to its sampling error", "P(mean z^2) under chi^2", 1.05)
def nb_mean(factor: float) -> Outcome:
    counts, library, frequency, theta = _counts(factor, 1.0)
    found, _ = _fitted(counts, library)
    mean = library[:, None] * frequency
    # A ratio of sums: its variance is that of the summed counts.
    se = np.sqrt((mean + mean**2 / theta).sum(axis=0)) / library.sum()
    z = (found - frequency) / se
    p = float(stats.chi2.sf((z**2).sum(), len(z)))
    figure, ax = axes("NB means: 300 genes, 3000 cells", "standard normal quantile", "z of the fitted mean")
    normal = stats.norm.ppf((np.arange(len(z)) + 0.5) / len(z))
    diagonal(ax, -3.5, 3.5)
    ax.plot(normal, np.sort(z), ".", ms=4, color=DRAWN, label="genes")
    ax.legend(frameon=False)
    # Only an excess of z^2 is wrong.
    return Outcome(p, 1e-4, 1.0, figure)


@check("the NB fit returns the dispersion of every gene", "median fitted / true theta", 1.25)
def nb_dispersion(factor: float) -> Outcome:
    counts, library, _, theta = _counts(1.0, factor)
    _, found = _fitted(counts, library)
    told = counts.mean(axis=0) > 0.5  # counts that are nearly all 0 or 1 do not tell theta
    ratio = float(np.median(found[told] / theta[told]))
    figure, ax = axes("NB dispersions: genes with mean > 0.5", "true theta", "fitted theta")
    span = theta[told].min(), theta[told].max()
    diagonal(ax, *span)
    ax.loglog(theta[told], found[told], ".", ms=4, color=DRAWN)
    return Outcome(ratio, 0.97, 1.03, figure)


@check("library sizes are drawn from the law of the training cells", "Kolmogorov distance to the law", 1.03)
def library_law(factor: float) -> Outcome:
    import jax

    from genesim.models.expression.library import LibrarySampler

    random = rng.generator(SEED, "verification", "library")
    n = 8000
    second = random.random(n) < 0.3
    values = np.where(second, random.normal(9.4, 0.3, n), random.normal(8.0, 0.4, n)) * factor
    none = np.zeros(n, int)
    sampler = LibrarySampler.fit(values, none, none, 1, 1)
    drawn = sampler.sample(jax.random.key(SEED), none, none)

    def law(x: np.ndarray) -> np.ndarray:
        return 0.3 * stats.norm.cdf(x, 9.4, 0.3) + 0.7 * stats.norm.cdf(x, 8.0, 0.4)

    found = stats.kstest(drawn, law)
    figure, ax = axes("Library sizes: two modes", "ln library size", "cumulative share")
    grid = np.linspace(6.5, 10.5, 300)
    ax.plot(grid, law(grid), color=KNOWN, lw=3, alpha=0.5, label="law")
    ax.plot(np.sort(drawn), (np.arange(n) + 0.5) / n, color=DRAWN, lw=1, label="drawn")
    ax.legend(frameon=False)
    # Twice sampled, and smoothed: 1.95 / sqrt(n) (alpha 0.001) for the sample that was learned from and for the draws.
    return Outcome(float(found.statistic), 0.0, 2 * 1.95 / np.sqrt(n), figure)


@check("the latent flow has the density of a known mixture, in each of two labels", "total variation, worse label", 0.6)
def flow_density(factor: float) -> Outcome:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from genesim.config.model import ExpressionConfig, TrainPlan
    from genesim.data.stream import ArrayStream
    from genesim.models.expression.flow import LatentFlow
    from genesim.train.loop import fit

    plan = TrainPlan(
        n_steps=2500, minibatch_size=512, learning_rate=2e-3, ema_decay=0.995, weight_decay=0.0, steps_per_call=100
    )
    config = ExpressionConfig(
        n_latent=1, n_hidden=48, n_flow_layers=2, n_flow_steps=40, condition_dropout=0.0, flow=plan
    )
    random = rng.generator(SEED, "verification", "flow")
    n = 20_000
    level = random.integers(0, 2, n)
    right = random.random(n) < 0.35
    # Label 0: two modes, whose distance is the parameter. Label 1: one wide mode.
    z = np.where(level == 1, random.normal(0, 1.2, n), random.normal(np.where(right, 1.5, -1.5) * factor, 0.5))
    values = np.column_stack([z, np.full(n, 1e-3)]).astype("f")
    condition = Condition(level[:, None], np.zeros((n, 0)), np.zeros(n))
    flow = LatentFlow(z.mean(keepdims=True), z.std(keepdims=True), (0.0, 1.0), (2,), 0, config, rngs=nnx.Rngs(SEED))
    flow = fit(flow, ArrayStream(values, condition, 512, SEED), plan, rng.key(SEED, "flow")).model
    flow.eval()
    # The flow carries noise to latents by an increasing map, so its density is noise's times the map's inverse slope.
    noise = jnp.linspace(-5, 5, 2001)[:, None]
    laws = (
        lambda x: 0.65 * stats.norm.pdf(x, -1.5, 0.5) + 0.35 * stats.norm.pdf(x, 1.5, 0.5),
        lambda x: stats.norm.pdf(x, 0, 1.2),
    )
    figure, ax = axes("Latent flow: exact density of two labels", "latent", "density")
    distances = []
    for label, law in enumerate(laws):
        where = Condition(np.full((len(noise), 1), label), np.zeros((len(noise), 0)), np.zeros(len(noise)))
        carried = jax.jit(lambda e, where=where: flow.integrate(e, where))(noise)[:, 0]
        x = np.asarray(carried) * float(flow.sd[...][0]) + float(flow.mean[...][0])
        mass = np.diff(stats.norm.cdf(np.asarray(noise)[:, 0]))
        middle, width = (x[1:] + x[:-1]) / 2, np.diff(x)
        density = mass / np.maximum(width, 1e-9)
        grid = np.linspace(-5, 5, 1001)
        found = np.interp(grid, middle, density, left=0.0, right=0.0)
        distances.append(0.5 * float(np.trapezoid(np.abs(found - law(grid)), grid)))
        if (width <= 0).any():
            distances.append(1.0)  # a map that folds has no such density
        ax.plot(grid, law(grid), color=KNOWN, lw=3, alpha=0.5, label="law" if label == 0 else None)
        ax.plot(grid, found, color=DRAWN, lw=1, label="flow" if label == 0 else None)
    ax.legend(frameon=False)
    return Outcome(max(distances), 0.0, 0.08, figure)

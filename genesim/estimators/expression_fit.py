"""Training of the expression model: held-out cells, the VAE, then the flow on its latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from scipy import sparse

from genesim import rng
from genesim.config.model import ExpressionConfig
from genesim.console import log
from genesim.data.backed import BackedCounts, Counts, blocks_of
from genesim.data.backed_stream import BackedStream
from genesim.data.stream import ArrayStream
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.generator import ExpressionGenerator, take
from genesim.models.expression.margins import GeneMargins
from genesim.models.expression.negative_binomial import LOG_THETA_MAX, LOG_THETA_MIN, fit_theta
from genesim.models.expression.posterior import encode, rates_at
from genesim.models.expression.vae import SCALE, GeneStatistics, NbVae
from genesim.train.loop import FitResult, fit
from genesim.types import Condition

_MIN_VALIDATION = 20
"""Fewer held-out cells than this say nothing about when to stop."""
_N_CALIBRATION = 4096
_MAX_CALIBRATION = 8192
_GENE_PSEUDOCOUNT = 10.0
_LEVEL_PSEUDOCOUNT = 1.0
_MAPPED_PSEUDOCOUNT = 1.0
_MARGIN_CELLS = 10.0
"""Weight, in cells, of the draws' own distribution in the one that a label's counts are mapped to."""
_MIN_LABEL_DRAWS = 300
_MAX_ELEMENTS = 2**23
"""Largest cells x genes that dispersions are refitted on."""


def gene_statistics(counts: Counts) -> GeneStatistics:
    """Standardisation and first guesses of the VAE, in one pass over blocks of cells, without densifying.

    Theta is the moment estimate under mean = library size x pooled frequency.
    """
    n_cells, n_genes = counts.shape
    total, squares, weighted, logs, log_squares = np.zeros((5, n_genes))
    library = np.zeros(n_cells)
    for first, block in blocks_of(counts):
        size = np.asarray(block.sum(axis=1), np.float64).ravel()
        library[first : first + len(size)] = size
        value, of_cell = block.data.astype(np.float64), np.repeat(size, np.diff(block.indptr))
        scaled = np.log1p(value * (SCALE / np.maximum(of_cell, 1.0)))
        # Entry by entry in the order of the cells, so that sums do not depend on the blocks.
        np.add.at(total, block.indices, value)
        np.add.at(squares, block.indices, value**2)
        np.add.at(weighted, block.indices, value * of_cell)
        np.add.at(logs, block.indices, scaled)
        np.add.at(log_squares, block.indices, scaled**2)
    total += 0.25
    frequency = total / total.sum()
    power = float((library**2).sum())
    residual = squares - 2 * frequency * weighted + frequency**2 * power
    excess = np.maximum(residual - frequency * library.sum(), 1e-8)
    log_theta = np.clip(np.log(frequency**2 * power / excess), -2.0, 3.0)
    mean = logs / n_cells
    variance = log_squares / n_cells - mean**2
    # A gene seen in one cell of many has a tiny SD: the floor keeps that cell from ruling the encoder.
    sd = np.maximum(np.sqrt(np.maximum(variance, 0.0)), 0.05)
    return GeneStatistics(mean, sd, np.log(frequency), np.clip(log_theta, LOG_THETA_MIN, LOG_THETA_MAX), n_cells)


@contextmanager
def _stream(
    counts: Counts, rows: np.ndarray, condition: Condition, size: int, seed: int, name: str
) -> Iterator[ArrayStream | BackedStream]:
    """Shuffled minibatches of some of the cells, from memory or from disk."""
    chosen = take(condition, rows)
    if isinstance(counts, BackedCounts):
        with closing(BackedStream(counts.select(rows), chosen, size, seed, name)) as stream:
            yield stream
    else:
        yield ArrayStream(counts[rows], chosen, size, seed, name)


def held_out(n_cells: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of training and validation cells; no validation cells where they would be too few."""
    n = round(share * n_cells)
    if n < _MIN_VALIDATION:
        return np.arange(n_cells), np.arange(0)
    order = rng.generator(seed, "expression", "validation").permutation(n_cells)
    return np.sort(order[n:]), np.sort(order[:n])


def fit_vae(
    counts: Counts,
    condition: Condition,
    n_levels: tuple[int, ...],
    shares: list[np.ndarray],
    config: ExpressionConfig,
    seed: int,
    checkpoint_dir: Path | None = None,
) -> FitResult[NbVae]:
    """The network alone, in evaluation mode, with its training losses; arguments as of `fit_generator`."""
    train, validation = held_out(counts.shape[0], config.validation_share, seed)
    vae = NbVae(
        gene_statistics(counts),
        n_levels,
        shares,
        condition.continuous.shape[1],
        config,
        rngs=nnx.Rngs(rng.key(seed, "expression", "vae", "init")),
    )
    with ExitStack() as opened:
        streams = [
            opened.enter_context(_stream(counts, rows, condition, config.vae.minibatch_size, seed, f"vae {name}"))
            for name, rows in (("train", train), ("validation", validation))
            if len(rows)
        ]
        key = rng.key(seed, "expression", "vae")
        held = streams[1] if len(streams) > 1 else None
        return fit(vae, streams[0], config.vae, key, validation=held, checkpoint_dir=checkpoint_dir)


def refit_dispersion(vae: NbVae, counts: Counts, condition: Condition, posterior: np.ndarray, seed: int) -> None:
    """Move each gene's log theta half of the way to its maximum likelihood at the trained rates.

    In training, dropout and posterior noise pass for noise of the cells, so the bound's theta is too small and
    drawn cells show too few genes; the refit on cells that the decoder has seen is too large. Held-out
    classifiers tell draws from their geometric mean least.
    """
    random = rng.generator(seed, "expression", "dispersion")
    n_cells = min(len(posterior), max(_MAX_ELEMENTS // counts.shape[1], 64))
    rows = np.sort(random.choice(len(posterior), n_cells, replace=False))
    chosen = take(condition, rows)
    mean, sd = np.split(posterior[rows], 2, axis=1)
    rates = rates_at(vae, mean + sd * random.standard_normal(mean.shape).astype(np.float32), chosen)
    library = np.exp(np.asarray(chosen.log_library, np.float64))
    found = fit_theta(counts[rows].toarray().astype(np.float64), rates * library[:, None])
    change = np.log(found) - np.asarray(vae.log_dispersion(chosen)).mean(axis=0)
    vae.log_theta[...] = vae.log_theta[...] + jnp.asarray(0.5 * change, jnp.float32)


def calibrate_means(generator: ExpressionGenerator, counts: Counts, condition: Condition, seed: int) -> None:
    """Scale each gene, over all cells and then in each level of each covariate, to its training total.

    The penalties weaken fold changes between levels where cells are few. One pass of iterative proportional
    fitting (Deming & Stephan 1940) of drawn to observed totals gives them back; pseudocounts keep rare genes in
    rare levels near the model's own mean.
    """
    vae, key = generator.vae, rng.key(seed, "expression", "means")
    rows = rng.generator(seed, "expression", "means").permutation(condition.n_examples)[:_MAX_CALIBRATION]
    # A small training set is drawn several times over, so that the draw's noise stays below the data's.
    n_copies = -(-_N_CALIBRATION // len(rows))
    part = take(condition, np.tile(rows, n_copies))
    library = np.exp(np.asarray(part.log_library, np.float64))[:, None]
    observed, categories = counts[rows].astype(np.float64), np.asarray(condition.categories)[rows]

    def log_ratio(group: np.ndarray, n_levels: int, pseudocount: float) -> np.ndarray:
        known = np.flatnonzero((group >= 0) & (group < n_levels))
        member = sparse.csr_matrix((np.ones(len(known)), (group[known], known)), shape=(n_levels, len(group)))
        mean = generator.rates(key, part) * library
        expected = member @ mean.reshape(n_copies, len(rows), -1).mean(axis=0)
        return np.log(((member @ observed).toarray() + pseudocount) / (expected + pseudocount))

    change = log_ratio(np.zeros(len(rows), np.int64), 1, _GENE_PSEUDOCOUNT)[0]
    vae.bias[...] = vae.bias[...] + jnp.asarray(change, jnp.float32)
    first = 0
    for column, n_levels in enumerate(vae.n_levels):
        change = log_ratio(categories[:, column], n_levels, _LEVEL_PSEUDOCOUNT)
        table = vae.offsets.table[...]
        vae.offsets.table[...] = table.at[first : first + n_levels].add(jnp.asarray(change, jnp.float32))
        first += n_levels


def with_margins(
    generator: ExpressionGenerator, counts: Counts, condition: Condition, seed: int
) -> ExpressionGenerator:
    """The generator with each gene's drawn counts mapped to its distribution in the training cells of the label.

    A label's target is shrunk to what the map of all labels makes of the label's draws, by a weight of some
    cells. In the levels of other covariates, offsets correct what the maps do to the means.
    """
    key = rng.key(seed, "expression", "margins")
    random = rng.generator(seed, "expression", "margins")
    rows = random.permutation(condition.n_examples)[:_MAX_CALIBRATION]
    observed = sparse.csr_matrix(counts[rows])
    n_copies = -(-_N_CALIBRATION // len(rows))
    label = generator.margin_label(take(condition, rows))
    n_labels = 0 if generator.label_column is None else generator.vae.n_levels[generator.label_column]
    drawn_row = np.tile(np.arange(len(rows)), n_copies)
    # Labels with few cells are drawn more often, so that the draws' noise stays below the cells'.
    missing = np.maximum(_MIN_LABEL_DRAWS - n_copies * np.bincount(label, minlength=n_labels), 0)
    few = [random.choice(np.flatnonzero(label == a), missing[a]) for a in np.unique(label)] if n_labels else []
    chosen = np.concatenate([drawn_row, *few])
    part, of_mix = take(condition, rows[chosen]), np.arange(len(chosen)) < len(drawn_row)

    def mapped(key: jax.Array) -> tuple[ExpressionGenerator, Float[np.ndarray, "cell gene"]]:
        rates = generator.rates(key, part)
        drawn = generator.counts(key, rates, part)
        everything = GeneMargins.fit([drawn[of_mix]], [observed], [drawn[of_mix]], _MARGIN_CELLS)
        pooled = replace(generator, margins=everything, label_column=None)
        prior = pooled.counts(rng.child(key, "pooled"), rates, part)
        group = [(label[chosen] == a, label == a) for a in range(n_labels)] + [(of_mix, label >= 0)]
        found = GeneMargins.fit(
            [drawn[a] for a, _ in group],
            [observed[b] for _, b in group],
            [prior[a] for a, _ in group],
            _MARGIN_CELLS,
        )
        return replace(generator, margins=found), rates

    found, rates = mapped(rng.child(key, "first"))
    if len(generator.vae.n_levels) == (generator.label_column is not None):
        return found
    drawn = found.counts(rng.child(key, "check"), rates, part)[of_mix]
    categories, start = np.asarray(condition.categories)[rows], 0
    for column, n_levels in enumerate(generator.vae.n_levels):
        if column != generator.label_column:
            expected = level_totals(np.tile(categories[:, column], n_copies), n_levels, drawn) / n_copies
            seen = level_totals(categories[:, column], n_levels, observed)
            change = np.log((seen + _MAPPED_PSEUDOCOUNT) / (expected + _MAPPED_PSEUDOCOUNT))
            table = generator.vae.offsets.table[...]
            generator.vae.offsets.table[...] = table.at[start : start + n_levels].add(jnp.asarray(change, jnp.float32))
        start += n_levels
    return mapped(rng.child(key, "second"))[0]


def level_totals(
    group: Int[np.ndarray, " cell"], n_levels: int, counts: sparse.csr_matrix
) -> Float[np.ndarray, "level gene"]:
    """Total counts of each gene in the cells of each level; cells of unknown level count nowhere."""
    known = np.flatnonzero((group >= 0) & (group < n_levels))
    member = sparse.csr_matrix((np.ones(len(known)), (group[known], known)), shape=(n_levels, len(group)))
    return (member @ counts).toarray()


def _fit_flow(
    posterior: np.ndarray,
    condition: Condition,
    n_levels: tuple[int, ...],
    config: ExpressionConfig,
    seed: int,
    checkpoint_dir: Path | None,
) -> FitResult[LatentFlow]:
    mean, sd = np.split(posterior.astype(np.float64), 2, axis=1)
    log_library = np.asarray(condition.log_library, np.float64)
    flow = LatentFlow(
        mean.mean(axis=0),
        np.maximum(np.sqrt(mean.var(axis=0) + (sd**2).mean(axis=0)), 1e-4),
        (float(log_library.mean()), max(float(log_library.std()), 1e-3)),
        n_levels,
        condition.continuous.shape[1],
        config,
        rngs=nnx.Rngs(rng.key(seed, "expression", "flow", "init")),
    )
    stream = ArrayStream(posterior, condition, config.flow.minibatch_size, seed, "flow")
    return fit(flow, stream, config.flow, rng.key(seed, "expression", "flow"), checkpoint_dir=checkpoint_dir)


def fit_generator(
    counts: Counts,
    condition: Condition,
    n_levels: tuple[int, ...],
    shares: list[np.ndarray],
    config: ExpressionConfig,
    seed: int,
    checkpoint_dir: Path | None = None,
    label_column: int | None = None,
) -> tuple[ExpressionGenerator, dict[str, np.ndarray]]:
    """Train the VAE, encode every cell, refit dispersions, train the flow, correct scale and gene means.

    Args:
        counts: Training counts [cell, gene], in memory or on disk; cells without counts are not allowed.
        condition: One row a cell.
        n_levels: Levels of each categorical covariate.
        shares: Share of each level, one array a covariate.
        config: Sizes, penalties and training lengths.
        seed: The user's seed.
        checkpoint_dir: Holds `vae/` and `flow/` checkpoints.
        label_column: Categorical covariate in whose levels each gene's distribution is kept.

    Returns:
        The generator and its history: `vae_*` and `flow_*` arrays a step.
    """
    folders = [None, None] if checkpoint_dir is None else [checkpoint_dir / "vae", checkpoint_dir / "flow"]
    vae = fit_vae(counts, condition, n_levels, shares, config, seed, folders[0])
    log.info("expression VAE: step %d of %d kept", vae.best_step, vae.n_steps)
    posterior = encode(vae.model, counts)
    refit_dispersion(vae.model, counts, condition, posterior, seed)
    flow = _fit_flow(posterior, condition, n_levels, config, seed, folders[1])
    generator = ExpressionGenerator(vae.model, flow.model, None, label_column)
    rows = rng.generator(seed, "expression", "calibration").integers(0, condition.n_examples, _N_CALIBRATION)
    drawn = generator.latents(rng.key(seed, "expression", "calibration"), take(condition, rows))
    flow.model.calibrate(drawn)
    calibrate_means(generator, counts, condition, seed)
    generator = with_margins(generator, counts, condition, seed)
    history = {f"vae_{name}": values for name, values in vae.history.items()}
    history |= {f"flow_{name}": values for name, values in flow.history.items()}
    history["vae_best_step"] = np.array(vae.best_step)
    return generator, history

"""Fit every gene of one cell type: grouped by window size, padded, in compiled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import progress
from genesim.models.effects.baselines import marginal_correlation
from genesim.models.effects.credible import credible_sets
from genesim.models.effects.kinship import Families
from genesim.models.effects.permutation import gene_p_values, permutations
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.problem import EffectProblem, make_problem
from genesim.models.effects.susie import SusiePosterior, fit_susie

# Plausible variants of an effect: the fewest that hold this mass.
_MASS_KEPT = 0.99
_BYTES_PER_BATCH = 512 * 2**20


def padded_size(n: int) -> int:
    """The next of 64, 96, 128, 192, ...: few shapes to compile, at most a third of padding."""
    size = 64
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def batches(windows: Sequence[np.ndarray], n_donors: int, at_most: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Genes of each batch, its padded numbers of genes and variants; genes without variants have none."""
    sizes = np.array([padded_size(len(w)) if len(w) else 0 for w in windows])
    for size in np.unique(sizes[sizes > 0]):
        genes = np.flatnonzero(sizes == size)
        room = max(1, _BYTES_PER_BATCH // int(4 * n_donors * size))
        width = min(at_most, room, max(8, 1 << (len(genes) - 1).bit_length()))
        for first in range(0, len(genes), width):
            yield genes[first : first + width], width, int(size)


def build_batch(
    genes: np.ndarray,
    shape: tuple[int, int],
    response: np.ndarray,
    weight: np.ndarray,
    covariates: np.ndarray,
    windows: Sequence[np.ndarray],
    dosage_of: Callable[[np.ndarray], np.ndarray],
    families: Families | None = None,
    heritability: np.ndarray | None = None,
) -> EffectProblem:
    """The padded `EffectProblem` of some genes; see `fit_genes` for the arguments."""
    width, size = shape
    n_donors = response.shape[1]
    x = np.zeros((width, n_donors, size), np.float32)
    prior = np.zeros((width, size), np.float32)
    y, w = np.zeros((width, n_donors), np.float32), np.zeros((width, n_donors), np.float32)
    h = np.zeros(width, np.float32)
    union, inverse = np.unique(np.concatenate([windows[g] for g in genes]), return_inverse=True)
    dosage = dosage_of(union)
    offset = 0
    for i, gene in enumerate(genes):
        n = len(windows[gene])
        x[i, :, :n] = dosage[inverse[offset : offset + n]].T
        prior[i, :n] = 1.0 / n
        y[i], w[i] = response[gene], weight[gene]
        h[i] = 0 if heritability is None else heritability[gene]
        offset += n
    return make_problem(
        jnp.asarray(y),
        jnp.asarray(w),
        jnp.asarray(x),
        jnp.asarray(covariates, jnp.float32),
        jnp.asarray(prior),
        families,
        None if families is None else jnp.asarray(h),
    )


class _Collector:
    """Gathers rows of `EffectPosterior` gene by gene."""

    def __init__(self, n_genes: int) -> None:
        self.rows: dict[int, list[tuple[Any, ...]]] = {}
        self.sets: dict[int, list[tuple[int, float, float, float]]] = {}
        self.p_value = np.full(n_genes, np.nan)
        self.top_variant = np.full(n_genes, -1, np.int64)
        self.top_slope = np.zeros(n_genes)
        self.residual_sd = np.full(n_genes, np.nan)
        self.n_donors = np.zeros(n_genes, np.int64)
        self.n_variants = np.zeros(n_genes, np.int64)
        self.n_sets = np.zeros(n_genes, np.int64)

    def add(
        self,
        gene: int,
        window: np.ndarray,
        problem: EffectProblem,
        fit: SusiePosterior,
        r: np.ndarray,
        p_value: float,
        n_donors: int,
        config: EffectConfig,
    ) -> None:
        """Record one gene; `problem` and `fit` are its slices, as NumPy."""
        n = len(window)
        used = np.asarray(problem.prior[:n]) > 0
        if not used.any():
            return
        r = r[:n].astype(np.float64)
        top = int(np.argmax(np.where(used, np.abs(r), -1.0)))
        scale = np.asarray(problem.scale[:n])
        spread = np.sqrt((np.asarray(problem.response) ** 2).sum() / float(problem.dof))
        self.p_value[gene] = p_value
        self.top_variant[gene] = window[top]
        self.top_slope[gene] = r[top] * spread / scale[top]
        self.residual_sd[gene] = np.sqrt(float(fit.residual_variance))
        self.n_donors[gene], self.n_variants[gene] = n_donors, used.sum()
        alpha, mean, sd = (np.asarray(a)[:, :n] for a in (fit.alpha, fit.mean, fit.sd))
        variance = np.asarray(fit.prior_variance)
        found = credible_sets(alpha, variance, np.asarray(problem.genotype)[:, :n], config.coverage, config.min_purity)
        self.n_sets[gene] = len(found)
        self.sets[gene] = [
            (i, c.coverage, c.purity, float(fit.log_bayes_factor[c.effect])) for i, c in enumerate(found, 1)
        ]
        members = {c.effect: (i, c.variants) for i, c in enumerate(found, 1)}
        rows: list[tuple[Any, ...]] = []
        for effect in np.flatnonzero(variance > 0):
            order = np.argsort(-alpha[effect], kind="stable")
            mass = np.cumsum(alpha[effect][order])
            number, inside = members.get(int(effect), (0, np.zeros(0, np.int64)))
            kept = order[: min(int(np.searchsorted(mass, _MASS_KEPT)) + 1, n)]
            kept = np.union1d(kept, inside).astype(np.int64)
            a = alpha[effect][kept]
            rows.append(
                (
                    int(effect),
                    window[kept],
                    a / a.sum(),
                    mean[effect][kept] / scale[kept],
                    sd[effect][kept] / scale[kept],
                    np.where(np.isin(kept, inside), number, 0),
                )
            )
        self.rows[gene] = rows

    def posterior(self) -> EffectPosterior:
        flat = [(gene, *row) for gene in sorted(self.rows) for row in self.rows[gene]]
        sets = [(gene, *s) for gene in sorted(self.sets) for s in self.sets[gene]]

        def column(i: int, dtype: type) -> np.ndarray:
            return np.concatenate([row[i] for row in flat]).astype(dtype) if flat else np.zeros(0, dtype)

        lengths = [len(row[2]) for row in flat]
        return EffectPosterior(
            gene=np.repeat([row[0] for row in flat], lengths).astype(np.int32),
            effect=np.repeat([row[1] for row in flat], lengths).astype(np.int8),
            variant=column(2, np.int32),
            alpha=column(3, np.float32),
            mean=column(4, np.float32),
            sd=column(5, np.float32),
            credible_set=column(6, np.int32),
            p_value=self.p_value,
            top_variant=self.top_variant,
            top_slope=self.top_slope,
            residual_sd=self.residual_sd,
            n_donors=self.n_donors,
            n_variants=self.n_variants,
            n_sets=self.n_sets,
            set_gene=np.array([s[0] for s in sets], np.int64),
            set_number=np.array([s[1] for s in sets], np.int64),
            set_coverage=np.array([s[2] for s in sets], np.float64),
            set_purity=np.array([s[3] for s in sets], np.float64),
            set_log_bayes_factor=np.array([s[4] for s in sets], np.float64),
        )


def fit_genes(
    response: np.ndarray,
    weight: np.ndarray,
    covariates: np.ndarray,
    windows: Sequence[np.ndarray],
    dosage_of: Callable[[np.ndarray], np.ndarray],
    config: EffectConfig,
    description: str = "cis effects",
    seed: int = 0,
    families: Families | None = None,
    heritability: np.ndarray | None = None,
) -> EffectPosterior:
    """SuSiE on every gene.

    Args:
        response: gene x donor, log2 units.
        weight: gene x donor precision; 0 where the donor is absent.
        covariates: Orthonormal basis, donor x rank, intercept included; zero columns pad.
        windows: Variant indices of each gene's cis window, ascending.
        dosage_of: From variant indices to their dosages (variant x donor), no NaN.
        config: Number of effects, credible sets, batch size.
        description: Of the progress line.
        seed: Of the permutations of the donors.
        families: Relatives among the donors, None without any.
        heritability: Share of each gene's residual variance that follows kinship; with `families`, see
            `kinship.fit_heritability`.
    """
    draw = rng.generator(seed, "effects", "permutations")
    order = permutations(np.asarray((weight > 0).any(0)), config.n_permutations, draw)
    collected = _Collector(response.shape[0])
    at_once = 1 if jax.default_backend() == "cpu" else config.gene_minibatch
    planned = list(batches(windows, response.shape[1], config.gene_minibatch))
    for genes, width, size in progress(planned, description):
        problem = build_batch(
            genes, (width, size), response, weight, covariates, windows, dosage_of, families, heritability
        )
        fit = fit_susie(problem, n_effects=config.n_effects, genes_at_once=min(at_once, width))
        r = np.asarray(marginal_correlation(problem))
        n_donors = (weight[np.pad(genes, (0, width - len(genes)), mode="edge")] > 0).sum(1)
        p_values = gene_p_values(problem, r, n_donors, order)
        host_problem, host_fit = jax.tree.map(np.asarray, (problem, fit))
        for i, gene in enumerate(genes):
            one_problem, one_fit = jax.tree.map(lambda a, i=i: a[i], (host_problem, host_fit))
            collected.add(
                int(gene), windows[gene], one_problem, one_fit, r[i], float(p_values[i]), int(n_donors[i]), config
            )
    return collected.posterior()

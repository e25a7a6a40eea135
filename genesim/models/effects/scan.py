"""Fit every gene, in one cell type or several at once: grouped by window size, padded, in compiled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import progress
from genesim.models.effects.baselines import marginal_correlation
from genesim.models.effects.collect import Collector
from genesim.models.effects.draws import SharedPrior
from genesim.models.effects.kinship import Families
from genesim.models.effects.learning import learn_mixture
from genesim.models.effects.mixture import EffectMixture
from genesim.models.effects.permutation import gene_p_values, permutations
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.problem import EffectProblem, make_problem
from genesim.models.effects.susie import fit_susie

_BYTES_PER_BATCH = 512 * 2**20
# Genes that teach the prior; more change it little.
_GENES_LEARNED = 512

PriorOf = Callable[[int, np.ndarray], np.ndarray]


def padded_size(n: int) -> int:
    """The next of 64, 96, 128, 192, ...: few shapes to compile, at most a third of padding."""
    size = 64
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def batches(
    windows: Sequence[np.ndarray], n_donors: int, at_most: int, n_types: int = 1
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Genes of each batch, its padded numbers of genes and variants; genes without variants have none."""
    sizes = np.array([padded_size(len(w)) if len(w) else 0 for w in windows])
    for size in np.unique(sizes[sizes > 0]):
        genes = np.flatnonzero(sizes == size)
        room = max(1, _BYTES_PER_BATCH // int(4 * n_types * n_donors * size))
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
    prior_of: PriorOf | Sequence[PriorOf] | None = None,
) -> EffectProblem:
    """The padded `EffectProblem` of some genes; see `fit_genes` for the arguments.

    With a leading axis of types in response, weight, covariates and heritability it is [gene, type, ...]; then
    `prior_of` may be one for each type.
    """
    if response.ndim == 3:
        shares = [None] * len(response) if heritability is None else list(heritability)
        priors = list(prior_of) if isinstance(prior_of, Sequence) else [prior_of] * len(response)
        each = [
            build_batch(genes, shape, y, w, c, windows, dosage_of, families, h, p)
            for y, w, c, h, p in zip(response, weight, covariates, shares, priors, strict=True)
        ]
        return jax.tree.map(lambda *a: jnp.stack(a, 1), *each)
    width, size = shape
    weigh = prior_of[0] if isinstance(prior_of, Sequence) else prior_of
    n_donors = response.shape[1]
    x = np.zeros((width, n_donors, size), np.float32)
    prior = np.zeros((width, size), np.float32)
    y, w = np.zeros((width, n_donors), np.float32), np.zeros((width, n_donors), np.float32)
    h2 = np.zeros(width, np.float32)
    union, inverse = np.unique(np.concatenate([windows[g] for g in genes]), return_inverse=True)
    dosage = dosage_of(union)
    offset = 0
    for i, gene in enumerate(genes):
        n = len(windows[gene])
        x[i, :, :n] = dosage[inverse[offset : offset + n]].T
        prior[i, :n] = 1.0 / n if weigh is None else weigh(int(gene), windows[gene])
        y[i], w[i] = response[gene], weight[gene]
        h2[i] = 0 if heritability is None else heritability[gene]
        offset += n
    return make_problem(
        jnp.asarray(y),
        jnp.asarray(w),
        jnp.asarray(x),
        jnp.asarray(covariates, jnp.float32),
        jnp.asarray(prior),
        families,
        None if families is None else jnp.asarray(h2),
    )


@dataclass(frozen=True)
class TypesData:
    """What all genes are fitted from, in all types at once; see `fit_genes`, with a leading axis of types."""

    response: np.ndarray
    weight: np.ndarray
    covariates: np.ndarray
    windows: Sequence[np.ndarray]
    dosage_of: Callable[[np.ndarray], np.ndarray]
    config: EffectConfig
    families: Families | None = None
    heritability: np.ndarray | None = None
    prior_of: Sequence[PriorOf] | None = None

    @property
    def planned(self) -> list[tuple[np.ndarray, int, int]]:
        """The batches of genes; they are the same for every shard, so that no result depends on the shards."""
        n_types, _, n_donors = self.response.shape
        return list(batches(self.windows, n_donors, self.config.gene_minibatch, n_types))

    @property
    def genes_at_once(self) -> int:
        return 1 if jax.default_backend() == "cpu" else self.config.gene_minibatch

    def problem(self, batch: tuple[np.ndarray, int, int]) -> EffectProblem:
        genes, width, size = batch
        return build_batch(
            genes,
            (width, size),
            self.response,
            self.weight,
            self.covariates,
            self.windows,
            self.dosage_of,
            self.families,
            self.heritability,
            self.prior_of,
        )


def learn_types(data: TypesData, correlated_noise: bool = True) -> EffectMixture:
    """The prior that all genes share, learned from genes spread over all batches."""
    planned = data.planned
    every = max(1, round(sum(len(genes) for genes, _, _ in planned) / _GENES_LEARNED))
    teachers = planned[every // 2 :: every] or planned
    return learn_mixture(
        lambda: map(data.problem, teachers),
        len(data.response),
        genes_at_once=data.genes_at_once,
        correlated_noise=correlated_noise,
    )


def fit_shard(
    data: TypesData,
    mixture: EffectMixture,
    description: str = "cis effects",
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> tuple[np.ndarray, list[EffectPosterior], SharedPrior]:
    """SuSiE, under a prior that was learned, on every n-th batch of the genes from the k-th: `shard` is (k, n).

    Returns:
        The genes fitted, the posterior of each type, with common rows, and what draws of several types need. Arrays
        have a place for every gene; those of another shard's are empty (see `shards.merge_posteriors`).
    """
    n_types, n_genes, _ = data.response.shape
    windows, weight, config = data.windows, data.weight, data.config
    draw = rng.generator(seed, "effects", "permutations")
    orders = [permutations(np.asarray((w > 0).any(0)), config.n_permutations, draw) for w in weight]
    collected = Collector(n_types, n_genes)
    number, total = shard
    mine = data.planned[number::total]
    for genes, width, size in progress(mine, description):
        problem = data.problem((genes, width, size))
        at_once = min(data.genes_at_once, width)
        fit = fit_susie(problem, mixture, n_effects=config.n_effects, genes_at_once=at_once)
        filled = np.pad(genes, (0, width - len(genes)), mode="edge")
        n_present = (weight[:, filled] > 0).sum(2)
        r, p_values = np.zeros((n_types, width, size), np.float32), np.zeros((n_types, width))
        for c in range(n_types):
            of_type = jax.tree.map(lambda a, c=c: a[:, c], problem)
            r[c] = marginal_correlation(of_type)
            p_values[c] = gene_p_values(of_type, r[c], n_present[c], orders[c])
        host_problem, host_fit = jax.tree.map(np.asarray, (problem, fit))
        for i, gene in enumerate(genes):
            one_problem, one_fit = jax.tree.map(lambda a, i=i: a[i], (host_problem, host_fit))
            for c in range(n_types):
                collected.test(
                    c,
                    int(gene),
                    windows[gene],
                    jax.tree.map(lambda a, c=c: a[c], one_problem),
                    float(one_fit.residual_variance[c]),
                    r[c, i],
                    float(p_values[c, i]),
                    int(n_present[c, i]),
                )
            collected.add(int(gene), windows[gene], one_problem, one_fit, config)
    fitted = np.sort(np.concatenate([genes for genes, _, _ in mine])) if mine else np.zeros(0, np.int64)
    return fitted, collected.posteriors(), collected.shared(mixture)


def fit_types(
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
    correlated_noise: bool = True,
    prior_of: Sequence[PriorOf] | None = None,
) -> tuple[list[EffectPosterior], SharedPrior]:
    """SuSiE on every gene in all types at once; the arguments of `fit_genes` with a leading axis of types.

    An effect sits at one variant in all types; its sizes are as alike as the types' data, over all genes, show. A
    type in which a gene cannot be tested has no p-value there, and takes its effects from what the others imply.
    Types share donors, so their noise correlates; without `correlated_noise` that is ignored, and noise that types
    have in common passes for shared effects. The prior of an effect's place is the mean of the types' own.

    Returns:
        The posterior of each type, with common rows, and what draws of several types need.
    """
    data = TypesData(response, weight, covariates, windows, dosage_of, config, families, heritability, prior_of)
    _, found, shared = fit_shard(data, learn_types(data, correlated_noise), description, seed)
    return found, shared


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
    prior_of: PriorOf | None = None,
) -> EffectPosterior:
    """SuSiE on every gene of one type.

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
        prior_of: From a gene and its window to the prior weights of the window's variants (0 leaves one out);
            None weighs all alike.
    """
    found, _ = fit_types(
        response[None],
        weight[None],
        covariates[None],
        windows,
        dosage_of,
        config,
        description,
        seed,
        families,
        None if heritability is None else heritability[None],
        prior_of=None if prior_of is None else [prior_of],
    )
    return found[0]

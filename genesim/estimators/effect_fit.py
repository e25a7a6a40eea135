"""The cis effects' fit in three steps that a scheduler can run as jobs: init, partition, finalise.

`init_study` learns what all genes share from the cells and genotypes of all donors; `fit_part` fits a part of the genes
under it, and needs genotypes only; `EffectModel.join` puts the parts together. `EffectModel.fit` is the three in a row
with one part, so the result is the same, bit for bit, whatever the number of parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import anndata as ad
import numpy as np
import pandas as pd

from genesim.config.model import EffectConfig
from genesim.console import log
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError, TrainingError
from genesim.estimators.effect_donor_variance import donor_sd
from genesim.estimators.effect_inputs import (
    ALL,
    DonorExpression,
    Scale,
    allele_means,
    cis_windows,
    dosages,
    match_donors,
    match_genes,
    mean_imputed,
    numeric_covariates,
    pseudobulk,
    read_donor_expression,
)
from genesim.estimators.effect_prior import EffectPrior, PlacedPrior, resolve_prior, with_learned_curve
from genesim.estimators.effect_structure import Kinship, donor_structure
from genesim.estimators.effect_study import EffectPart, EffectStudy
from genesim.models.effects.kinship import fit_heritability
from genesim.models.effects.marginal import tss_curve_of
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.response import count_response, hidden_factors, linear_response, log2_response
from genesim.models.effects.scan import TypesData, fit_shard, learn_types

MIN_DOF = 8


@dataclass(frozen=True)
class Sites:
    """The genotypes' side of a study.

    Attributes:
        columns: Positions of the study's donors in the genotypes.
        variants: contig, start, ref, alt and `frequency` of ALT among these donors.
        windows: Variants of each gene's cis window.
        dosage_of: From variants to dosages (variant x donor) without gaps.
    """

    columns: np.ndarray
    variants: pd.DataFrame
    windows: list[np.ndarray]
    dosage_of: Callable[[np.ndarray], np.ndarray]


def sites_of(geno: Genotypes, donors: Sequence[str], genes: pd.DataFrame, config: EffectConfig) -> Sites:
    """Windows and dosages of `genes` in `geno`.

    Raises:
        TrainingError: No gene has a usable variant in its window.
        ArtefactError: A donor is not in the genotypes.
    """
    columns = geno.donors.astype(str).get_indexer(pd.Index(donors))
    if (columns < 0).any():
        raise ArtefactError(
            f"donor {donors[int(np.argmin(columns))]} of the study has no genotypes",
            where="effects",
            remedy="give the cohort that the study was made of",
        )
    mean = allele_means(geno, columns)
    frequency = mean / 2
    usable = np.minimum(frequency, 1 - frequency) >= config.min_maf
    windows = cis_windows(genes, geno.variants, usable, config.window)
    if not any(len(w) for w in windows):
        raise TrainingError(
            f"no gene has a variant with MAF >= {config.min_maf} within {config.window} bp of its TSS",
            where="genotypes",
            remedy="check that genes and genotypes use one genome build, or widen effects.window",
        )
    variants = geno.variants[["contig", "start", "ref", "alt"]].assign(frequency=frequency)
    return Sites(columns, variants, windows, lambda i: mean_imputed(dosages(geno.alleles[i][:, columns]), mean[i]))


def place_prior(given: EffectPrior | None, study: EffectStudy, sites: Sites, geno: Genotypes) -> PlacedPrior | None:
    """What is known beforehand, on the study's genes, under the distance curve that the study has."""
    if given is None:
        return None
    placed = given.place(study.genes, sites.variants, geno.contig_lengths, study.labels)
    return placed if study.curve is None else placed.with_curve(study.curve)


def _responses(
    expression: DonorExpression, scale: Scale, covariates: np.ndarray, config: EffectConfig, min_cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Response, weight, and covariates (orthonormal, factors included) of one cell type."""
    present = (expression.n_cells >= min_cells) & (expression.library > 0)
    if scale == "counts":
        response, weight = count_response(expression.values, expression.library, present)
        depth = np.log(np.where(present, expression.library, 1.0))
        covariates = np.column_stack([covariates, depth])
    elif scale == "linear":
        response, weight = linear_response(expression.values, present)
    else:
        response, weight = log2_response(expression.values, present)
    known = orthonormal_covariates(covariates, present)
    factors, _ = hidden_factors(response, weight, known, config.n_factors)
    return response, weight, orthonormal_covariates(np.column_stack([covariates, factors]), present)


def _data(study: EffectStudy, sites: Sites, placed: PlacedPrior | None, group: Sequence[str]) -> TypesData:
    """What a group of types is fitted from."""
    rank = max(basis.shape[1] for basis in study.basis.values())
    shares = [study.heritability[name] for name in group] if study.families is not None else None
    return TypesData(
        np.stack([study.response[name] for name in group]),
        np.stack([study.weight[name] for name in group]),
        np.stack([np.pad(b, ((0, 0), (0, rank - b.shape[1]))) for b in (study.basis[name] for name in group)]),
        sites.windows,
        sites.dosage_of,
        study.config,
        study.families,
        None if shares is None else np.stack(shares),
        None if placed is None else [placed.of(name) for name in group],
    )


def init_study(
    expression: ad.AnnData | str,
    geno: Genotypes,
    genes: pd.DataFrame | None = None,
    *,
    donor_key: str = "donor",
    labels_key: str | None = None,
    covariates: pd.DataFrame | None = None,
    kinship: Kinship = None,
    layer: str | None = None,
    bulk: bool = False,
    scale: Scale = "counts",
    config: EffectConfig | None = None,
    prior: EffectPrior | None = None,
    seed: int = 0,
) -> EffectStudy:
    """Everything but the fit of each gene; arguments and errors are those of `EffectModel.fit`."""
    config = config or EffectConfig()
    adata, donor = read_donor_expression(expression, donor_key, labels_key, bulk, scale, layer)
    donors = match_donors(donor.unique().tolist(), geno.donors.tolist())
    contigs = list(dict.fromkeys(geno.variants["contig"].astype(str)))
    located = match_genes(genes, adata.var, contigs)
    sites = sites_of(geno, donors, located, config)
    structure = donor_structure(geno, sites.columns, donors, kinship, config)
    numbers = numeric_covariates(covariates, donors)
    if structure.components.shape[1]:  # else nothing is touched, not even the order in memory
        numbers = np.column_stack([numbers, structure.components])

    labels: list[str] = []
    rows: dict[str, np.ndarray | None] = {ALL: None}
    if labels_key is not None:
        label = adata.obs[labels_key].astype(str).to_numpy()
        labels = sorted(set(label))
        rows |= {name: label == name for name in labels}
    response, weight, basis = {}, {}, {}
    for name, chosen in rows.items():
        cells = pseudobulk(adata, donor, donors, located.index, chosen)
        if scale != "counts":
            cells = replace(cells, library=np.ones(len(donors)))
        y, w, b = _responses(cells, scale, numbers, config, 1 if bulk else config.min_cells)
        n_present = int((w > 0).any(0).sum())
        if n_present - b.shape[1] < MIN_DOF:
            log.info("cis effects: cell type %s has %d donors, too few to fit", name, n_present)
            continue
        n_silent = int((w <= 0).all(1).sum())
        if n_silent:
            log.info("cis effects: in cell type %s too few donors express %d genes to test them", name, n_silent)
        response[name], weight[name], basis[name] = y, w, b
    if not response:
        raise TrainingError(
            f"no cell type has enough donors ({len(donors)} donors, {numbers.shape[1]} covariates)",
            where="expression",
            remedy="use fewer covariates or lower effects.min_cells",
        )
    heritability = {}
    if structure.families is not None:
        for name in response:
            heritability[name] = fit_heritability(response[name], weight[name], basis[name], structure.families)
            log.info("cis effects, %s: mixed model, h2 %.2f on average", name, heritability[name].mean())
    together = [name for name in response if name != ALL]
    groups = [[ALL]] if ALL in response else []
    groups += ([together] if together else []) if config.share else [[name] for name in together]
    deviations = None if bulk else donor_sd(adata, donor, {name: rows[name] for name in response})
    study = EffectStudy(
        located,
        [str(d) for d in donors],
        labels,
        response,
        weight,
        basis,
        groups,
        [],
        structure.families,
        heritability,
        pd.DataFrame(index=located.index) if deviations is None else deviations,
        config,
        seed,
        config.model_dump(mode="json") | {"donors": structure.report},
    )
    given = resolve_prior(prior, config.prior)
    placed = place_prior(given, study, sites, geno)
    if given is not None and placed is not None:
        if placed.curve is None and placed.settings.tss == "learn":
            placed = _with_curve(study, sites, placed)
        shown = {"prior": given.settings.model_dump(mode="json"), "prior_report": placed.report}
        study = replace(study, settings=study.settings | shown, inputs=given.inputs, curve=placed.curve)
    return replace(study, mixtures=[learn_types(_data(study, sites, placed, group)) for group in groups])


def _with_curve(study: EffectStudy, sites: Sites, placed: PlacedPrior) -> PlacedPrior:
    """The prior under the distance curve learned from these donors."""
    # Of all cells where they can be fitted: most donors, and one curve for every cell type.
    name = ALL if ALL in study.response else next(iter(study.response))
    y, w, b = study.response[name], study.weight[name], study.basis[name]
    distance = [placed.distances(g, window) for g, window in enumerate(sites.windows)]
    learned = tss_curve_of(y, w, b, sites.windows, distance, sites.dosage_of, study.config)
    return with_learned_curve(placed, *learned)


def fit_part(
    study: EffectStudy, geno: Genotypes, shard: tuple[int, int] = (0, 1), prior: EffectPrior | None = None
) -> EffectPart:
    """Fit a part of the genes: every n-th batch from the k-th, under what the study has learned from all genes.

    Args:
        study: From `init_study`.
        geno: Genotypes that it was made of.
        shard: `(k, n)`; 0 is the first.
        prior: As it was given to `init_study`.
    """
    sites = sites_of(geno, study.donors, study.genes, study.config)
    placed = place_prior(resolve_prior(prior, study.config.prior), study, sites, geno)
    parts = [
        fit_shard(_data(study, sites, placed, group), mixture, f"cis effects, {', '.join(group)}", study.seed, shard)
        for group, mixture in zip(study.groups, study.mixtures, strict=True)
    ]
    genes, posteriors, shared = (list(found) for found in zip(*parts, strict=True))
    return EffectPart(shard, genes, posteriors, shared, study.digest)

"""The cis effects' fit in three steps that a scheduler can run as jobs: init, partition, finalise.

`init_study` learns what all genes share from the cells and genotypes of all donors; `fit_part` fits a part of the genes
under it, and needs genotypes only; `EffectModel.join` puts the parts together. `EffectModel.fit` is the three in a row
with one part, so the result is the same, bit for bit, whatever the number of parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anndata as ad
import jax.numpy as jnp
import numpy as np
import pandas as pd

from genesim.config.base import parse
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
from genesim.models.effects.draws import SharedPrior
from genesim.models.effects.kinship import Families, fit_heritability
from genesim.models.effects.location import TssCurve
from genesim.models.effects.marginal import tss_curve_of
from genesim.models.effects.mixture import EffectMixture
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.response import count_response, hidden_factors, linear_response, log2_response
from genesim.models.effects.scan import TypesData, fit_shard, learn_types
from genesim.provenance.record import Provenance
from genesim.train.store import load_model, save_model

STUDY, PART = "effect-study", "effect-part"
MIN_DOF = 8


@dataclass(frozen=True)
class EffectStudy:
    """What the fit of any gene needs beside genotypes.

    Attributes:
        genes: Index gene; `contig`, `tss`.
        donors: Ids, in the order of all arrays.
        labels: Cell types of the cells, fitted or not.
        response, weight: Of each fitted type, gene x donor.
        basis: Of each fitted type, orthonormal covariates, donor x rank.
        groups: Types that are fitted together.
        mixtures: The prior of effect sizes of each group.
        families: Relatives, None without any.
        heritability: Of each type, by gene; empty without relatives.
        donor_sd: See `EffectModel`.
        config: Of the fit.
        seed: Of the permutations.
        settings, inputs: For the provenance: what was found out about donors and tables.
        curve: Prior weight by distance to the TSS, where there is one.
        digest: SHA-256 of the manifest that it was loaded from; empty in memory.
    """

    genes: pd.DataFrame
    donors: list[str]
    labels: list[str]
    response: dict[str, np.ndarray]
    weight: dict[str, np.ndarray]
    basis: dict[str, np.ndarray]
    groups: list[list[str]]
    mixtures: list[EffectMixture]
    families: Families | None
    heritability: dict[str, np.ndarray]
    donor_sd: pd.DataFrame
    config: EffectConfig
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    curve: TssCurve | None = None
    digest: str = ""

    def save(self, directory: str | Path) -> Path:
        """Write the study as one directory."""
        arrays: dict[str, Any] = {
            "gene_tss": self.genes["tss"].to_numpy(),
            "types": {
                str(i): {"response": self.response[n], "weight": self.weight[n], "basis": self.basis[n]}
                for i, n in enumerate(self.response)
            },
            "mixtures": {str(i): mixture.to_dict() for i, mixture in enumerate(self.mixtures)},
        }
        if self.donor_sd.size:
            arrays["donor_sd"] = self.donor_sd.to_numpy(np.float64)
        if self.families is not None:
            families = {name: np.asarray(getattr(self.families, name)) for name in Families.__dataclass_fields__}
            shares = {str(i): self.heritability[name] for i, name in enumerate(self.response)}
            arrays |= {"families": families, "heritability": shares}
        curve = None if self.curve is None else [list(self.curve.edges), list(self.curve.weights)]
        metadata = {
            "genes": self.genes.index.tolist(),
            "gene_contig": self.genes["contig"].tolist(),
            "donors": self.donors,
            "labels": self.labels,
            "cell_types": list(self.response),
            "groups": self.groups,
            "donor_sd_genes": self.donor_sd.index.tolist(),
            "donor_sd_types": self.donor_sd.columns.tolist(),
            "config": self.config.model_dump(mode="json"),
            "settings": self.settings,
            "inputs": self.inputs,
            "curve": curve,
        }
        provenance = Provenance("train effects --init", self.seed, self.settings, self.inputs)
        return save_model(directory, STUDY, arrays, metadata, provenance)

    @classmethod
    def load(cls, directory: str | Path) -> EffectStudy:
        """Read a study that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete, or was altered.
        """
        from genesim.provenance.record import hash_input

        stored = load_model(directory, STUDY)
        a, m = stored.arrays, stored.metadata
        genes = pd.DataFrame(
            {"contig": pd.Series(m["gene_contig"], dtype=object).to_numpy(), "tss": a["gene_tss"]},
            index=pd.Index(m["genes"], dtype=object, name="gene"),
        )
        deviations = pd.DataFrame(
            np.asarray(a["donor_sd"]) if "donor_sd" in a else None,
            index=pd.Index(m["donor_sd_genes"], dtype=object, name="gene"),
            columns=m["donor_sd_types"],
        )
        names = list(m["cell_types"])

        def of_types(what: str) -> dict[str, np.ndarray]:
            return {name: np.asarray(a["types"][str(i)][what]) for i, name in enumerate(names)}

        families = None
        if "families" in a:
            families = Families(**{k: jnp.asarray(v) for k, v in a["families"].items()})
        mixtures = [
            EffectMixture(**{k: jnp.asarray(v) for k, v in a["mixtures"][str(i)].items()})
            for i in range(len(m["groups"]))
        ]
        return cls(
            genes,
            m["donors"],
            m["labels"],
            of_types("response"),
            of_types("weight"),
            of_types("basis"),
            m["groups"],
            mixtures,
            families,
            {n: np.asarray(a["heritability"][str(i)]) for i, n in enumerate(names)} if families is not None else {},
            deviations,
            parse(EffectConfig, m["config"]),
            int(stored.provenance["seed"]),
            m["settings"],
            m["inputs"],
            None if m["curve"] is None else TssCurve(*(tuple(side) for side in m["curve"])),
            hash_input(directory),
        )


@dataclass(frozen=True)
class EffectPart:
    """Some of the genes, fitted.

    Attributes:
        shard: `(k, n)`: the k-th (from 0) of n parts.
        genes: Of each group of types, positions of the genes that it has fitted, ascending.
        posteriors: Of each group, those of its types.
        shared: Of each group.
        study: `EffectStudy.digest` that it was fitted under.
    """

    shard: tuple[int, int]
    genes: list[np.ndarray]
    posteriors: list[list[EffectPosterior]]
    shared: list[SharedPrior]
    study: str = ""

    def save(self, directory: str | Path, seed: int) -> Path:
        """Write the part as one directory."""
        arrays = {
            "groups": {
                str(g): {
                    "genes": self.genes[g],
                    "types": {str(i): p.to_dict() for i, p in enumerate(posteriors)},
                    "shared": shared.to_dict(),
                }
                for g, (posteriors, shared) in enumerate(zip(self.posteriors, self.shared, strict=True))
            },
        }
        metadata = {"shard": list(self.shard), "types": [len(p) for p in self.posteriors], "study": self.study}
        provenance = Provenance("train effects --shard", seed, {"shard": list(self.shard)}, {"study": self.study})
        return save_model(directory, PART, arrays, metadata, provenance)

    @classmethod
    def load(cls, directory: str | Path) -> EffectPart:
        """Read a part that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete, or was altered.
        """
        stored = load_model(directory, PART)
        groups = [stored.arrays["groups"][str(g)] for g in range(len(stored.metadata["types"]))]

        def plain(values: dict[str, Any]) -> dict[str, np.ndarray]:
            return {k: np.asarray(v) for k, v in values.items()}

        return cls(
            (stored.metadata["shard"][0], stored.metadata["shard"][1]),
            [np.asarray(group["genes"]) for group in groups],
            [
                [EffectPosterior(**plain(group["types"][str(i)])) for i in range(n)]
                for group, n in zip(groups, stored.metadata["types"], strict=True)
            ],
            [SharedPrior(**plain(group["shared"])) for group in groups],
            stored.metadata["study"],
        )


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

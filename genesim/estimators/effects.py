"""`EffectModel`: cis effects of variants on expression, per cell type, learned from donors with both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from genesim.config.base import parse
from genesim.config.model import EffectConfig
from genesim.data.effect_table import EffectTable, read_effect_table
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError, ConditionError, TrainingError
from genesim.estimators.effect_fit import fit_part, init_study, place_prior, sites_of
from genesim.estimators.effect_from_table import from_table_parts
from genesim.estimators.effect_inputs import ALL, Scale, dosages, mean_imputed
from genesim.estimators.effect_prior import EffectPrior, resolve_prior, with_table_sizes
from genesim.estimators.effect_structure import Kinship
from genesim.estimators.effect_study import EffectPart, EffectStudy
from genesim.estimators.effect_tables import effect_table, egene_table, sample_table
from genesim.models.catalog import card
from genesim.models.effects.draws import DRAWN_NULL, SharedPrior
from genesim.models.effects.posterior import EffectPosterior, genetic_values
from genesim.models.effects.shards import merge_posteriors, merge_shared
from genesim.provenance.record import Provenance
from genesim.train.store import restored, save_model

KIND = "effects"
FORMAT = 2
"""Of saved models; 2 has the probability that an effect exists."""


@dataclass(frozen=True)
class EffectPrediction:
    """Genetic value of donors: log2 fold change against the mean donor of the fit.

    Attributes:
        mean, low, high: donor x gene; posterior mean and 95 % interval of the genetic value (a measured
            expression has residual variance besides).
        n_absent_variants: Variants of the model that the genotypes lack; they count as the training mean.
    """

    mean: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    n_absent_variants: int


class EffectModel:
    """Variant-gene effects per cell type: a posterior over sums of single effects (SuSiE).

    Make one with `fit` or `load`.

    Attributes:
        posteriors: Of each fitted cell type, and of "all".
        shared: What cell types that were fitted together have in common, beside their names.
        donor_sd: SD over donors of log2 expression from all causes, gene x cell type, of every gene of the
            expression; it has no columns after a fit on bulk.
    """

    def __init__(
        self,
        genes: pd.DataFrame,
        variants: pd.DataFrame,
        posteriors: dict[str, EffectPosterior],
        labels: list[str],
        config: EffectConfig,
        provenance: Provenance,
        shared: list[tuple[list[str], SharedPrior]] | None = None,
        donor_sd: pd.DataFrame | None = None,
    ) -> None:
        self.shared = shared or []
        self.genes = genes
        self.variants = variants
        self.posteriors = posteriors
        self.labels = labels
        self.config = config
        self.provenance = provenance
        self.donor_sd = pd.DataFrame(index=genes.index) if donor_sd is None else donor_sd

    @classmethod
    def fit(
        cls,
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
    ) -> EffectModel:
        """Fit cis effects.

        Every gene is fitted on all cells ("all") and, with `labels_key`, in the types with enough donors: together
        (`config.share`; an effect has one place, and its sizes in the types are as alike as all genes' data show), or
        each alone. The prior of effect sizes, with the probability that there is none, is learned from all genes.
        The response is donor pseudobulk on a log2 scale with a precision weight per donor and gene
        (`models.effects.response`); covariates, log library size and hidden factors of expression are
        projected out of response and dosages. Missing dosages take the variant's mean.
        Population structure: principal components of the genotypes are covariates too (`n_genotype_factors`).
        Relatives: a mixed model whose residual follows kinship within families (`models.effects.kinship`); without
        relatives the model is the plain one, bit for bit. What was found stands in `provenance.config["donors"]`.

        Args:
            expression: Counts of single cells; with `bulk`, one row a donor.
            geno: Genotypes; donors are matched by id.
            genes: Index gene; `contig`, `tss` (0-based). None takes them from var.
            donor_key: Column of obs with donors (bulk: obs names are taken where it is absent).
            labels_key: Column of obs with cell types.
            covariates: Index donor; numbers, or text taken as levels.
            kinship: Donor x donor table of kinship coefficients (0.5 with oneself, 0.25 parent and child; KING,
                a pedigree), "auto" (KING-robust from `geno`), "none"; None takes `config.kinship`.
            layer: Layer with the expression.
            bulk: Rows are donors, not cells.
            scale: Of bulk values: "counts", "linear" (TPM, RPKM) or "log2".
            config: Window, MAF, number of effects, credible sets, factors.
            prior: What is known beforehand (distances, tables, scores, annotations); None takes `config.prior`.
            seed: Of the permutations behind the p-values.

        Raises:
            H5adError, InputError: Expression, genes, covariates or kinship that cannot be used.
            JoinError: Fewer than 10 donors, or no gene, in common; donors without covariates or kinship; a table of
                the prior that does not fit.
            TrainingError: No gene has a usable variant in its window.
        """
        study = init_study(
            expression,
            geno,
            genes,
            donor_key=donor_key,
            labels_key=labels_key,
            covariates=covariates,
            kinship=kinship,
            layer=layer,
            bulk=bulk,
            scale=scale,
            config=config,
            prior=prior,
            seed=seed,
        )
        return cls.join(study, [fit_part(study, geno, prior=prior)], geno, prior)

    @classmethod
    def join(
        cls, study: EffectStudy, parts: Sequence[EffectPart], geno: Genotypes, prior: EffectPrior | None = None
    ) -> EffectModel:
        """The model of its parts, which may have been fitted by other jobs: the same whatever their number.

        Args:
            study: From `init_study`.
            parts: From `fit_part`, in any order.
            geno: Genotypes that the study was made of.
            prior: As it was given to `init_study`.

        Raises:
            TrainingError: A part is lacking, or they are not of this study.
        """
        parts = _checked_parts(study, parts)
        sites = sites_of(geno, study.donors, study.genes, study.config)
        posteriors: dict[str, EffectPosterior] = {}
        shared = []
        for g, group in enumerate(study.groups):
            genes = [part.genes[g] for part in parts]
            for i, name in enumerate(group):
                posteriors[name] = merge_posteriors(genes, [part.posteriors[g][i] for part in parts])
            shared.append((group, merge_shared(genes, [part.shared[g] for part in parts])))
        placed = place_prior(resolve_prior(prior, study.config.prior), study, sites, geno)
        if placed is not None and placed.settings.sizes:
            posteriors = {name: with_table_sizes(p, placed, name) for name, p in posteriors.items()}
            shared = []  # the table speaks of each type alone: sizes of a draw no longer vary together
        provenance = Provenance("train effects", study.seed, study.settings, study.inputs)
        compacted = _compacted(sites.variants, posteriors)
        return cls(study.genes, *compacted, study.labels, study.config, provenance, shared, study.donor_sd)

    @classmethod
    def from_table(
        cls,
        table: EffectTable | str | Path,
        geno_or_variants: Genotypes | pd.DataFrame,
        genes: pd.DataFrame,
        *,
        config: EffectConfig | None = None,
        n_donors: int = 0,
        seed: int = 0,
    ) -> EffectModel:
        """An effect model made of an external effect table alone; it serves wherever a fitted one does.

        PIPs and credible sets of the table are taken as they are. Without PIPs each gene has at most one causal
        variant, among the table's rows of it: whether it has any, and the spread of effects to which sizes are
        shrunk, is learned across genes (`models.effects.table_posterior`). Betas are marginal ones: those of several
        causal variants in LD hold parts of each other. A table of significant rows only is inflated by the winner's
        curse, which shrinkage lessens and does not remove. Probability at variants that the genotypes lack is left out.

        Args:
            table: The record, or its file.
            geno_or_variants: What the table is brought to: genotypes, or a table of variants (index id; contig,
                start (0-based), ref, alt, and `frequency` of ALT unless the effect table has it).
            genes: Index gene; `contig`, `tss` (0-based), optional `gene_id`; those without a position are left out.
            config: Its `prior` has the unit of beta (`table_unit`, `table_sd`), `kappa` and the harmonisation.
            n_donors: Of the table's study; 0 says unknown.
            seed: Recorded.

        Raises:
            InputError, JoinError: A table that cannot be read or does not fit; see `read_effect_table`, `harmonise`.
            ConfigError: A table of another kind, or betas in SDs of unknown size.
        """
        config = config or EffectConfig()
        if not isinstance(table, EffectTable):
            table = read_effect_table(table, "effects", config.prior.columns)
        parts = from_table_parts(table, geno_or_variants, genes, config, n_donors)
        config = config.model_copy(update={"n_effects": parts.n_effects, "method": "table"})
        settings = config.model_dump(mode="json") | {"prior_report": {"table": parts.report.to_dict()}}
        inputs = {"prior.table": table.sha256} if table.sha256 else {}
        provenance = Provenance("train effects", seed, settings, inputs)
        return cls(parts.genes, *_compacted(parts.variants, parts.posteriors), parts.labels, config, provenance)

    def table(self, min_pip: float = 1e-3) -> pd.DataFrame:
        """Effects per gene, variant and cell type; see `effect_tables.effect_table`."""
        return effect_table(self.genes, self.variants, self.posteriors, min_pip)

    def egenes(self, fdr: float = 0.05) -> pd.DataFrame:
        """One row a gene and cell type; see `effect_tables.egene_table`."""
        return egene_table(self.genes, self.variants, self.posteriors, fdr)

    def sample(self, seed: int = 0, credible_only: bool = False, null: float | None = DRAWN_NULL) -> pd.DataFrame:
        """One posterior draw: gene, variant, cell_type, log2_afc, lfsr; see `effect_tables.sample_table`.

        Args:
            seed: Of the draw.
            credible_only: Leave out single effects without a credible set: what remains the data show clearly, and
                is less than there is.
            null: Prior probability that a single effect does not exist; None takes the fit's own. It has no
                meaning for a model made of a table.
        """
        return sample_table(
            self.genes,
            self.variants,
            self.posteriors,
            self.labels,
            self.config.n_effects,
            seed,
            credible_only,
            self.shared,
            null,
        )

    def predict(self, geno: Genotypes, cell_type: str = ALL) -> EffectPrediction:
        """Genetic values of the donors of `geno`.

        Variants are matched by contig, start, ref and alt; swapped alleles are turned round.

        Raises:
            ConditionError: `cell_type` was not fitted.
        """
        if cell_type not in self.posteriors:
            raise ConditionError(
                f"cell type '{cell_type}' was not fitted",
                where="effect model",
                remedy=f"choose one of: {', '.join(self.posteriors)}",
            )
        sites_there = zip(*(geno.variants[c] for c in ("contig", "start", "ref", "alt")), strict=True)
        position = {site: i for i, site in enumerate(sites_there)}
        centre = 2 * self.variants["frequency"].to_numpy()
        dosage = np.repeat(centre[:, None], geno.n_donors, 1)
        sites = list(zip(*(self.variants[c] for c in ("contig", "start", "ref", "alt")), strict=True))
        same = np.array([position.get(s, -1) for s in sites], np.int64)
        swapped = np.array([position.get((s[0], s[1], s[3], s[2]), -1) for s in sites], np.int64)
        for found, turned in ((same, False), (np.where(same < 0, swapped, -1), True)):
            at = np.flatnonzero(found >= 0)
            d = dosages(geno.alleles[found[at]])
            dosage[at] = mean_imputed(2 - d if turned else d, centre[at])
        mean, sd = genetic_values(self.posteriors[cell_type], dosage, centre)

        def frame(values: np.ndarray) -> pd.DataFrame:
            return pd.DataFrame(values.T, index=geno.donors, columns=self.genes.index)

        absent = int(((same < 0) & (swapped < 0)).sum())
        return EffectPrediction(frame(mean), frame(mean - 1.96 * sd), frame(mean + 1.96 * sd), absent)

    def save(self, directory: str | Path, provenance: Provenance | None = None) -> Path:
        """Write the model as one directory."""
        arrays = {
            "gene_tss": self.genes["tss"].to_numpy(),
            "variant_start": self.variants["start"].to_numpy(),
            "variant_frequency": self.variants["frequency"].to_numpy(),
            "posteriors": {str(i): p.to_dict() for i, p in enumerate(self.posteriors.values())},
            "shared": {str(i): prior.to_dict() for i, (_, prior) in enumerate(self.shared)},
        }
        if self.donor_sd.size:
            arrays["donor_sd"] = self.donor_sd.to_numpy(np.float64)
        metadata = {
            "card": card("effects", "susie"),
            "genes": self.genes.index.tolist(),
            "gene_contig": self.genes["contig"].tolist(),
            "variants": self.variants.index.tolist(),
            **{f"variant_{c}": self.variants[c].tolist() for c in ("contig", "ref", "alt")},
            "cell_types": list(self.posteriors),
            "labels": self.labels,
            "donor_sd_genes": self.donor_sd.index.tolist(),
            "donor_sd_types": self.donor_sd.columns.tolist(),
            "format": FORMAT,
            "shared": [names for names, _ in self.shared],
            "config": self.config.model_dump(mode="json"),
        }
        return save_model(directory, KIND, arrays, metadata, provenance or self.provenance)

    @classmethod
    def load(cls, directory: str | Path) -> EffectModel:
        """Read a model that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete, was altered, or was written before effects had a null.
        """
        with restored(directory, KIND) as stored:
            a, m = stored.arrays, stored.metadata
            if m.get("format") != FORMAT:
                raise ArtefactError(
                    f"effect model of format {m.get('format', 1)}, not {FORMAT}",
                    where=str(directory),
                    remedy="train the effects again: effects now come with the probability that they exist",
                )
            genes = pd.DataFrame(
                {"contig": pd.Series(m["gene_contig"], dtype=object).to_numpy(), "tss": a["gene_tss"]},
                index=pd.Index(m["genes"], dtype=object, name="gene"),
            )
            columns = {c: pd.Series(m[f"variant_{c}"], dtype=object).to_numpy() for c in ("contig", "ref", "alt")}
            variants = pd.DataFrame(
                {
                    "contig": columns["contig"],
                    "start": a["variant_start"],
                    "ref": columns["ref"],
                    "alt": columns["alt"],
                    "frequency": a["variant_frequency"],
                },
                index=pd.Index(m["variants"], dtype=object),
            )
            posteriors = {
                name: EffectPosterior(**{k: np.asarray(v) for k, v in a["posteriors"][str(i)].items()})
                for i, name in enumerate(m["cell_types"])
            }
            provenance = Provenance(**{k: v for k, v in stored.provenance.items() if k != "schema"})
            shared = [
                (list(names), SharedPrior(**{k: np.asarray(v) for k, v in a["shared"][str(i)].items()}))
                for i, names in enumerate(m["shared"])
            ]
            deviations = pd.DataFrame(
                np.asarray(a["donor_sd"]) if "donor_sd" in a else None,
                index=pd.Index(m["donor_sd_genes"], dtype=object, name="gene"),
                columns=m["donor_sd_types"],
            )
            config = parse(EffectConfig, m["config"])
            return cls(genes, variants, posteriors, m["labels"], config, provenance, shared, deviations)


def _compacted(
    variants: pd.DataFrame, posteriors: dict[str, EffectPosterior]
) -> tuple[pd.DataFrame, dict[str, EffectPosterior]]:
    """Only the variants that a posterior names, with the posteriors renumbered to them."""
    used = np.unique(np.concatenate([np.r_[p.variant, p.top_variant[p.top_variant >= 0]] for p in posteriors.values()]))
    number = np.full(len(variants) + 1, -1, np.int64)
    number[used] = np.arange(len(used))
    renumbered = {
        name: replace(p, variant=number[p.variant].astype(np.int32), top_variant=number[p.top_variant])
        for name, p in posteriors.items()
    }
    return variants.iloc[used], renumbered


def _checked_parts(study: EffectStudy, parts: Sequence[EffectPart]) -> list[EffectPart]:
    """The parts in their order.

    Raises:
        TrainingError: A part is lacking or stands twice, or they are not of this study.
    """
    where, remedy = "effects", "fit every part once, with the study that is given"
    if any(part.study != study.digest for part in parts):
        raise TrainingError("a part was fitted under another study", where=where, remedy=remedy)
    totals = {part.shard[1] for part in parts}
    if len(totals) != 1:
        raise TrainingError(f"parts are of {sorted(totals)} parts in all", where=where, remedy=remedy)
    numbers, total = [part.shard[0] for part in parts], totals.pop()
    if sorted(numbers) != list(range(total)):
        shown = ", ".join(str(number + 1) for number in sorted(numbers))
        raise TrainingError(f"parts {shown} of {total} are given", where=where, remedy=remedy)
    return sorted(parts, key=lambda part: part.shard)

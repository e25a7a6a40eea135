"""The parts of an `EffectModel` made of an external table alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from genesim.config.model import EffectConfig
from genesim.data.effect_harmonise import HarmoniseReport, harmonise
from genesim.data.effect_table import EffectTable
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ConfigError, InputError, JoinError
from genesim.estimators.effect_inputs import ALL, allele_means, match_genes
from genesim.estimators.effect_prior import log2_per_unit
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.table_posterior import TableRows, table_posterior

_MOST_EFFECTS = 100


@dataclass(frozen=True)
class TableParts:
    """What `EffectModel` is made of."""

    genes: pd.DataFrame
    variants: pd.DataFrame
    posteriors: dict[str, EffectPosterior]
    labels: list[str]
    n_effects: int
    report: HarmoniseReport


def from_table_parts(
    table: EffectTable, study: Genotypes | pd.DataFrame, genes: pd.DataFrame, config: EffectConfig, n_donors: int
) -> TableParts:
    """See `EffectModel.from_table`."""
    if table.kind != "effects":
        raise ConfigError(
            f"a table of {table.kind} has no effects to make a model of",
            where=table.source,
            remedy="give one with gene, beta and se; scores and weights serve as priors of a fit",
        )
    if table.rows["beta"].isna().all():
        raise InputError(
            "has no beta: PIPs alone are no effects",
            where=table.source,
            remedy="add beta and se (or p_value), or use the table as prior.table of a fit",
        )
    unit = log2_per_unit(config.prior)
    lengths: Mapping[str, int | None] = study.contig_lengths if isinstance(study, Genotypes) else {}
    variants = _variants(study)
    located = match_genes(genes, pd.DataFrame(index=genes.index), list(variants["contig"].unique()))
    extra = genes[["gene_id"]] if "gene_id" in genes else genes[[]]
    named = located.join(extra.set_axis(extra.index.astype(str)))
    found = harmonise(
        table, variants, named, policy=config.prior.harmonise, contig_lengths=lengths, fasta=config.prior.fasta
    )
    variants = _with_frequencies(variants, found.matched, table.source)
    rows = found.rows[found.rows["beta"].notna() & found.rows["se"].notna()]
    number = {gene: i for i, gene in enumerate(located.index)}
    posteriors: dict[str, EffectPosterior] = {}
    n_effects = config.n_effects
    for cell_type, part in rows.groupby("cell_type", sort=True):
        part = part.assign(g=part["gene"].map(number)).sort_values(["g", "variant"], kind="stable")
        group = np.where(part["credible_set"] == "", -1, pd.factorize(part["credible_set"])[0])
        given = TableRows(
            gene=part["g"].to_numpy(np.int64),
            variant=part["variant"].to_numpy(np.int64),
            beta=part["beta"].to_numpy(np.float64) * unit,
            se=part["se"].to_numpy(np.float64) * unit * np.sqrt(config.prior.kappa),
            pip=part["pip"].to_numpy(np.float64),
            group=group.astype(np.int64),
            p_value=part["p_value"].to_numpy(np.float64),
        )
        fitted = table_posterior(given, len(located), n_donors, config.coverage)
        if len(fitted.gene):
            posteriors[str(cell_type) or ALL] = fitted
            n_effects = max(n_effects, int(fitted.effect.max()) + 1)
    if not posteriors or n_effects > _MOST_EFFECTS:
        raise JoinError(
            f"gives {n_effects if posteriors else 0} effects a gene, between 1 and {_MOST_EFFECTS} can be kept",
            where=table.source,
            remedy="check its credible sets, pip and genes",
        )
    # "all" first, as in a fit.
    order = sorted(posteriors, key=lambda name: (name != ALL, name))
    labels = [name for name in order if name != ALL]
    return TableParts(located, variants, {name: posteriors[name] for name in order}, labels, n_effects, found.report)


def _variants(study: Genotypes | pd.DataFrame) -> pd.DataFrame:
    columns = ["contig", "start", "ref", "alt"]
    if isinstance(study, Genotypes):
        return study.variants[columns].assign(frequency=allele_means(study, np.arange(study.n_donors)) / 2)
    lacking = [c for c in columns if c not in study]
    if lacking or not study.index.is_unique:
        raise InputError(
            f"variants lack the columns {lacking}" if lacking else "variants have ids that are repeated",
            where="variants",
            remedy="give Genotypes, or a table with index id and columns contig, start (0-based), ref, alt, frequency",
        )
    frequency = study["frequency"] if "frequency" in study else pd.Series(np.nan, study.index)
    return study[columns].assign(frequency=frequency.astype(float))


def _with_frequencies(variants: pd.DataFrame, matched: pd.DataFrame, source: str) -> pd.DataFrame:
    """The variants, with the table's frequencies where the study has none.

    Raises:
        InputError: A variant with an effect has neither.
    """
    theirs = matched.groupby("variant")["frequency"].first()
    frequency = variants["frequency"].to_numpy(float).copy()
    at = theirs.index.to_numpy(np.int64)
    frequency[at] = np.where(np.isnan(frequency[at]), theirs.to_numpy(float), frequency[at])
    unknown = at[np.isnan(frequency[at])]
    if len(unknown):
        raise InputError(
            f"{len(unknown)} variants, as {variants.index[unknown[0]]}, have no allele frequency",
            where=source,
            remedy="give Genotypes, or a column `frequency` with the variants or in the table (of ALT)",
        )
    return variants.assign(frequency=np.nan_to_num(frequency, nan=0.0))

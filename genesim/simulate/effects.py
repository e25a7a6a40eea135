"""Causal variants of the new donors' expression: chosen, recorded as truth, and turned into fold changes.

An effect is an allelic fold change (Mohammadi et al. 2017, Genome Res. 27:1872): a haplotype with the
ALT allele expresses 2^delta times one with REF, so a donor's expression of gene g in cell type c is
multiplied by A = 1/2 sum_h prod_j 2^(delta_jcg x_jh). A is divided by its expectation at the training
cohort's allele frequencies, because that is the average which the expression model has learned.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim.config.effects import EffectsScenario
from genesim.data.genotypes import Genotypes
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.effect_sizes import ALL_TYPES, DRAWN, random_effects
from genesim.simulate.state import MIDDLE, shape_at

COLUMNS = [
    "gene",
    "variant",
    "contig",
    "position",
    "ref",
    "alt",
    "cell_type",
    "log2_afc",
    "training_frequency",
    "source",
    "log2_afc_slope",
    "shape",
]


def _declared_effects(
    scenario: EffectsScenario, genes: pd.Index, variants: pd.Index, cell_types: list[str]
) -> pd.DataFrame:
    for effect in scenario.declared:
        for value, known, what in (
            (effect.gene, genes, "gene"),
            (effect.variant, variants, "variant"),
            (effect.cell_type, cell_types, "cell type"),
        ):
            if value is not None and value not in known:
                raise ConditionError(
                    f"declared effect names unknown {what} {value!r}",
                    where="scenario.effects.declared",
                    remedy=f"use a {what} of the trained models",
                )
    rows = [
        (
            e.gene,
            e.variant,
            e.cell_type or ALL_TYPES,
            e.log2_afc,
            e.log2_afc_slope,
            e.shape if e.log2_afc_slope else "",
            "declared",
        )
        for e in scenario.declared
    ]
    return pd.DataFrame(rows, columns=DRAWN)


def plant_effects(
    scenario: EffectsScenario,
    genes: pd.DataFrame,
    variants: pd.DataFrame,
    cell_types: list[str],
    seed: int,
    learned: pd.DataFrame | None = None,
    donor_sd: float = 0.0,
    loss_of_function: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The truth table of causal variants.

    Args:
        scenario: Sources; a gene takes the first of declared, learned, random that has it.
        genes: Index gene; `contig`, `tss` (0-based).
        variants: Index variant id; `contig`, `start` (0-based), `ref`, `alt`, `frequency` of ALT in training.
        cell_types: Known cell types.
        learned: One posterior draw (`gene`, `variant`, `cell_type`, `log2_afc`), where asked for.
        donor_sd: SD over donors of what is not genetic in log2 expression (see `RandomEffects.h2`).
        loss_of_function: Rows of planted alleles (`DRAWN`), which add to a gene's effects whatever their source.

    Returns:
        Columns `COLUMNS`; `position` is 1-based as in the VCF.

    Raises:
        ConditionError: A declared gene, variant or cell type is unknown.
        ConfigError: Learned effects are asked for without a model, or no gene can have an effect.
    """
    tables = [_declared_effects(scenario, genes.index, variants.index, cell_types)]
    if scenario.learned:
        if learned is None:
            raise ConfigError(
                "learned effects are asked for but no effect model is given",
                where="scenario.effects.learned",
                remedy="train effects, or set it to false",
            )
        known = learned[learned["gene"].isin(genes.index) & learned["variant"].isin(variants.index)]
        tables.append(
            known[["gene", "variant", "cell_type", "log2_afc"]].assign(log2_afc_slope=0.0, shape="", source="learned")
        )
    if scenario.random is not None:
        tables.append(random_effects(scenario.random, genes, variants, cell_types, seed, donor_sd))
    taken: set[str] = set()
    kept = []
    for table in tables:
        kept.append(table[~table["gene"].isin(taken)])
        taken |= set(table["gene"])
    if loss_of_function is not None:
        kept.append(loss_of_function)
    truth = pd.concat([t for t in kept if len(t)] or kept[:1], ignore_index=True)
    site = variants.loc[truth["variant"]].reset_index(drop=True)
    truth["contig"], truth["ref"], truth["alt"] = site["contig"], site["ref"], site["alt"]
    truth["position"] = site["start"] + 1
    truth["training_frequency"] = site["frequency"]
    return truth[COLUMNS].sort_values(["gene", "variant", "cell_type"], kind="stable", ignore_index=True)


def log2_afc_at(truth: pd.DataFrame, state: float) -> np.ndarray:
    """log2 allelic fold change of each effect at a state."""
    value = truth["log2_afc"].to_numpy(np.float64)
    if "log2_afc_slope" not in truth:
        return value
    slope = truth["log2_afc_slope"].to_numpy(np.float64)
    along = [shape_at(shape, state) if shape else 0.0 for shape in truth["shape"]]
    return np.where(slope == 0, value, value + slope * np.array(along))


def log2_fold_changes(truth: pd.DataFrame, genotypes: Genotypes, cell_types: list[str]) -> tuple[np.ndarray, list[str]]:
    """Each donor's log2 fold change against the training cohort's expectation.

    Args:
        truth: As `plant_effects` returns it.
        genotypes: The new donors'; a missing allele counts as its expectation.
        cell_types: Order of the second axis.

    A dynamic effect counts as it is in the middle of the state (`genesim.simulate.dynamic` adds what differs).

    Returns:
        log2(A / E[A]), float32 [donor, cell type, affected gene], and the affected genes in order.
        E[A] takes causal variants of a gene as independent: E[A] = prod_j (1 + p_j (2^delta_j - 1)).
    """
    affected = sorted(truth["gene"].unique())
    column = {gene: i for i, gene in enumerate(affected)}
    type_index = {name: i for i, name in enumerate(cell_types)}
    row = {variant: i for i, variant in enumerate(genotypes.variants.index)}
    fold = np.zeros((genotypes.n_donors, len(cell_types), len(affected)), np.float32)
    truth = truth.assign(log2_afc=log2_afc_at(truth, MIDDLE))
    for gene, of_gene in truth.groupby("gene", sort=False):
        # log2 of each of a donor's two haplotypes' product of allelic fold changes
        haplotype = np.zeros((genotypes.n_donors, len(cell_types), 2))
        expected = np.zeros(len(cell_types))
        columns = (of_gene[name] for name in ("variant", "cell_type", "log2_afc", "training_frequency"))
        for variant, cell_type, log2_afc, p in zip(*columns, strict=True):
            types = slice(None) if cell_type == ALL_TYPES else [type_index[cell_type]]
            alleles = genotypes.alleles[row[variant]].astype(float)
            mean_log2 = np.log2(1 + p * (2.0**log2_afc - 1))
            # A haploid donor's only copy stands for both; an unknown allele takes its expectation.
            alleles[:, 1] = np.where(alleles[:, 1] == -2, alleles[:, 0], alleles[:, 1])
            log2_allele = np.where(alleles < 0, mean_log2, log2_afc * alleles)
            haplotype[:, types] += log2_allele[:, None]
            expected[types] += mean_log2
        fold[:, :, column[gene]] = np.logaddexp2(haplotype[..., 0], haplotype[..., 1]) - 1 - expected
    return fold, affected

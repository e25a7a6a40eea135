"""The data dictionary: what each column of each table of truth means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

_DONOR = "Donor id, as in obs['donor'] of sim.h5ad and in sim.vcf.gz."
_GENE = "Gene, as in var_names of sim.h5ad."
_VARIANT = "Variant id, as in sim.vcf.gz."
_TYPE = "Cell type; * is all."
_SITE = {
    "variant": _VARIANT,
    "contig": "Contig of sim.vcf.gz.",
    "position": "1-based position.",
    "ref": "REF allele.",
    "alt": "ALT allele.",
}
_FREQUENCY = "Frequency of ALT among the training donors (0: in none of them), from which expectations are taken."

COLUMNS: dict[str, dict[str, str]] = {
    "effects": {
        "gene": _GENE,
        **_SITE,
        "cell_type": "Cell type that the effect acts in; * is all.",
        "log2_afc": "log2 of the expression from an ALT over a REF haplotype; at state 0 of a dynamic effect.",
        "training_frequency": _FREQUENCY,
        "source": "declared, learned (a posterior draw), random, or loss_of_function.",
        "log2_afc_slope": "What is added to log2_afc along the state, times the shape; 0 of a static effect.",
        "shape": "linear (t), sigmoid or peak (4t(1-t)) of the state t; empty of a static effect.",
    },
    "donors": {
        "donor": _DONOR,
        "ancestry": "Ancestry that the genotypes were drawn of.",
        "sex": "Sex.",
        "batch": "Batch of all cells of the donor.",
        "father": "Father's id; empty of founders.",
        "mother": "Mother's id; empty of founders.",
        "age": "Age in years.",
        "candidate": "Case/control sampling: the candidate that was taken; its genotypes are drawn by this id.",
        "risk": "Polygenic risk, in SDs of liability around the expectation at training frequencies.",
        "liability": "Risk + age + sex + chance; of variance 1 in the population.",
        "case": "Whether liability is above the threshold that the prevalence sets.",
        "case_status": "case or control, as in obs.",
        "n_cells": "Cells of the donor.",
        "mean_library_size": "Mean over its cells of library size x scale: expected counts without planted changes.",
    },
    "genes": {
        "gene": _GENE,
        "contig": "Contig of the gene; empty where unknown.",
        "tss": "0-based transcription start; -1 where unknown.",
        "has_effect": "Whether a variant acts on it.",
        "genetic_variance": "Variance over people of log2 expression that its static effects make, at training "
        "frequencies in linkage equilibrium, averaged over the cell types that they act in.",
        "genetic_variance_donors": "The same over the simulated donors, whose frequencies and linkage differ.",
        "h2": "genetic_variance / (genetic_variance + donor_sd_log2^2).",
        "donor_sd_log2": "SD over donors of the deviation that is neither genetic nor of age, sex or disease.",
        "log2_per_sd_age": "log2 fold change per SD of age.",
        "log2_male_over_female": "log2 fold change of males over females.",
        "log2_along_state": "log2 fold change from state 0 to state 1.",
    },
    "expression": {
        "gene": _GENE,
        "donor": _DONOR,
        "cell_type": "Cell type.",
        "log2_fold": "The genotype's log2 fold change of the rate against the training cohort's expectation; of "
        "dynamic effects in the middle of the state (0.5).",
    },
    "composition": {
        "donor": _DONOR,
        "cell_type": "Cell type.",
        "share": "True share that the donor's cells were drawn by.",
        "n_cells": "Cells that were drawn.",
    },
    "composition_effects": {
        "cell_type": "Cell type whose share shifts.",
        "of": "genotype, age, sex or disease.",
        "variant": "Of a genotype: variant id; else empty.",
        "log_odds": "Natural-log odds per ALT allele, per SD of age, male over female, or case over control.",
        "training_frequency": _FREQUENCY,
    },
    "disease_variants": {
        **_SITE,
        "weight": "Liability of one ALT allele, in SDs of liability.",
        "training_frequency": _FREQUENCY,
    },
    "disease": {
        "threshold": "Liability above which a donor is a case.",
        "prevalence": "Declared share of cases.",
        "h2_liability": "Declared share of the liability's variance that is polygenic risk.",
        "sd_chance": "SD of the part of liability that is neither risk nor age nor sex.",
    },
    "disease_effects": {"gene": _GENE, "cell_type": "Cell type.", "log2_fold": "log2 fold change of cases."},
    "donor_deviation": {
        "donor": _DONOR,
        "gene": _GENE,
        "cell_type": _TYPE,
        "log2_deviation": "The donor's log2 deviation that is neither genetic nor of age, sex or disease.",
    },
    "trans": {
        "donor": _DONOR,
        "gene": _GENE,
        "cell_type": _TYPE,
        "log2_fold": "log2 fold change that the perturbation model predicts; model-derived, not declared.",
        "knocked_down": "Genes whose loss of function makes it, with the share lost.",
        "support": "supported, extrapolated or unsupported by the perturbation model's training.",
        "source": "model-derived.",
    },
    "states": {"cell": "Cell, as in obs_names of sim.h5ad.", "state": "State in [0, 1]."},
    "local_ancestry": {
        "donor": _DONOR,
        "copy": "Copy 0 or 1 of the donor.",
        "contig": "Contig.",
        "start": "0-based start.",
        "end": "End, exclusive.",
        "ancestry": "Ancestry of the stretch.",
    },
    "pedigree": {
        "donor": _DONOR,
        "father": "Father's id; empty of founders.",
        "mother": "Mother's id; empty of founders.",
        "sex": "Sex.",
    },
    "descent": {
        "donor": _DONOR,
        "copy": "Copy 0 or 1 of the donor.",
        "contig": "Contig.",
        "start": "0-based start.",
        "end": "End, exclusive.",
        "founder": "Founder that the stretch descends from.",
        "founder_copy": "Which copy of the founder.",
    },
    "new_variants": {
        **_SITE,
        "kind": "de_novo, rare, or a Sequence Ontology consequence.",
        "gene": "gene_id of a loss-of-function allele; else empty.",
        "transcript": "Transcript that it was made for.",
        "reference": "Whether REF is of the FASTA or drawn.",
        "n_carriers": "Copies of ALT.",
        "carriers": "donor:copy of each, joined by ;.",
        "gene_name": "gene_name of a loss-of-function allele; else empty.",
        "expression": "What the allele leaves of its copy's mRNA: 1 - efficiency of decay, 1 where it escapes.",
    },
}
_PATTERNS = {
    ("donors", "share_"): "Share of the donor's genome that is of this ancestry.",
    ("genes", "log2_fold_batch"): "log2 fold change of the planted batch on the gene.",
}


def meaning(table: str, column: str) -> str:
    """What a column means.

    Raises:
        KeyError: It is not in the dictionary.
    """
    for (where, prefix), text in _PATTERNS.items():
        if table == where and column.startswith(prefix) and column not in COLUMNS[table]:
            return text
    return COLUMNS[table][column]


def dictionary(tables: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Rows `table`, `column`, `meaning` of the given tables' columns; those of a user's own are left out."""
    rows = []
    for table, columns in tables.items():
        for column in columns:
            try:
                rows.append((table, column, meaning(table, column)))
            except KeyError:  # a column of the user's donor table
                rows.append((table, column, "Column of the user's donor table."))
    return pd.DataFrame(rows, columns=["table", "column", "meaning"])

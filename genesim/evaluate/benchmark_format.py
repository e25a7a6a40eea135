"""What each benchmark asks for: its task, the columns of an answer, what its scores mean; and checks of an answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from genesim.errors import ConfigError, InputError


@dataclass(frozen=True)
class Column:
    """One column of an answer.

    Attributes:
        about: What it holds.
        kind: "text", "number", "probability" (in [0, 1]) or "flag" (0/1 or true/false).
        required: Whether an answer must have it.
    """

    about: str
    kind: str = "text"
    required: bool = True


@dataclass(frozen=True)
class Suite:
    """One benchmark.

    Attributes:
        task: What a solver is to do.
        keys: Columns that say what a row is about; their values must be those of the data, without repeats.
        values: Columns that a solver fills in.
        metrics: What each score means; higher is better unless it says otherwise.
        prefix: Where not empty, number columns so called and numbered from 1 are wanted too.
    """

    task: str
    keys: dict[str, Column]
    values: dict[str, Column]
    metrics: dict[str, str]
    prefix: str = field(default="")


_GENE, _TYPE, _CELL = Column("gene, as in var_names"), Column("cell type, as in obs"), Column("cell, as in obs_names")
_EQTL_VALUES = {
    "q_value": Column("q-value of the call of this gene's variant; <= 0.05 is a discovery", "probability"),
    "pip": Column("posterior probability that the variant is causal", "probability", required=False),
    "log2_afc": Column("allelic fold change of ALT over REF, log2", "number", required=False),
}
_EQTL_METRICS = {
    "power": "share of planted effects with a call (q <= 0.05) of a variant with r2 >= 0.5 to the causal one",
    "false_discovery_rate": "share of the calls without such a variant; lower is better",
    "gene_false_discovery_rate": "share of the called genes (and cell types) without any planted effect, which is what "
    "a q-value of genes promises; lower is better",
    "pip_calibration_error": "mean distance, over ten bins of PIP, of the share of causal variants from the mean PIP, "
    "weighted by rows; lower is better",
    "effect_slope": "slope through the origin of log2_afc at the called variant on what the planted effect is at it (0 "
    "where not called); 1 is best",
}
_AUROC = "area under the ROC curve"
_AUPRC = "area under the precision-recall curve (average precision)"

SUITES: dict[str, Suite] = {
    "eqtl": Suite(
        "Find the variants within 250 kb of each gene with var 'tested' that change its expression in all cell types.",
        {"gene": _GENE, "variant": Column("variant id, as in genotypes.vcf.gz")},
        _EQTL_VALUES,
        _EQTL_METRICS,
    ),
    "eqtl_specific": Suite(
        "Find the variants within 250 kb of each gene with var 'tested' that change its expression in one cell type, "
        "and that type.",
        {"gene": _GENE, "variant": Column("variant id, as in genotypes.vcf.gz"), "cell_type": _TYPE},
        _EQTL_VALUES,
        _EQTL_METRICS,
    ),
    "eqtl_dynamic": Suite(
        "Find the variants within 250 kb of each gene with var 'tested' whose effect changes along the cells' state "
        "(obs 'state'), among variants whose effect does not. Donors differ in how their genes change along the state: "
        "cells are no replicates.",
        {"gene": _GENE, "variant": Column("variant id, as in genotypes.vcf.gz")},
        {
            "p_value": Column(
                "of the interaction with the state. Of several rows of a gene the smallest counts, times their number "
                "(Bonferroni); give one row a gene if its p-value is already the gene's",
                "probability",
            ),
            "log2_afc_slope": Column(
                "change of the allelic fold change of ALT over REF, log2, from state 0 to 1 (of a peak: to the middle)",
                "number",
                required=False,
            ),
        },
        {
            "power": "share of planted dynamic effects whose gene is called (Benjamini-Hochberg q <= 0.05 over genes) "
            "by a variant with r2 >= 0.5 to the causal one",
            "false_discovery_rate": "share of the calls without such a variant; calls of static effects are false; "
            "lower is better",
            "gene_false_discovery_rate": "share of the called genes without a dynamic effect; lower is better",
            "slope_correlation": "Pearson's r of log2_afc_slope with what the planted slope is at the called variant, "
            "over found effects (NaN below 3)",
        },
    ),
    "de": Suite(
        "Find the genes of each cell type that differ between cases and controls (obs 'group'); donors vary. Changed "
        "genes change a cell's total too: normalise by what most genes do, not by totals.",
        {"gene": _GENE, "cell_type": _TYPE},
        {
            "p_value": Column("p-value of the test; genes left out count as not tested", "probability"),
            "log2_fold_change": Column("of case over control", "number", required=False),
        },
        {
            "auprc": _AUPRC + " of the ranking by p-value",
            "power": "share of changed genes with Benjamini-Hochberg q <= 0.05",
            "false_discovery_rate": "share of unchanged genes among those with q <= 0.05 (0 if none); lower is better",
            "log2_fold_change_correlation": "Pearson's r with the planted change, over changed genes",
        },
    ),
    "rare_type": Suite(
        "Tell which cells are of the one rare type that is among the common ones; labels are hidden.",
        {"cell": _CELL},
        {"is_rare": Column("whether the cell is of the rare type; cells left out are not", "flag")},
        {
            "recall": "share of rare cells that are found",
            "precision": "share of the cells called rare that are (0 without any)",
            "f1": "harmonic mean of recall and precision",
        },
    ),
    "batch": Suite(
        "Embed the cells so that batches (obs 'batch') mix and cell types, which are hidden, stay apart.",
        {"cell": _CELL},
        {},
        {
            "type_ari": "adjusted Rand index of k-means clusters (k = number of types) with the cell types",
            "batch_mixing": "1 - |silhouette of batches within cell types|, averaged; 1 is mixed (Luecken et al. 2022)",
        },
        prefix="dim_",
    ),
    "doublets": Suite(
        "Tell which barcodes hold two cells; all hold ambient RNA too.",
        {"cell": _CELL},
        {"score": Column("higher for likelier doublets; cells left out come last", "number")},
        {"auroc": _AUROC, "auprc": _AUPRC},
    ),
    "donors": Suite(
        "Tell which donors with obs 'group' unknown are cases, from the donors with a known group.",
        {"donor": Column("donor of unknown group, as in obs")},
        {"score": Column("higher for likelier cases; donors left out come last", "number")},
        {"auroc": _AUROC, "auprc": _AUPRC},
    ),
    "grn": Suite(
        "Recover which regulator acts on which gene from knock-outs of regulators (obs 'knocked_out').",
        {"regulator": Column("one of the regulators in obs 'knocked_out'"), "target": _GENE},
        {"score": Column("higher for likelier edges; edges left out come last", "number")},
        {
            "auprc": _AUPRC + " of edges among all pairs",
            "early_precision": "share of true edges among as many top pairs as there are true edges (BEELINE)",
        },
    ),
}
"""Benchmarks by name."""


def suite(name: str) -> Suite:
    """The benchmark called `name`.

    Raises:
        ConfigError: There is none.
    """
    if name not in SUITES:
        raise ConfigError(f"unknown benchmark {name!r}", where="benchmark", remedy=f"use one of {', '.join(SUITES)}")
    return SUITES[name]


def _refuse(name: str, column: str, found: str, remedy: str) -> InputError:
    return InputError(f"column '{column}' {found}", where=f"answer to {name}", remedy=remedy)


def _numbers(name: str, column: str, values: pd.Series, kind: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    bad = ~np.isfinite(numbers.to_numpy())
    if kind == "probability":
        bad |= ~numbers.between(0, 1).to_numpy()
    if kind == "flag":
        bad |= ~numbers.isin((0, 1)).to_numpy()
    if bad.any():
        wanted = {"probability": "numbers in [0, 1]", "flag": "0/1 or true/false"}.get(kind, "finite numbers")
        first = values.iloc[int(np.argmax(bad))]
        raise _refuse(
            name, column, f"has {int(bad.sum())} values that are no {wanted}, first {first!r}", f"give {wanted}"
        )
    return numbers


def check_answer(name: str, answer: pd.DataFrame, known: dict[str, pd.Index]) -> pd.DataFrame:
    """The answer's keys as text and its values as floats, in its own order.

    Args:
        name: Of the benchmark.
        answer: As a solver gave it; further columns are ignored.
        known: Values that each key can have.

    Raises:
        InputError: A column is absent, holds what it cannot, names what is not in the data, or rows are repeated.
    """
    wanted = suite(name)
    for column, about in {**wanted.keys, **wanted.values}.items():
        if about.required and column not in answer:
            raise _refuse(name, column, "is absent", f"give it: {about.about}")
    table = pd.DataFrame(index=answer.index)
    for column, about in wanted.keys.items():
        table[column] = answer[column].astype(str)
        unknown = ~table[column].isin(known[column])
        if unknown.any():
            first = table[column][unknown].iloc[0]
            raise _refuse(name, column, f"names {first!r}, which the data do not have", f"give {about.about}")
    repeated = table.duplicated()
    if repeated.any():
        raise _refuse(
            name, ", ".join(wanted.keys), f"repeats {tuple(table[repeated].iloc[0])!r}", "give each of them once"
        )
    for column, about in wanted.values.items():
        if column in answer:
            table[column] = _numbers(name, column, answer[column], about.kind)
    if wanted.prefix:
        columns = [str(c) for c in answer.columns if str(c).startswith(wanted.prefix)]
        if not columns:
            raise _refuse(name, f"{wanted.prefix}1", "is absent", "give the coordinates as dim_1, dim_2, ...")
        for column in columns:
            table[column] = _numbers(name, column, answer[column], "number")
        if len(table) < len(known["cell"]):
            raise _refuse(name, "cell", f"has {len(table)} of {len(known['cell'])} cells", "embed every cell")
    return table.reset_index(drop=True)

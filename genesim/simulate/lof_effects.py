"""Planted loss-of-function alleles as effects on their gene's expression, and what else they knock down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.data.annotation import strip_version
from genesim.data.genotypes import Genotypes
from genesim.simulate.effect_sizes import ALL_TYPES, DRAWN

SOURCE = "loss_of_function"
LEAST_LOG2 = -10.0
"""log2 of what complete decay leaves: as small as a declared effect may be."""


def gene_of(name: str, gene_id: str, genes: pd.Index) -> str | None:
    """The gene of an expression model that an annotation's is: by id, id without version, or name."""
    bare = {strip_version(str(gene)): str(gene) for gene in genes}
    for candidate in (gene_id, name):
        if candidate in genes:
            return candidate
    return bare.get(strip_version(gene_id))


def loss_of_function_effects(new_variants: pd.DataFrame, genes: pd.Index) -> tuple[pd.DataFrame, list[str]]:
    """Rows of effects (`DRAWN`) of the alleles that lower expression, log2_afc = log2 of what they leave.

    Two alleles on one copy multiply, as variants do; two on different copies make a compound heterozygote: both
    follow from the formula of `effects.log2_fold_changes`.

    Args:
        new_variants: Truth of new variants (`new_variants.TRUTH`).
        genes: Of the expression model.

    Returns:
        The rows, and genes that the expression model lacks.
    """
    rows, unknown = [], []
    planted = new_variants[new_variants["gene"] != ""]
    for variant, gene_id, name, left in zip(
        planted["variant"], planted["gene"], planted["gene_name"], planted["expression"], strict=True
    ):
        gene = gene_of(name, gene_id, genes)
        if gene is None:
            unknown.append(gene_id)
        elif left < 1:
            rows.append((gene, variant, ALL_TYPES, max(np.log2(max(left, 1e-30)), LEAST_LOG2), 0.0, "", SOURCE))
    return pd.DataFrame(rows, columns=DRAWN), sorted(set(unknown))


def lost_shares(effects: pd.DataFrame, genotypes: Genotypes) -> Mapping[str, dict[str, float]]:
    """Of each donor with such alleles: share of each gene's expression that they take, by gene."""
    lost: dict[str, dict[str, float]] = {}
    planted = effects[effects["source"] == SOURCE]
    for gene, mine in planted.groupby("gene"):
        left: Float[np.ndarray, "donor 2"] = np.ones((genotypes.n_donors, 2))
        for variant, size in zip(mine["variant"], mine["log2_afc"], strict=True):
            alleles = genotypes.alleles[genotypes.variants.index.get_loc(variant)].copy()
            alleles[:, 1] = np.where(alleles[:, 1] == -2, alleles[:, 0], alleles[:, 1])
            left *= np.where(alleles == 1, 2.0**size, 1.0)
        dosage = left.mean(axis=1)
        for at in np.flatnonzero(dosage < 1).tolist():
            lost.setdefault(str(genotypes.donors[at]), {})[str(gene)] = float(1 - dosage[at])
    return lost

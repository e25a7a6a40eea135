"""Dynamic effects of variants: what they add to each cell's rates beyond their value in the middle of the state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int8

from genesim.data.genotypes import Genotypes
from genesim.simulate.effect_sizes import ALL_TYPES
from genesim.simulate.state import MIDDLE, shape_at


@dataclass(frozen=True)
class _Effect:
    log2_afc: float
    slope: float
    shape: str
    frequency: float
    cell_type: int | None
    alleles: Int8[np.ndarray, "donor 2"]

    def delta(self, state: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        along = shape_at(self.shape, state) if self.shape else np.zeros(len(state))
        return self.log2_afc + self.slope * along


@dataclass(frozen=True)
class DynamicEffects:
    """Genes with an effect that changes along the state, with all of their effects.

    Attributes:
        genes: Names.
        effects: Of each gene.
    """

    genes: list[str]
    effects: list[list[_Effect]]

    @classmethod
    def of(cls, truth: pd.DataFrame, genotypes: Genotypes, cell_types: list[str]) -> DynamicEffects:
        """From the truth table of causal variants."""
        genes = sorted(truth.loc[truth["log2_afc_slope"] != 0, "gene"].unique())
        row = genotypes.variants.index
        found: list[list[_Effect]] = []
        for gene in genes:
            mine = []
            for effect in truth[truth["gene"] == gene].itertuples():
                alleles = genotypes.alleles[row.get_loc(effect.variant)].copy()
                alleles[:, 1] = np.where(alleles[:, 1] == -2, alleles[:, 0], alleles[:, 1])
                where = None if effect.cell_type == ALL_TYPES else cell_types.index(str(effect.cell_type))
                mine.append(
                    _Effect(
                        float(effect.log2_afc),  # type: ignore[arg-type]
                        float(effect.log2_afc_slope),  # type: ignore[arg-type]
                        str(effect.shape),
                        float(effect.training_frequency),  # type: ignore[arg-type]
                        where,
                        alleles,
                    )
                )
            found.append(mine)
        return cls(list(genes), found)

    def fold(
        self,
        donor: np.ndarray,
        cell_type: np.ndarray,
        state: Float[np.ndarray, " cell"],
    ) -> Float[np.ndarray, "cell gene"]:
        """log2 fold change of cells against the training cohort's expectation at the same state.

        As in `effects.log2_fold_changes`, with each cell's own allelic fold changes.
        """
        out = np.zeros((len(donor), len(self.genes)))
        for column, effects in enumerate(self.effects):
            haplotype, expected = np.zeros((len(donor), 2)), np.zeros(len(donor))
            for effect in effects:
                here = slice(None) if effect.cell_type is None else np.flatnonzero(cell_type == effect.cell_type)
                delta = effect.delta(state[here])
                mean_log2 = np.log2(1 + effect.frequency * (np.exp2(delta) - 1))
                alleles = effect.alleles[donor[here]]
                haplotype[here] += np.where(alleles < 0, mean_log2[:, None], delta[:, None] * alleles)
                expected[here] += mean_log2
            out[:, column] = np.logaddexp2(haplotype[:, 0], haplotype[:, 1]) - 1 - expected
        return out

    def shift(
        self, donor: np.ndarray, cell_type: np.ndarray, state: Float[np.ndarray, " cell"]
    ) -> Float[np.ndarray, "cell gene"]:
        """What a cell's state changes against the middle of the state, log2."""
        middle = np.full(len(state), MIDDLE)
        return self.fold(donor, cell_type, state) - self.fold(donor, cell_type, middle)

"""What `simulate` yields: cells, genotypes and the truth, joined by stable ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from genesim.config.scenario import Scenario
from genesim.data.genotypes import Genotypes, write_vcf
from genesim.data.write import write_h5ad, write_parquet
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.record import Provenance


@dataclass(frozen=True)
class SimulatedDataset:
    """A simulated cohort with its truth.

    Attributes:
        cells: Integer counts in X; obs `donor`, `cell_type`, `ancestry`, `sex`, `batch`.
        genotypes: Phased genotypes of the same donors.
        effects: Causal variants: gene, variant, position (1-based), ref, alt, cell_type ("*" is all), log2_afc, source.
        donors: Index donor; ancestry, sex, batch, n_cells.
        genes: Index gene; position, whether it has an effect, log2 fold change of each planted batch.
        expression: gene, donor, cell_type, log2_fold: the genotype's true effect on the donor's rate.
        scenario: What was asked.
        provenance: How it was made.
        more_truth: Further tables by name: `local_ancestry` of admixed donors; `pedigree` and `descent` (founder and
            founder copy of every stretch) of relatives; `new_variants` (kind, gene, carriers).
    """

    cells: ad.AnnData
    genotypes: Genotypes
    effects: pd.DataFrame
    donors: pd.DataFrame
    genes: pd.DataFrame
    expression: pd.DataFrame
    scenario: Scenario
    provenance: Provenance
    more_truth: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def write(self, directory: str | Path) -> None:
        """Write `sim.h5ad`, `sim.vcf.gz` with index, `truth/*.parquet`, `scenario.yaml` and a manifest."""
        with atomic_directory(directory) as out:
            write_h5ad(self.cells, out / "sim.h5ad", self.provenance)
            write_vcf(self.genotypes, out / "sim.vcf.gz", provenance=self.provenance)
            for name in ("effects", "donors", "genes", "expression"):
                table: pd.DataFrame = getattr(self, name)
                if table.index.name is not None:
                    table = table.reset_index()
                write_parquet(table, out / "truth" / f"{name}.parquet", self.provenance)
            for name, table in self.more_truth.items():
                write_parquet(table, out / "truth" / f"{name}.parquet", self.provenance)
            (out / "scenario.yaml").write_text(yaml.safe_dump(self.scenario.model_dump(mode="json"), sort_keys=False))
            (out / "provenance.json").write_text(self.provenance.to_json() + "\n")


def expression_truth(fold: np.ndarray, donors: pd.Index, cell_types: list[str], genes: list[str]) -> pd.DataFrame:
    """Long table of the true log2 fold changes [donor, cell type, gene] of affected genes."""
    index = pd.MultiIndex.from_product([donors, cell_types, genes], names=["donor", "cell_type", "gene"])
    table = pd.DataFrame({"log2_fold": fold.reshape(-1)}, index=index).reset_index()
    return table[["gene", "donor", "cell_type", "log2_fold"]]

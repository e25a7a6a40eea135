"""What `simulate` yields: cells, genotypes and the truth, joined by stable ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from genesim.config.scenario import Scenario
from genesim.data.genotypes import Genotypes, write_vcf
from genesim.data.write import write_csv, write_h5ad, write_parquet
from genesim.data.write_stream import write_dense_blocks, write_parquet_parts
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.record import Provenance
from genesim.simulate.dictionary import dictionary


@dataclass(frozen=True)
class SimulatedDataset:
    """A simulated cohort with its truth.

    Every table of truth is joined to the others, and to the files, by `donor`, `gene`, `variant`, `cell_type` and
    `cell`; `genesim.simulate.dictionary` says what each column means, and so does `truth/columns.csv`.

    Attributes:
        cells: Integer counts in X; obs `donor`, `cell_type`, `ancestry`, `sex`, `batch`, and what the scenario adds.
        genotypes: Phased genotypes of the same donors.
        effects: Causal variants of expression.
        donors: Index donor.
        genes: Index gene.
        expression: The genotype's true effect on each affected gene of each donor and cell type.
        scenario: What was asked.
        provenance: How it was made.
        more_truth: Further tables by name, as the scenario has them.
        streamed_truth: Tables too large for memory, by name: each call draws their parts again.
        true_rates: The same of each cell's true rates, chunk by chunk; None unless asked for.
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
    streamed_truth: Mapping[str, Callable[[], Iterator[pd.DataFrame]]] = field(default_factory=dict)
    true_rates: Callable[[], Iterator[np.ndarray]] | None = None

    def write(self, directory: str | Path) -> None:
        """Write `sim.h5ad`, `sim.vcf.gz` with index, `truth/*`, `scenario.yaml` and a manifest."""
        with atomic_directory(directory) as out:
            write_h5ad(self.cells, out / "sim.h5ad", self.provenance)
            write_vcf(self.genotypes, out / "sim.vcf.gz", provenance=self.provenance)
            truth = out / "truth"
            tables = {n: getattr(self, n) for n in ("effects", "donors", "genes", "expression")} | dict(self.more_truth)
            columns = {}
            for name, table in tables.items():
                flat = table if table.index.name is None else table.reset_index()
                columns[name] = list(flat.columns)
                write_parquet(flat, truth / f"{name}.parquet", self.provenance)
            for name, parts in self.streamed_truth.items():
                write_parquet_parts(parts(), truth / f"{name}.parquet", self.provenance)
                columns[name] = list(next(parts()).columns)
            if self.true_rates is not None:
                write_dense_blocks(self._rates_shell(), self.true_rates(), truth / "rates.h5ad", self.provenance)
            write_csv(dictionary(columns), truth / "columns.csv")
            (out / "scenario.yaml").write_text(yaml.safe_dump(self.scenario.model_dump(mode="json"), sort_keys=False))
            (out / "provenance.json").write_text(self.provenance.to_json() + "\n")

    def _rates_shell(self) -> ad.AnnData:
        return ad.AnnData(obs=self.cells.obs, var=self.cells.var)


def expression_truth(fold: np.ndarray, donors: pd.Index, cell_types: list[str], genes: list[str]) -> pd.DataFrame:
    """Long table of the true log2 fold changes [donor, cell type, gene] of affected genes."""
    index = pd.MultiIndex.from_product([donors, cell_types, genes], names=["donor", "cell_type", "gene"])
    table = pd.DataFrame({"log2_fold": fold.reshape(-1)}, index=index).reset_index()
    return table[["gene", "donor", "cell_type", "log2_fold"]]

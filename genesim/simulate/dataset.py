"""What `simulate` yields: cells, genotypes and the truth, joined by stable ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float

from genesim.config.scenario import Scenario
from genesim.data.genotypes import Genotypes, write_vcf
from genesim.data.write import write_csv, write_h5ad, write_parquet
from genesim.data.write_stream import write_dense_blocks, write_parquet_parts
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.record import Provenance
from genesim.simulate.dictionary import dictionary

_ROWS = 2**21
"""Rows of truth that are made at once."""


@dataclass(frozen=True)
class ExpressionTruth:
    """What each donor's genotypes do to each affected gene: as an array, of which tables are made piece by piece.

    Attributes:
        log2_fold: log2 fold change by donor, cell type and gene.
        donors: Their names.
        cell_types: Names.
        genes: Those that are affected.
    """

    log2_fold: Float[np.ndarray, "donor cell_type gene"]
    donors: pd.Index
    cell_types: Sequence[str]
    genes: Sequence[str]

    def tables(self) -> Iterator[pd.DataFrame]:
        """Columns gene, donor, cell_type and log2_fold, some donors after some; one table at least."""
        each = len(self.cell_types) * len(self.genes)
        n_donors = max(1, _ROWS // max(1, each))
        gene = np.tile(np.array(self.genes, object), len(self.cell_types))
        cell_type = np.repeat(np.array(self.cell_types, object), len(self.genes))
        for first in range(0, max(1, len(self.donors)), n_donors):
            donors = np.asarray(self.donors[first : first + n_donors], object)
            yield pd.DataFrame(
                {
                    "gene": np.tile(gene, len(donors)),
                    "donor": np.repeat(donors, each),
                    "cell_type": np.tile(cell_type, len(donors)),
                    "log2_fold": self.log2_fold[first : first + n_donors].reshape(-1),
                }
            )


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
        fold: True effects of the genotypes; `expression` is the table of them.
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
    fold: ExpressionTruth
    scenario: Scenario
    provenance: Provenance
    more_truth: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    streamed_truth: Mapping[str, Callable[[], Iterator[pd.DataFrame]]] = field(default_factory=dict)
    true_rates: Callable[[], Iterator[np.ndarray]] | None = None

    @property
    def expression(self) -> pd.DataFrame:
        """The genotype's true effect on each affected gene of each donor and cell type, made anew by each call."""
        return pd.concat(self.fold.tables(), ignore_index=True)

    def write(self, directory: str | Path) -> None:
        """Write `sim.h5ad`, `sim.vcf.gz` with index, `truth/*`, `scenario.yaml` and a manifest."""
        with atomic_directory(directory) as out:
            write_h5ad(self.cells, out / "sim.h5ad", self.provenance)
            write_vcf(self.genotypes, out / "sim.vcf.gz", provenance=self.provenance)
            truth = out / "truth"
            tables = {n: getattr(self, n) for n in ("effects", "donors", "genes")} | dict(self.more_truth)
            columns = {}
            for name, table in tables.items():
                flat = table if table.index.name is None else table.reset_index()
                columns[name] = list(flat.columns)
                write_parquet(flat, truth / f"{name}.parquet", self.provenance)
            for name, parts in {"expression": self.fold.tables, **self.streamed_truth}.items():
                write_parquet_parts(parts(), truth / f"{name}.parquet", self.provenance)
                columns[name] = list(next(parts()).columns)
            if self.true_rates is not None:
                write_dense_blocks(self._rates_shell(), self.true_rates(), truth / "rates.h5ad", self.provenance)
            write_csv(dictionary(columns), truth / "columns.csv")
            (out / "scenario.yaml").write_text(yaml.safe_dump(self.scenario.model_dump(mode="json"), sort_keys=False))
            (out / "provenance.json").write_text(self.provenance.to_json() + "\n")

    def _rates_shell(self) -> ad.AnnData:
        return ad.AnnData(obs=self.cells.obs, var=self.cells.var)

"""`Cohort`: cells, genotypes, donors and genes that were checked, joined and split; in memory and on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import anndata as ad
import numpy as np
import pandas as pd

from genesim.data.annotation import UNPLACED
from genesim.data.cis import CisIndex
from genesim.data.genotypes import Genotypes, StoredGenotypes, open_store, read_store, write_store
from genesim.data.names import plain_frame, plain_labels, some
from genesim.data.parquet import read_parquet
from genesim.data.write import write_h5ad, write_parquet
from genesim.errors import ArtefactError, JoinError
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance

DONOR = "donor"
"""Column of `cells.obs` that refers to the cohort's donors."""
_SCHEMA = "genesim-cohort-1"
_DONOR_COLUMNS = ("genotype_id", "ancestry", "sex", "split", "has_cells", "has_genotypes")
_GENE_COLUMNS = ("contig", "start", "end", "strand", "tss", "dealt")


class _NotLoaded:
    """Stands for a part that `load_cohort` was told to leave out; any use of it says so."""

    def __init__(self, part: str) -> None:
        self._part = part

    def __getattr__(self, name: str) -> NoReturn:
        raise ArtefactError(
            f"the cohort's {self._part} were not loaded",
            remedy=f"load_cohort(directory, {self._part}=True)",
        )


@dataclass(frozen=True, eq=False)
class Cohort:
    """Everything a run trains on and evaluates against.

    Attributes:
        cells: Counts, CSR int32 [cell, gene], in memory or backed; `obs["donor"]` refers to `donors`.
        genotypes: In memory or on disk. The donor axis has the cohort's donor ids: those with `has_genotypes`, in
            their order.
        donors: Indexed by donor: `genotype_id`, `ancestry`, `sex`, `split` ("train" or "test"), `has_cells`,
            `has_genotypes`, and whatever the donor table gave.
        genes: Indexed as the genes of `cells`: `contig`, `start`, `end`, `strand`, `tss` (0-based half-open;
            "" and -1 where unplaced), `dealt` (True where the position is invented).
        info: Counts and choices of the preparation, JSON-ready.

    Raises:
        JoinError: Parts that do not refer to each other as said.
    """

    cells: ad.AnnData
    genotypes: Genotypes | StoredGenotypes
    donors: pd.DataFrame
    genes: pd.DataFrame
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, frame, columns in (
            ("donors", self.donors, _DONOR_COLUMNS),
            ("genes", self.genes, _GENE_COLUMNS),
        ):
            absent = [name for name in columns if name not in frame.columns]
            if absent:
                raise _refuse(f"{what} lack the columns {some(absent)}")
            if not frame.index.is_unique:
                raise _refuse(f"{what} are repeated: {some(frame.index[frame.index.duplicated()])}")
        odd = set(self.donors["split"]) - {"train", "test"}
        if odd:
            raise _refuse(f"split holds {some(sorted(map(str, odd)))}, not only 'train' and 'test'")
        if not isinstance(self.cells, _NotLoaded):
            self._check_cells()
        if not isinstance(self.genotypes, _NotLoaded):
            expected = self.donors.index[self.donors["has_genotypes"].to_numpy(dtype=bool)]
            if list(self.genotypes.donors) != list(expected):
                differ = pd.Index(self.genotypes.donors).symmetric_difference(expected)
                raise _refuse(
                    f"the genotypes' donors are not those that have genotypes, in their order: {some(differ)}"
                )

    def _check_cells(self) -> None:
        if DONOR not in self.cells.obs:
            raise _refuse(f"cells have no column '{DONOR}'")
        named = set(self.cells.obs[DONOR])
        with_cells = set(self.donors.index[self.donors["has_cells"].to_numpy(dtype=bool)])
        if named != with_cells:
            raise _refuse(f"donors of cells are not those that have cells: {some(named ^ with_cells)}")
        if list(self.genes.index) != list(self.cells.var_names):
            raise _refuse("genes are not the genes of the cells, in their order")

    def donors_of(self, split: Literal["train", "test"]) -> pd.DataFrame:
        """The donors of one side of the split."""
        return self.donors[self.donors["split"] == split]

    def cells_of(self, split: Literal["train", "test"]) -> ad.AnnData:
        """The cells of the donors of one side of the split: a copy, or, of cells on disk, a view that reads none."""
        chosen = self.cells[self.cells.obs[DONOR].isin(self.donors_of(split).index).to_numpy()]
        return chosen if self.cells.isbacked else chosen.copy()

    def genotypes_of(
        self, split: Literal["train", "test"], variants: Sequence[str] | pd.Index | np.ndarray | None = None
    ) -> Genotypes:
        """The genotypes of the donors of one side of the split, with or without cells, in memory.

        Args:
            split: The side.
            variants: Variant ids, a boolean mask or integer positions; None takes all.
        """
        donors = self.donors_of(split)
        chosen = donors.index[donors["has_genotypes"].to_numpy(dtype=bool)]
        return self.genotypes.subset(variants=variants, donors=chosen)

    @cached_property
    def _cis(self) -> CisIndex:
        return CisIndex(self.genotypes.variants)

    def dosage_for(self, donors: Iterable[str], gene: str, window: int = 1_000_000) -> tuple[np.ndarray, pd.DataFrame]:
        """Dosages in the cis window of a gene.

        Returns:
            Dosage, float32 [variant, donor], NaN where missing, donors as given; and the variants, by
            position (none where the gene is unplaced).

        Raises:
            JoinError: A gene or donor that the cohort has not.
        """
        if gene not in self.genes.index:
            raise JoinError(f"gene '{gene}' is not in the cohort", remedy="choose one of cohort.genes")
        at = self.genes.index == gene
        contig, tss = self.genes["contig"][at].to_numpy()[0], self.genes["tss"][at].to_numpy()[0]
        rows = self._cis.within(str(contig), int(tss), window)
        near = self.genotypes.subset(variants=rows, donors=list(donors))
        return near.dosage(), near.variants

    def save(self, directory: str | os.PathLike[str], provenance: Provenance) -> Path:
        """Write the cohort as a directory with a manifest, in one piece or not at all.

        Raises:
            ResourceError: The location cannot be written, or the disk is full.
        """
        about = {"schema": _SCHEMA, "info": dict(self.info), "provenance": provenance.to_dict()}
        with atomic_directory(Path(directory)) as temporary:
            write_h5ad(self.cells, temporary / "cells.h5ad", provenance)
            (temporary / "genotypes").mkdir()
            calls = self.genotypes
            write_store(calls if isinstance(calls, Genotypes) else calls.subset(), temporary / "genotypes")
            write_parquet(self.donors.rename_axis(index="donor"), temporary / "donors.parquet", provenance)
            write_parquet(self.genes.rename_axis(index="gene"), temporary / "genes.parquet", provenance)
            (temporary / "cohort.json").write_text(json.dumps(about, indent=1, sort_keys=True, default=_plain))
        return Path(directory)


def _refuse(found: str) -> JoinError:
    return JoinError(found, where="cohort", remedy="prepare the cohort again from its inputs")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def assemble_cohort(
    cells: ad.AnnData,
    genotypes: Genotypes,
    donors: pd.DataFrame,
    genes: pd.DataFrame,
    *,
    donor_key: str = DONOR,
    info: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Cohort:
    """Bring checked parts to one set of donor ids and one order.

    Args:
        cells: As `read_expression` gives them; not changed.
        genotypes: Donor axis as in the file; donors without a row in `donors` are left out.
        donors: As `join_donors` gives them, with `split`.
        genes: Positions of genes; those of the matrix without a row are unplaced.
        donor_key: Column of `cells.obs` with the donors; it becomes `obs["donor"]`.
        info: Counts and choices to keep.
        overwrite: Use the memory of `genotypes`, which must not be used any more (`Genotypes.subset`).

    Raises:
        JoinError: Parts that do not fit together.
    """
    obs = cells.obs.copy()
    if donor_key not in obs:
        raise JoinError(f"cells have no column '{donor_key}'", where="cohort", remedy="give its name as donor_key")
    if donor_key != DONOR:
        obs = obs.rename(columns={DONOR: f"{DONOR}_of_input", donor_key: DONOR})
    obs[DONOR] = plain_labels(obs[DONOR])
    genotyped = donors.index[donors["has_genotypes"].to_numpy(dtype=bool)]
    renamed = replace(
        genotypes.subset(donors=list(donors.loc[genotyped, "genotype_id"]), overwrite=overwrite),
        donors=pd.Index(list(genotyped), dtype=object, name="donor"),
    )
    shell = ad.AnnData(X=cells.X, obs=plain_frame(obs), var=plain_frame(cells.var), uns=dict(cells.uns))
    return Cohort(shell, renamed, plain_frame(donors), _place(genes, cells.var_names), dict(info or {}))


def _place(genes: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    """Rows of `genes` for `names`, in their order; what is missing is unplaced."""
    placed = genes.reindex(names)
    for column, absent in {**UNPLACED, "dealt": False}.items():
        given = placed[column] if column in placed else pd.Series(index=names, dtype=object)
        kind = object if isinstance(absent, str) else type(absent)
        placed[column] = given.astype(object).where(given.notna(), absent).astype(kind)
    return plain_frame(placed)


def load_cohort(
    directory: str | os.PathLike[str],
    genotypes: bool = True,
    cells: bool = True,
    cells_on_disk: bool = False,
    genotypes_on_disk: bool = False,
) -> Cohort:
    """Read a cohort, after checking every file against the manifest.

    Args:
        directory: As `Cohort.save` wrote it.
        genotypes: Whether to load genotypes; if not, using them raises an `ArtefactError` that says so.
        cells: Whether to load cells, likewise.
        cells_on_disk: Leave their counts in the file (`cells` is a backed AnnData) for whoever reads them in pieces.
        genotypes_on_disk: Leave calls in their store; `genotypes_of` and `genotypes.subset` read what is asked for.

    Raises:
        ArtefactError: Absent, incomplete, altered, or of another version.
    """
    directory = Path(directory)
    verify_manifest(directory)
    try:
        about = json.loads((directory / "cohort.json").read_text())
        schema = about["schema"] if isinstance(about, dict) else None
        if schema != _SCHEMA:
            raise ArtefactError(
                f"is of the format {schema!r}, not {_SCHEMA}",
                where=str(directory),
                remedy="prepare the cohort with this version of genesim",
            )
        donors = _table(directory / "donors.parquet", "donor")
        genes = _table(directory / "genes.parquet", "gene")
        loaded_cells = _cells(directory / "cells.h5ad", cells_on_disk) if cells else _NotLoaded("cells")
        read = open_store if genotypes_on_disk else read_store
        calls = read(directory / "genotypes") if genotypes else _NotLoaded("genotypes")
        return Cohort(cast(ad.AnnData, loaded_cells), cast(Genotypes, calls), donors, genes, dict(about["info"]))
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"cannot be read ({error})", where=str(directory), remedy="prepare the cohort again"
        ) from error


def _cells(path: Path, on_disk: bool) -> ad.AnnData:
    cells = ad.read_h5ad(path, backed="r" if on_disk else None)
    cells.obs, cells.var = plain_frame(cells.obs), plain_frame(cells.var)
    return cells


def _table(path: Path, index: str) -> pd.DataFrame:
    return plain_frame(read_parquet(path).set_index(index))

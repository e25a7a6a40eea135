"""Counts of a shard of simulated cells on disk: plain arrays, a manifest, and what they were drawn from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from jaxtyping import Float
from scipy import sparse

from genesim.data.matrix import stack_rows
from genesim.errors import ArtefactError
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest

_SCHEMA = "genesim-cells-1"
_ARRAYS = ("data", "indices", "indptr", "library")


@dataclass(frozen=True)
class CellShard:
    """Some cells' counts.

    Attributes:
        counts: int32 [cell, gene].
        library: Library size of each cell.
        first: Number of the first cell.
        plan: Digest of the plan that they were drawn from.
    """

    counts: sparse.csr_matrix
    library: Float[np.ndarray, " cell"]
    first: int
    plan: str

    def save(self, directory: str | Path) -> None:
        """Write the shard as one directory, in one piece or not at all."""
        x = self.counts
        about = {"schema": _SCHEMA, "first": self.first, "plan": self.plan, "shape": list(x.shape)}
        with atomic_directory(directory) as out:
            for name, array in zip(_ARRAYS, (x.data, x.indices, x.indptr, self.library), strict=True):
                np.save(out / f"{name}.npy", array, allow_pickle=False)
            (out / "cells.json").write_text(json.dumps(about, sort_keys=True) + "\n")

    @classmethod
    def load(cls, directory: str | Path) -> CellShard:
        """Read a shard that `save` wrote.

        Raises:
            ArtefactError: It is none, is incomplete, or was altered.
        """
        directory = Path(directory)
        verify_manifest(directory)
        try:
            about = json.loads((directory / "cells.json").read_text())
            if about["schema"] != _SCHEMA:
                raise ValueError(f"schema {about['schema']!r}")
            # Mapped first: a file shorter than its header says is refused before room is made.
            mapped = (np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS)
            data, indices, indptr, library = map(np.array, mapped)
            counts = sparse.csr_matrix((data, indices, indptr), shape=tuple(about["shape"]))
            counts.check_format(full_check=True)
            return cls(counts, library, int(about["first"]), str(about["plan"]))
        # The header of a .npy is Python text, and its tokenizer has errors of its own.
        except (OSError, EOFError, ValueError, LookupError, TypeError, OverflowError, TokenError) as error:
            raise ArtefactError(
                f"is no shard of simulated cells ({type(error).__name__}: {error})",
                where=str(directory),
                remedy="give a directory that `genesim simulate --shard` wrote",
            ) from error


def gather_cells(
    shards: Iterable[CellShard], plan: str, n_cells: int
) -> tuple[sparse.csr_matrix, Float[np.ndarray, " cell"]]:
    """Counts and library sizes of all cells. Shards that only an iterator holds go as they are gathered.

    Raises:
        ArtefactError: A shard was drawn from another plan, is lacking, or stands twice.
    """
    remedy = "draw every shard once, with the scenario, seed, models and genotype parts that are given here"
    found = list(shards)
    if any(shard.plan != plan for shard in found):
        raise ArtefactError("a shard of cells was drawn from another plan", where="simulate", remedy=remedy)
    ordered = sorted((s for s in found if s.counts.shape[0]), key=lambda shard: shard.first)
    ends = [0, *(shard.first + shard.counts.shape[0] for shard in ordered)]
    if [shard.first for shard in ordered] != ends[:-1] or ends[-1] != n_cells:
        raise ArtefactError(
            f"the shards do not make {n_cells} cells: one is lacking or stands twice", where="simulate", remedy=remedy
        )
    counts, library = [s.counts for s in ordered], np.concatenate([s.library for s in ordered])
    del found, ordered
    return stack_rows(counts), library

"""Count matrices of every storage, read as blocks of CSR rows: nothing large is ever made dense.

A node is what holds a matrix: a NumPy array, a SciPy sparse matrix, an HDF5 data set or Zarr array (dense), a
group of either (CSR or CSC as anndata writes them), or a `BackedView`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import zarr
from scipy import sparse

from genesim.data.preflight_h5ad import worded
from genesim.errors import H5adError

_BLOCK_BYTES = 64 * 2**20  # of a dense block
_STACK_VALUES = 2**24
_REMEDY = "make the file again with anndata; its sparse arrays contradict each other"


@dataclass(frozen=True)
class BackedView:
    """Chosen rows and columns, in their order, of a node on disk."""

    base: Any
    rows: np.ndarray
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)


def is_compressed(node: Any) -> bool:
    """Whether `node` is a group of a file holding a CSR or CSC matrix."""
    return isinstance(node, h5py.Group | zarr.Group) and {"data", "indices", "indptr"} <= set(node)


def shape_of(node: Any, where: str) -> tuple[int, int]:
    """`(n_cells, n_genes)` of a node.

    Raises:
        H5adError: It is no matrix, or is of a kind that cannot be read in place.
    """
    if is_compressed(node):
        shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    elif isinstance(node, np.ndarray | h5py.Dataset | zarr.Array | BackedView) or sparse.issparse(node):
        shape = node.shape
    else:
        kind = "group" if isinstance(node, h5py.Group | zarr.Group) else type(node).__name__
        raise H5adError(
            f"holds a {kind}, not a matrix of counts",
            where=where,
            remedy="give a dense or sparse matrix in memory (adata.to_memory()) or an h5ad",
        )
    if shape is None or len(shape) != 2:
        raise H5adError("is not a matrix (cells x genes)", where=where, remedy="choose another layer")
    return int(shape[0]), int(shape[1])


def _major(node: h5py.Group | zarr.Group) -> str:
    text = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))
    text = text.decode() if isinstance(text, bytes) else str(text)
    return text[:3]


def reads_by_rows(node: Any) -> bool:
    """Whether `node` lies on disk in a layout of which single rows can be read."""
    if isinstance(node, BackedView):
        return reads_by_rows(node.base)
    return isinstance(node, h5py.Dataset | zarr.Array) or (is_compressed(node) and _major(node) == "csr")


def is_sparse(node: Any) -> bool:
    """Whether `node` lies on disk as a sparse matrix, or is a view of one that does."""
    return is_sparse(node.base) if isinstance(node, BackedView) else is_compressed(node)


def load_bytes(node: Any, where: str) -> int:
    """Memory, in bytes, that reading `node` as int32 CSR takes at its peak.

    For a dense node it is one block: what its non-zeros take is known only as they are read.
    """
    n_cells, n_genes = shape_of(node, where)
    if isinstance(node, BackedView):
        return load_bytes(node.base, where)
    if is_compressed(node):
        n_values = int(node["data"].size or 0)
        if _major(node) == "csr":  # read and checked a block at a time
            return 8 * n_values + 16 * n_cells
        return n_values * (node["data"].dtype.itemsize + node["indices"].dtype.itemsize + 16) + 16 * n_cells
    if sparse.issparse(node):
        return int(node.nnz) * 8 + 16 * n_cells
    return min(_BLOCK_BYTES, n_cells * n_genes * node.dtype.itemsize) + 16 * n_cells


def stored_values(node: Any, limit: int = 200_000) -> np.ndarray:
    """Up to about `limit` stored values of `node`, for a look at what it holds."""
    if isinstance(node, BackedView):
        return stored_values(node.base, limit)
    if is_compressed(node):
        return np.asarray(node["data"][:limit])
    if sparse.issparse(node):
        return np.asarray(node.data[:limit])
    return np.asarray(node[: max(1, limit // max(node.shape[1], 1))]).ravel()


def check_starts(
    n_values: int, n_indices: int, index_dtype: np.dtype, indptr: np.ndarray, n_major: int, where: str
) -> None:
    """Check what a CSR (major = row) or CSC (major = column) matrix says of where its rows or columns begin.

    Raises:
        H5adError: Lengths differ or `indptr` decreases; SciPy would read outside its arrays.
    """
    problem = None
    if index_dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
        problem = "sparse indices are not integers"
    elif len(indptr) != n_major + 1:
        problem = f"indptr has {len(indptr)} entries where {n_major + 1} are needed"
    elif n_indices != n_values:
        problem = f"{n_indices} indices for {n_values} values"
    elif int(indptr[0]) != 0 or int(indptr[-1]) != n_values:
        problem = f"indptr runs from {int(indptr[0])} to {int(indptr[-1])}, not from 0 to {n_values}"
    elif n_major and (indptr[1:] < indptr[:-1]).any():
        problem = f"indptr decreases at position {int(np.argmax(indptr[1:] < indptr[:-1])) + 1}"
    if problem:
        raise H5adError(problem, where=where, remedy=_REMEDY)


def check_indices(indices: np.ndarray, n_minor: int, where: str) -> None:
    """Check that sparse indices lie inside the matrix.

    Raises:
        H5adError: One does not; SciPy would read or write memory outside its arrays.
    """
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= n_minor):
        bad = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
        raise H5adError(f"sparse index {bad} lies outside 0..{n_minor - 1}", where=where, remedy=_REMEDY)


def _checked(node: Any, where: str) -> sparse.spmatrix:
    """A compressed node as a SciPy matrix over checked arrays (values not copied where in memory)."""
    n_cells, n_genes = shape_of(node, where)
    if is_compressed(node):
        data, indices, indptr = (np.asarray(node[part][:]) for part in ("data", "indices", "indptr"))
        kind = _major(node)
    else:
        data, indices, indptr, kind = node.data, node.indices, node.indptr, node.format
    if kind not in ("csr", "csc") or data.ndim != 1:
        raise H5adError(f"unknown sparse layout '{kind}'", where=where, remedy=_REMEDY)
    by_row = kind == "csr"
    n_major, n_minor = (n_cells, n_genes) if by_row else (n_genes, n_cells)
    check_starts(len(data), len(indices), indices.dtype, indptr, n_major, where)
    check_indices(indices, n_minor, where)
    build = sparse.csr_matrix if by_row else sparse.csc_matrix
    return build((data, indices, indptr), shape=(n_cells, n_genes))


class RowReader:
    """Reads ranges of rows of a dense or CSR matrix on disk, as stored; indices are checked on every read.

    Attributes:
        shape: `(n_cells, n_genes)`.
        begins: Stored values before each row, and in all (CSR's indptr), which stays in memory.

    Raises:
        H5adError: The matrix lies in memory or by columns, or its row starts contradict it.
    """

    def __init__(self, node: Any, where: str) -> None:
        self.shape = shape_of(node, where)
        if not reads_by_rows(node):
            raise H5adError(
                "cannot be read cell by cell: it is in memory or stored by genes (CSC)",
                where=where,
                remedy="give an h5ad or Zarr store whose counts are CSR or dense, or read it whole (stream=False)",
            )
        self._node, self._where = node, where
        n_cells, n_genes = self.shape
        if is_compressed(node):
            # Opening an array of a Zarr group takes longer than reading a piece of it: once is enough.
            self._data, self._indices = node["data"], node["indices"]
            self.begins = np.asarray(node["indptr"][:])
            n_values, n_indices = self._data.shape[0], self._indices.shape[0]
            check_starts(n_values, n_indices, self._indices.dtype, self.begins, n_cells, where)
            self.begins = self.begins.astype(np.int64)
        else:
            self._data, self._indices = node, None
            self.begins = np.arange(n_cells + 1, dtype=np.int64) * n_genes

    def read(self, first: int, last: int) -> sparse.csr_matrix:
        """Rows `first` to `last` (not included) as CSR of the stored type."""
        if self._indices is None:
            with worded(self._where):
                return sparse.csr_matrix(np.asarray(self._data[first:last]))
        starts = self.begins[first : last + 1]
        piece = slice(int(starts[0]), int(starts[-1]))
        with worded(self._where):
            data, indices = np.asarray(self._data[piece]), np.asarray(self._indices[piece])
        check_indices(indices, self.shape[1], self._where)
        starts = (starts - starts[0]).astype(np.int32)
        return sparse.csr_matrix((data, indices.astype(np.int32, copy=False), starts), (last - first, self.shape[1]))


def _view(node: BackedView, where: str) -> sparse.csr_matrix:
    """The chosen rows and columns, read in the order of the file and then put in theirs."""
    order = np.argsort(node.rows, kind="stable")
    ascending = node.rows[order]
    parts = []
    for first, block in csr_blocks(node.base, where):
        low, high = np.searchsorted(ascending, [first, first + block.shape[0]])
        parts.append(block[ascending[low:high] - first][:, node.columns])
    return sparse.vstack(parts, format="csr")[np.argsort(order, kind="stable")]


def csr_blocks(node: Any, where: str) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Yield `(first row, block of rows as CSR)` until all rows are read; blocks may share `node`'s arrays.

    Raises:
        H5adError: The node is no matrix or its sparse arrays are inconsistent.
    """
    n_cells, n_genes = shape_of(node, where)
    if isinstance(node, BackedView):
        yield 0, _view(node, where)
        return
    if is_compressed(node) or (sparse.issparse(node) and node.format in ("csr", "csc")):
        yield 0, _checked(node, where).tocsr()
        return
    if sparse.issparse(node):
        yield 0, node.tocsr()
        return
    n_rows = max(1, _BLOCK_BYTES // max(n_genes * node.dtype.itemsize, 1))
    for first in range(0, n_cells, n_rows):
        yield first, sparse.csr_matrix(node[first : min(first + n_rows, n_cells)])


def gather_rows(parts: Iterable[sparse.csr_matrix]) -> sparse.csr_matrix:
    """Parts (one or more, CSR of the same columns) below each other, in hardly more memory than the result takes.

    Small arrays that are freed stay with the C library, large ones go back to the system: so parts are first gathered
    to blocks of some 64 MiB an array, and these then copied one by one.
    """
    blocks: list[sparse.csr_matrix] = []
    pending: list[sparse.csr_matrix] = []
    n_values = 0
    for part in parts:
        pending.append(part)
        n_values += part.nnz
        if n_values >= _STACK_VALUES:
            blocks.append(stack_rows(pending))
            n_values = 0
    blocks += pending
    pending.clear()
    return stack_rows(blocks)


def stack_rows(parts: list[sparse.csr_matrix]) -> sparse.csr_matrix:
    """Parts (one or more, CSR of the same columns) below each other, as `scipy.sparse.vstack` gives them.

    The list is emptied, each part going as it is copied: half the memory where nobody else holds them.
    """
    n_rows, n_values = sum(part.shape[0] for part in parts), sum(part.nnz for part in parts)
    kind = np.result_type(*(part.dtype for part in parts))
    data, indices = np.empty(n_values, kind), np.empty(n_values, np.int32)
    begins, n_columns = np.empty(n_rows + 1, np.int64), parts[0].shape[1]
    row, end = n_rows, n_values
    begins[row] = end
    while parts:
        part = parts.pop()
        first, at = row - part.shape[0], end - part.nnz
        data[at:end], indices[at:end] = part.data, part.indices
        begins[first:row] = at + part.indptr[:-1].astype(np.int64)
        row, end = first, at
    return sparse.csr_matrix((data, indices, begins), shape=(n_rows, n_columns))

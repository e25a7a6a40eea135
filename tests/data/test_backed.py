"""Counts on disk: the same as in memory, whatever holds them, and the same clear errors."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from genesim.data import backed, expression
from genesim.data.backed import BackedCounts, blocks_of
from genesim.data.backed_stream import CHUNK, BackedStream
from genesim.data.expression import Cells, open_expression, read_expression
from genesim.data.stream import ArrayStream, Stream
from genesim.errors import H5adError, InputError
from genesim.types import Condition, SparseRows

N_CELLS, N_GENES = 700, 40


def counts(n: int = N_CELLS, density: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(4)
    found = random.poisson(3.0, (n, N_GENES)) * (random.random((n, N_GENES)) < density)
    found[:, 0] = 1 + np.arange(n) % 5  # every cell has a count ...
    found[[3, 100, n - 1]] = 0  # ... save these
    return found


def write(path: Path, layout: str = "csr", n: int = N_CELLS) -> Path:
    """An h5ad or a Zarr store, by suffix."""
    dense = counts(n).astype(np.float32)
    x = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[layout](dense)
    obs = pd.DataFrame({"kind": np.where(np.arange(n) % 2, "B", "T")}, index=[f"c{i}" for i in range(n)])
    cells = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))
    if path.suffix == ".zarr":
        with ad.settings.override(zarr_write_format=3):
            cells.write_zarr(path)
    else:
        cells.write_h5ad(path, compression="gzip")
    return path


def condition(n: int) -> Condition:
    rows = np.arange(n)
    return Condition(rows[:, None].astype(np.int32), rows[:, None] / 10, np.log1p(rows))


def dense_of(values: SparseRows | np.ndarray) -> np.ndarray:
    return np.asarray(values.dense() if isinstance(values, SparseRows) else values)


def same_cells(a: Cells, b: ad.AnnData) -> None:
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    found = a.counts[np.arange(a.counts.shape[0])]
    assert found.dtype == np.int32
    assert (found != b.X).nnz == 0
    assert found.has_canonical_format
    np.testing.assert_array_equal(a.library_size, np.asarray(b.X.sum(axis=1)).ravel())


@pytest.mark.parametrize(
    ("suffix", "layout"), [(".h5ad", "csr"), (".h5ad", "dense"), (".zarr", "csr"), (".zarr", "dense")]
)
def test_counts_on_disk_are_those_in_memory(tmp_path, monkeypatch, suffix, layout) -> None:
    monkeypatch.setattr(backed, "_BLOCK_VALUES", 500)
    path = write(tmp_path / f"a{suffix}", layout)
    whole = read_expression(path, labels_key="kind")
    assert whole.n_obs == N_CELLS - 3
    with open_expression(path, labels_key="kind", stream=True) as cells:
        assert isinstance(cells.counts, BackedCounts)
        same_cells(cells, whole)
        random = np.random.default_rng(0)
        for rows in (random.permutation(697)[:90], np.array([5, 5, 2]), np.array([696]), np.arange(0)):
            assert (cells.counts[rows] != whole.X[rows]).nnz == 0
            assert cells.counts[rows].shape == (len(rows), N_GENES)
        chosen = cells.counts.select(np.array([9, 4, 300]))
        assert (chosen[np.array([2, 0])] != whole.X[[300, 9]]).nnz == 0
        for a, b in zip(blocks_of(cells.counts), blocks_of(whole.X), strict=True):
            assert a[0] == b[0]
            assert (a[1] != b[1]).nnz == 0


def test_a_view_of_a_backed_anndata_keeps_its_rows_and_columns(tmp_path) -> None:
    cells = ad.read_h5ad(write(tmp_path / "a.h5ad"), backed="r")
    view = cells[[7, 600, 2, 50], [0, 30, 5]]
    with open_expression(view, stream=True) as found:
        same_cells(found, read_expression(view))
        assert found.counts[np.array([0])].toarray().tolist() == counts()[[7]][:, [0, 30, 5]].tolist()


def test_a_zarr_store_is_read_like_an_h5ad(tmp_path) -> None:
    a, b = read_expression(write(tmp_path / "a.h5ad")), read_expression(write(tmp_path / "a.zarr"))
    assert (a.X != b.X).nnz == 0
    pd.testing.assert_frame_equal(a.obs, b.obs)
    zarr.open_group(tmp_path / "b.zarr", mode="w")
    with pytest.raises(H5adError, match="no obs and no var"):
        read_expression(tmp_path / "b.zarr")


def test_the_size_decides_where_counts_stay(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.h5ad")
    with open_expression(path) as cells:
        assert sparse.issparse(cells.counts)
    monkeypatch.setattr(expression, "STREAM_BYTES", 1000)
    with open_expression(path) as cells:
        assert isinstance(cells.counts, BackedCounts)
    for form in (write(tmp_path / "c.h5ad", "csc"), ad.read_h5ad(path)):
        with open_expression(form) as cells:
            assert sparse.issparse(cells.counts)
        with pytest.raises(H5adError, match=r"cell by cell.*CSR"), open_expression(form, stream=True):
            pass


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.5, r"fractional.*0.5 in cell 'c650', gene 'g0'"), (-1.0, "negative"), (np.nan, "NaN")],
)
def test_what_is_no_count_is_found_in_any_block(tmp_path, monkeypatch, value, message) -> None:
    monkeypatch.setattr(backed, "_BLOCK_VALUES", 500)
    path = write(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/data"][int(file["X/indptr"][650])] = value
    with pytest.raises(H5adError, match=message), open_expression(path, stream=True):
        pass


def test_contradicting_sparse_arrays_are_refused(tmp_path) -> None:
    path = write(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/indices"][1000] = N_GENES
    with pytest.raises(H5adError, match=f"index {N_GENES} lies outside"), open_expression(path, stream=True):
        pass
    path = write(tmp_path / "b.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/indptr"][5] = 0
    with pytest.raises(H5adError, match="indptr decreases"), open_expression(path, stream=True):
        pass


def streams(cells: Cells, size: int, seed: int = 0, per_buffer: int | None = 1) -> BackedStream:
    n = cells.counts.shape[0]
    return BackedStream(cells.counts, condition(n), size, seed, "t", per_buffer)


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_every_cell_is_seen_once_an_epoch_and_joined_to_its_condition(tmp_path, suffix) -> None:
    path = write(tmp_path / f"a{suffix}")
    whole = read_expression(path).X.toarray()
    n, size = len(whole), 50
    with open_expression(path, stream=True) as cells:
        stream = streams(cells, size)
        assert isinstance(stream, Stream)
        assert stream.n_examples == n > 2 * CHUNK
        steps = [stream(step) for step in range(2 * n // size + 1)]
        rows = np.concatenate([stream.rows(step) for step in range(len(steps))])
        for step, minibatch in enumerate(steps):
            at = stream.rows(step)
            np.testing.assert_array_equal(dense_of(minibatch.values), whole[at])
            np.testing.assert_array_equal(minibatch.condition.categories[:, 0], at)
            assert minibatch.weight.tolist() == [1.0] * size
        assert (np.sort(rows[:n]) == np.arange(n)).all()
        assert (np.sort(rows[n : 2 * n]) == np.arange(n)).all()
        assert (rows[:n] != rows[n : 2 * n]).any()
        shapes = {tuple(leaf.shape for leaf in (m.values.data, m.values.starts)) for m in steps}
        assert len(shapes) == 1
        stream.close()


def test_a_step_is_a_function_of_seed_and_number(tmp_path) -> None:
    with open_expression(write(tmp_path / "a.h5ad"), stream=True) as cells:
        walked = streams(cells, 64)
        forward = [dense_of(walked(step).values) for step in range(40)]
        for step in (39, 0, 17, 4, 11):
            np.testing.assert_array_equal(dense_of(streams(cells, 64)(step).values), forward[step])
        assert (walked.rows(0) != streams(cells, 64, seed=1).rows(0)).any()
        prints = [
            streams(cells, 64).fingerprint,
            streams(cells, 64, seed=1).fingerprint,
            streams(cells, 32).fingerprint,
            streams(cells, 64, per_buffer=2).fingerprint,
        ]
        assert len(set(prints)) == 4
        assert streams(cells, 64).fingerprint == prints[0]
    path = write(tmp_path / "b.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/data"][0] += 1
    with open_expression(path, stream=True) as cells:
        assert streams(cells, 64).fingerprint != prints[0]


def test_buffers_mix_chunks_and_a_file_sorted_by_type_gives_mixed_minibatches(tmp_path) -> None:
    """Read in the order of the file, a minibatch holds one chunk's cells; mixed, about a third of each."""
    with open_expression(write(tmp_path / "a.h5ad"), stream=True) as cells:
        of_chunk = [np.bincount(streams(cells, 60, per_buffer=k).rows(0) // CHUNK, minlength=3) for k in (1, 3)]
        assert (of_chunk[0] > 0).sum() == 1
        assert (of_chunk[1] > 10).all()


def test_what_fits_one_buffer_has_the_order_of_the_stream_in_memory(tmp_path) -> None:
    path = write(tmp_path / "a.h5ad")
    whole = read_expression(path).X
    in_memory = ArrayStream(whole, condition(whole.shape[0]), 48, 3, "t")
    with open_expression(path, stream=True) as cells:
        on_disk = streams(cells, 48, seed=3, per_buffer=None)
        for step in (0, 20, 14):
            assert (on_disk.rows(step) == in_memory.rows(step)).all()
            np.testing.assert_array_equal(dense_of(on_disk(step).values), dense_of(in_memory(step).values))
        for a, b in zip(on_disk.ordered(), in_memory.ordered(), strict=True):
            np.testing.assert_array_equal(dense_of(a.values), dense_of(b.values))
            np.testing.assert_array_equal(a.weight, b.weight)
        assert {m.values.data.shape for m in on_disk.ordered()} == {on_disk(0).values.data.shape}


def test_bad_sizes_are_refused(tmp_path) -> None:
    with open_expression(write(tmp_path / "a.h5ad"), stream=True) as cells:
        with pytest.raises(InputError, match="has 5 rows"):
            BackedStream(cells.counts, condition(5), 8, 0)
        with pytest.raises(InputError, match="minibatch_size is 0"):
            streams(cells, 0)

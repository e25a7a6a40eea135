"""Files that are damaged or hostile end in a typed error, before anything is read through them."""

from __future__ import annotations

import gzip
import os

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.data.expression import read_expression
from genesim.errors import GenesimError, H5adError


@pytest.fixture
def path(tmp_path):
    counts = sparse.csr_matrix(np.random.default_rng(1).poisson(1.0, (30, 8)).astype(np.float32) + np.eye(30, 8))
    target = tmp_path / "a.h5ad"
    ad.AnnData(
        sparse.csr_matrix(counts + sparse.csr_matrix(np.ones((30, 8)))),
        obs=pd.DataFrame({"donor": ["d"] * 30}, index=[f"c{i}" for i in range(30)]),
    ).write_h5ad(target)
    return target


def test_whole_file_reads(path):
    assert read_expression(path).shape == (30, 8)


def test_absent_empty_directory_and_other_formats(tmp_path, path):
    with pytest.raises(H5adError, match="does not exist"):
        read_expression(tmp_path / "none.h5ad")
    with pytest.raises(H5adError, match="is a directory"):
        read_expression(tmp_path)
    (tmp_path / "empty.h5ad").touch()
    with pytest.raises(H5adError, match="empty"):
        read_expression(tmp_path / "empty.h5ad")
    (tmp_path / "z.h5ad").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(H5adError, match="gzipped"):
        read_expression(tmp_path / "z.h5ad")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["matrix"] = [1]
    with pytest.raises(H5adError, match="has no obs and no var"):
        read_expression(tmp_path / "other.h5ad")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_truncated(path, share):
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(H5adError, match="truncated"):
        read_expression(path)


def test_external_link_is_refused_also_when_backed(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["passwords"] = [1]
    backed = ad.read_h5ad(path, backed="r")
    backed.file.close()
    with h5py.File(path, "a") as file:
        file["uns/leak"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "passwords")
    with pytest.raises(H5adError, match=r"'/uns/leak' is an external link"):
        read_expression(path)
    with pytest.raises(H5adError, match="external link"):
        read_expression(backed)


def test_virtual_and_external_storage_are_refused(path, tmp_path):
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["v"] = np.arange(5)
    layout = h5py.VirtualLayout(shape=(5,), dtype="i8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "v", shape=(5,))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("uns/v", layout)
    with pytest.raises(H5adError, match="virtual data set"):
        read_expression(path)
    with h5py.File(path, "a") as file:
        del file["uns/v"]
        file.create_dataset("uns/raw", shape=(4,), dtype="u1", external=[(str(tmp_path / "bytes"), 0, 4)])
    with pytest.raises(H5adError, match="keeps its values outside"):
        read_expression(path)


def test_cycle_of_hard_links_ends(path):
    with h5py.File(path, "a") as file:
        file["uns/again"] = file["/"]
        file["uns/soft"] = h5py.SoftLink("/uns")
    assert read_expression(path).shape == (30, 8)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            "indices",
            lambda v: np.where(np.arange(len(v)) == 3, 8 if v.max() == 7 else 30, v),
            r"index 8 lies outside 0\.\.7",
        ),
        ("indices", lambda v: np.where(np.arange(len(v)) == 3, -1, v), "index -1 lies outside"),
        ("indices", lambda v: v[:-1], "239 indices for 240 values"),
        ("indptr", lambda v: v[:-1], "indptr has 30 entries where 31"),
        ("indptr", lambda v: np.r_[v[:4], 10**9, v[5:]], "indptr decreases at position 5"),
        ("indptr", lambda v: np.r_[v[:-1], 10**9], "runs from 0 to 1000000000"),
        ("indptr", lambda v: np.r_[8, v[1:]], "runs from 8"),
        ("indices", lambda v: v.astype(np.float32), "not integers"),
    ],
)
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_sparse_arrays_that_contradict_each_other(path, part, change, message, kind):
    if kind == "csc":
        adata = ad.read_h5ad(path)
        adata.X = adata.X.tocsc()
        adata.write_h5ad(path)
        # Rows and columns change places: 8 columns, indices up to 29.
        message = message.replace(r"index 8 lies outside 0\.\.7", r"index 30 lies outside 0\.\.29")
        message = message.replace("has 30 entries where 31", "has 8 entries where 9")
    with h5py.File(path, "a") as file:
        values = file["X"][part][:]
        del file["X"][part]
        file["X"][part] = change(values)
    with pytest.raises(H5adError, match=message):
        read_expression(path)
    if kind == "csr" and part == "indices" and "outside" in message:
        backed = ad.read_h5ad(path, backed="r")
        for form in (backed, backed[:10]):
            with pytest.raises(H5adError, match="outside"):
                read_expression(form)
        backed.file.close()


def test_bad_indices_in_memory_are_refused(path):
    adata = ad.read_h5ad(path)
    adata.X.indices[5] = 10**6
    with pytest.raises(H5adError, match="lies outside"):
        read_expression(adata)


def test_wrong_number_of_names(path):
    with h5py.File(path, "a") as file:
        index = file["var"].attrs["_index"]
        del file["var"][index]
        names = file["var"].create_dataset(index, data=["a", "b"], dtype=h5py.string_dtype())
        names.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    with pytest.raises(H5adError, match="30 x 8 but there are 30 cells and 2 genes"):
        read_expression(path)


def test_flipped_bytes_end_in_a_typed_error_or_a_valid_result(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            read = read_expression(path, max_bytes=10**8)
        except GenesimError:
            failures += 1
        else:
            assert read.X.dtype == np.int32
            assert (read.X.data > 0).all()
    assert failures > 0

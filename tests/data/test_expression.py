from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from genesim.data import matrix as matrix_module
from genesim.data.expression import REPORT_KEY, read_expression
from genesim.errors import H5adError, ResourceError


def make(n_cells=12, n_genes=7, seed=0, kind=sparse.csr_matrix, dtype=np.float32):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.8, (n_cells, n_genes))
    counts[:, 0] += 1  # no empty cell unless a test makes one
    obs = pd.DataFrame(
        {"donor": rng.choice(["d1", "d2", "d3"], n_cells), "age": rng.normal(size=n_cells)},
        index=[f"c{i}" for i in range(n_cells)],
    )
    obs["cell_type"] = pd.Categorical(rng.choice(["B", "T"], n_cells))
    var = pd.DataFrame({"contig": "22"}, index=[f"g{i}" for i in range(n_genes)])
    values = counts.astype(dtype)
    return ad.AnnData(kind(values) if kind else values, obs=obs, var=var), counts


def same(one: ad.AnnData, other: ad.AnnData) -> None:
    assert (one.X != other.X).nnz == 0
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    assert one.uns[REPORT_KEY] == other.uns[REPORT_KEY]


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, None])
@pytest.mark.parametrize("in_layer", [False, True])
def test_every_form_reads_the_same(tmp_path, kind, in_layer):
    adata, counts = make(kind=kind)
    layer = None
    if in_layer:
        adata.layers["counts"] = adata.X.copy()
        adata.X = np.log1p(counts.astype(np.float32))
        layer = "counts"
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    before = path.read_bytes()
    backed = ad.read_h5ad(path, backed="r")
    keys = {"layer": layer, "donor_key": "donor", "labels_key": "cell_type", "covariate_keys": ("age",)}
    from_memory = read_expression(adata, **keys)
    for form in (path, str(path), backed, adata[:, :], backed[:, :]):
        same(from_memory, read_expression(form, **keys))
    backed.file.close()
    assert path.read_bytes() == before
    X = from_memory.X
    assert sparse.isspmatrix_csr(X)
    assert X.dtype == np.int32
    assert X.has_canonical_format
    np.testing.assert_array_equal(X.toarray(), counts)
    assert list(from_memory.obs["donor"].cat.categories) == ["d1", "d2", "d3"]
    assert from_memory.obs_names.dtype == object
    np.testing.assert_allclose(from_memory.obs["age"], adata.obs["age"])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, None])
@pytest.mark.parametrize("block_bytes", [64 * 2**20, 5 * 7 * 4])
def test_a_subset_view_reads_its_cells_and_genes_in_its_order(tmp_path, monkeypatch, kind, block_bytes):
    monkeypatch.setattr(matrix_module, "_BLOCK_BYTES", block_bytes)
    adata, counts = make(kind=kind)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    rows, columns = [7, 2, 3], [5, 0, 1]
    for form in (adata[rows][:, columns], adata[rows, columns], backed[rows, columns]):
        read = read_expression(form)
        np.testing.assert_array_equal(read.X.toarray(), counts[rows][:, columns])
        assert list(read.obs_names) == ["c7", "c2", "c3"]
        assert list(read.var_names) == ["g5", "g0", "g1"]
    backed.file.close()


def test_dense_is_read_in_blocks(monkeypatch, tmp_path):
    adata, counts = make(n_cells=50, kind=None)
    adata.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(matrix_module, "_BLOCK_BYTES", 7 * 4 * 4)  # four cells a block
    read = read_expression(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(read.X.toarray(), counts)
    adata.X[41, 3] = 0.5
    with pytest.raises(H5adError, match=r"fractional; first: 0.5 in cell 'c41', gene 'g3'"):
        read_expression(adata)


def test_input_is_not_changed_and_not_shared():
    adata, counts = make()
    adata.obs["donor"] = adata.obs["donor"].astype("category")
    obs, var = adata.obs.copy(), adata.var.copy()
    read = read_expression(adata, donor_key="donor")
    read.X.data[:] = 9
    read.obs["donor"] = "x"
    read.var["contig"] = "x"
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    pd.testing.assert_frame_equal(adata.obs, obs)
    pd.testing.assert_frame_equal(adata.var, var)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_written_and_read_is_equal(tmp_path, data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 5)))
    size = shape[0] * shape[1]
    values = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 70_000]), min_size=size, max_size=size))
    counts = np.array(values).reshape(shape)
    kind = data.draw(st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.int64, np.uint32]))
    names = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=6)
    cells = data.draw(st.lists(names, min_size=shape[0], max_size=shape[0], unique=True))
    genes = data.draw(st.lists(names, min_size=shape[1], max_size=shape[1], unique=True))
    adata = ad.AnnData(kind(counts.astype(dtype)), obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=genes))
    path = tmp_path / "random.h5ad"
    adata.write_h5ad(path)
    kept = counts.sum(1) > 0
    if not kept.any():
        with pytest.raises(H5adError, match="no cell has any count"):
            read_expression(path)
        return
    read = read_expression(path)
    np.testing.assert_array_equal(read.X.toarray(), counts[kept])
    assert list(read.obs_names) == [c for c, k in zip(cells, kept) if k]
    assert list(read.var_names) == genes
    assert read.uns[REPORT_KEY]["n_cells_without_counts"] == (~kept).sum()
    assert read.uns[REPORT_KEY]["n_genes_without_counts"] == (counts.sum(0) == 0).sum()


def test_empty_cells_go_and_empty_genes_stay():
    adata, _ = make()
    X = adata.X.toarray()
    X[3] = 0
    X[:, 4] = 0
    adata.X = sparse.csr_matrix(X)
    adata.obs["donor"] = "a"
    adata.obs.loc["c3", "donor"] = "only_here"
    read = read_expression(adata, donor_key="donor")
    assert read.shape == (11, 7)
    assert "c3" not in read.obs_names
    assert list(read.obs["donor"].cat.categories) == ["a"]
    assert read.uns[REPORT_KEY] == {
        "layer": "X",
        "n_cells_read": 12,
        "n_cells_without_counts": 1,
        "n_genes": 7,
        "n_genes_without_counts": 1,
    }


@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nan, "NaN"), (np.inf, "infinite"), (-2, "negative"), (0.5, "fractional"), (3e9, "32-bit")],
)
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, None])
def test_values_that_are_no_counts_are_named(value, word, kind):
    adata, _ = make(kind=kind, dtype=np.float64)
    X = adata.X if kind is None else adata.X.toarray()
    X[5, 2] = value
    adata.X = X if kind is None else kind(X)
    with pytest.raises(H5adError, match=word) as caught:
        read_expression(adata)
    assert "cell 'c5', gene 'g2'" in str(caught.value)
    assert "no layer of this data holds any" in str(caught.value)


def test_the_layer_that_holds_integers_is_named(tmp_path):
    adata, counts = make()
    whole = adata.copy()
    adata.X = np.log1p(adata.X)
    adata.layers["scaled"] = adata.X * 0.3
    adata.layers["umi"] = whole.X.copy()
    adata.raw = whole
    adata.write_h5ad(tmp_path / "a.h5ad")
    for form in (adata, tmp_path / "a.h5ad"):
        with pytest.raises(H5adError, match=r"counts are in layer='umi' or layer='raw'"):
            read_expression(form)
        with pytest.raises(H5adError, match=r"layer 'scaled'"):
            read_expression(form, layer="scaled")
        np.testing.assert_array_equal(read_expression(form, layer="raw").X.toarray(), counts)
    whole.layers["log"] = np.log1p(whole.X)
    with pytest.raises(H5adError, match=r"counts are in X \(layer=None\)"):
        read_expression(whole, layer="log")
    with pytest.raises(H5adError, match=r"no layer 'nope'; it holds: 'X', 'log'"):
        read_expression(whole, layer="nope")


def test_rounding_error_is_cast_to_the_nearest_integer():
    adata, counts = make(dtype=np.float64, kind=None)
    adata.X = adata.X * (1 + 1e-9)
    np.testing.assert_array_equal(read_expression(adata).X.toarray(), counts)


def test_keys_are_checked():
    adata, _ = make()
    with pytest.raises(H5adError, match=r"did you mean 'cell_type'"):
        read_expression(adata, labels_key="celltype")
    with pytest.raises(H5adError, match=r"columns of obs: 'donor', 'age', 'cell_type'"):
        read_expression(adata, batch_key="zzz")
    adata.obs.loc[["c2", "c4"], "cell_type"] = np.nan
    with pytest.raises(
        H5adError, match=r"'cell_type' of obs \(labels_key\) is missing in 2 of 12 cells \(first: cell 'c2'"
    ):
        read_expression(adata, labels_key="cell_type")
    read_expression(adata, donor_key="donor")  # an incomplete column that is not named does no harm
    adata.obs["age"] = adata.obs["age"].where(adata.obs_names != "c0", np.inf)
    with pytest.raises(H5adError, match=r"'age'.*missing in 1"):
        read_expression(adata, covariate_keys=("age",))


def test_numeric_donors_become_text():
    adata, _ = make(n_cells=4)
    adata.obs["donor"] = [691.0, 691.0, 7.0, 7.0]
    assert list(read_expression(adata, donor_key="donor").obs["donor"]) == ["691", "691", "7", "7"]


@pytest.mark.filterwarnings("ignore:.*names are not unique")
@pytest.mark.parametrize("axis", ["obs", "var"])
def test_duplicate_names_are_refused(axis):
    adata, _ = make()
    names = list(getattr(adata, f"{axis}_names"))
    names[1] = names[0]
    setattr(adata, f"{axis}_names", names)
    with pytest.raises(H5adError, match=f"more than once: '{names[0]}'"):
        read_expression(adata)


def test_wrong_kinds_of_input(tmp_path):
    with pytest.raises(H5adError, match="a list was given"):
        read_expression([1])
    with pytest.raises(H5adError, match="has no X"):
        read_expression(ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"])))
    with pytest.raises(H5adError, match="is empty"):
        read_expression(ad.AnnData(np.zeros((0, 3), np.float32)))


def test_memory_is_asked_before_reading(tmp_path):
    path = tmp_path / "huge.h5ad"
    with h5py.File(path, "w") as file:
        for axis, n in (("obs", 3), ("var", 2)):
            group = file.create_group(axis)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            group.attrs["column-order"] = np.array([], dtype=h5py.string_dtype())
            names = group.create_dataset("_index", data=[f"{axis}{i}" for i in range(n)], dtype=h5py.string_dtype())
            names.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        X = file.create_group("X")
        X.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [3, 2]})
        X.create_dataset("data", shape=(10**12,), dtype="f4", chunks=(10**6,))  # logical only: a few kB
        X.create_dataset("indices", shape=(10**12,), dtype="i4", chunks=(10**6,))
        X.create_dataset("indptr", data=[0, 1, 1, 10**12])
    assert path.stat().st_size < 100_000
    with pytest.raises(ResourceError, match="TiB"):
        read_expression(path)


def test_budget_holds_for_dense_as_it_is_read(monkeypatch):
    monkeypatch.setattr(matrix_module, "_BLOCK_BYTES", 400)
    adata = ad.AnnData(np.ones((1000, 10), np.float32))
    with pytest.raises(ResourceError):
        read_expression(adata, max_bytes=50_000)
    assert read_expression(adata, max_bytes=500_000).n_obs == 1000


def test_real_onek1k_reads(shared_data):
    path = shared_data / "expression" / "onek1k_40donors.h5ad"
    read = read_expression(path, donor_key="indiv", labels_key="cell_type")
    assert read.shape == (7811, 1000)
    assert read.X.dtype == np.int32
    assert read.obs["indiv"].nunique() == 40
    with pytest.raises(H5adError, match="fractional"):
        read_expression(shared_data / "paired" / "geuvadis_chr22.h5ad")

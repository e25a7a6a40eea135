from __future__ import annotations

import csv
import json
import time

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from genesim.data.write import write_csv, write_h5ad, write_parquet, write_tsv
from genesim.errors import H5adError, InputError, ResourceError
from genesim.provenance.record import Provenance

PROVENANCE = Provenance("simulate", 7, config={"n_cells": 3, "none": None}, inputs={"a": "00"}, synthetic=True)


def make() -> ad.AnnData:
    adata = ad.AnnData(
        sparse.csr_matrix(np.arange(6).reshape(3, 2).astype(np.int32)),
        obs=pd.DataFrame({"donor": pd.Categorical(["a", "b", "a"]), "x": [1.0, 2, 3]}, index=list("123")),
        var=pd.DataFrame({"contig": ["1", "2"]}, index=["g1", "g2"]),
        uns={"kept": np.arange(3)},
        obsm={"latent": np.ones((3, 2))},
    )
    adata.layers["log"] = adata.X.astype(np.float32)
    return adata


def test_h5ad_carries_its_provenance_and_everything_else(tmp_path):
    adata = make()
    adata.raw = adata
    path = write_h5ad(adata, tmp_path / "a.h5ad", PROVENANCE)
    assert "genesim" not in adata.uns
    read = ad.read_h5ad(path)
    assert bool(read.uns["genesim"]["synthetic"]) is True
    assert json.loads(read.uns["genesim"]["provenance"]) == json.loads(PROVENANCE.to_json())
    assert (read.X != adata.X).nnz == 0
    assert read.X.dtype == np.int32
    pd.testing.assert_frame_equal(read.obs, adata.obs)
    pd.testing.assert_frame_equal(read.var, adata.var)
    np.testing.assert_array_equal(read.obsm["latent"], adata.obsm["latent"])
    np.testing.assert_array_equal(read.uns["kept"], [0, 1, 2])
    assert (read.layers["log"] != adata.layers["log"]).nnz == 0
    assert (read.raw.X != adata.X).nnz == 0
    with h5py.File(path) as file:
        assert bool(file["uns/genesim/synthetic"][()]) is True


def test_same_content_same_bytes(tmp_path):
    writers = [
        (write_h5ad, "a"),
        (write_parquet, "b"),
        (write_tsv, "c"),
        (write_tsv, "c.gz"),
        (write_csv, "d"),
    ]

    def write(folder: str) -> list[bytes]:
        return [
            writer(make() if writer is write_h5ad else make().obs, tmp_path / folder / name, PROVENANCE).read_bytes()
            for writer, name in writers
        ]

    one = write("one")
    time.sleep(1.1)  # times are stored in whole seconds
    assert write("two") == one


def test_views_backed_and_arrow_strings_can_be_written(tmp_path):
    adata = make()
    path = write_h5ad(adata, tmp_path / "a.h5ad")
    backed = ad.read_h5ad(path, backed="r")
    assert ad.read_h5ad(write_h5ad(adata[[2, 0]], tmp_path / "v.h5ad")).obs_names.tolist() == ["3", "1"]
    assert ad.read_h5ad(write_h5ad(backed[:2], tmp_path / "b.h5ad")).n_obs == 2
    backed.file.close()
    adata.obs.index = pd.Index(["1", "2", "3"], dtype="string[pyarrow]")
    adata.obs["text"] = pd.array(["x", "y", "z"], dtype="string[pyarrow]")
    read = ad.read_h5ad(write_h5ad(adata, tmp_path / "s.h5ad"))
    assert list(read.obs["text"]) == ["x", "y", "z"]
    assert list(read.obs_names) == ["1", "2", "3"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_h5ad(make(), tmp_path / "a.h5ad")
    old = path.read_bytes()
    bad = make()
    bad.uns["thing"] = object()
    with pytest.raises(H5adError, match=r"cannot be written .*'thing'"):
        write_h5ad(bad, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError):
        write_h5ad(make(), tmp_path / "file" / "a.h5ad")


def test_parquet_has_an_ordinary_first_column_and_no_index(tmp_path):
    frame = pd.DataFrame(
        {"x": [1.5, np.nan], "kind": pd.Categorical(["b", "a"]), "text": ["", "é\t"], "flag": [True, False]},
        index=pd.Index(["g1", "g2"], name="gene"),
    )
    path = write_parquet(frame, tmp_path / "a.parquet", PROVENANCE)
    schema = pq.read_schema(path)
    assert schema.names == ["gene", "x", "kind", "text", "flag"]
    assert b"pandas" not in schema.metadata
    assert json.loads(schema.metadata[b"genesim"])["synthetic"] is True
    sidecar = json.loads((tmp_path / "a.parquet.provenance.json").read_text())
    assert sidecar == json.loads(PROVENANCE.to_json())
    pd.testing.assert_frame_equal(
        pd.read_parquet(path).set_index("gene"), frame, check_index_type=False, check_categorical=False
    )
    write_parquet(frame.reset_index(drop=True), path)
    assert pq.read_schema(path).names == ["x", "kind", "text", "flag"]


def test_tables_that_cannot_be_stored(tmp_path):
    with pytest.raises(InputError, match="repeated: 'a'"):
        write_parquet(pd.DataFrame([[1, 2]], columns=["a", "a"]), tmp_path / "a")
    with pytest.raises(InputError, match="both called 'a'"):
        write_tsv(pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="a")), tmp_path / "a")
    with pytest.raises(InputError, match="cannot be stored"):
        write_parquet(pd.DataFrame({"a": [1, "x", b"y"]}), tmp_path / "a")
    assert not list(tmp_path.iterdir())


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=5))
def test_tsv_is_lossless(tmp_path, rows):
    frame = pd.DataFrame(rows, columns=["text", "number"])
    path = write_tsv(frame, tmp_path / "a.tsv")
    read = pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"text": str}, float_precision="round_trip")
    assert read["text"].tolist() == frame["text"].tolist()
    assert read["number"].tolist() == frame["number"].tolist()


def test_csv_disarms_formulas_and_tsv_does_not(tmp_path):
    texts = ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "safe", "a=b", '=HYPERLINK("x,y")']
    frame = pd.DataFrame({"=name": texts, "number": [-1.5] * 8}, index=pd.Index([f"={i}" for i in range(8)]))
    frame["level"] = pd.Categorical(["=cmd"] * 8)
    with open(write_csv(frame, tmp_path / "a.csv"), newline="") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["index", "'=name", "number", "level"]
    assert [row[1] for row in rows] == [f"'{t}" if t[0] in "=+-@\t" else t for t in texts]
    assert rows[0] == ["'=0", "'=1+1", "-1.5", "'=cmd"]
    assert write_tsv(frame, tmp_path / "a.tsv").read_text().splitlines()[1] == "=0\t=1+1\t-1.5\t=cmd"

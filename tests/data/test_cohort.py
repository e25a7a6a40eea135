from __future__ import annotations

import dataclasses
import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.data.cis import CisIndex
from genesim.data.cohort import Cohort, assemble_cohort, load_cohort
from genesim.data.donors import join_donors
from genesim.data.expression import read_expression
from genesim.data.genotypes import Genotypes, StoredGenotypes
from genesim.data.names import plain_frame
from genesim.data.split import split_donors
from genesim.errors import ArtefactError, JoinError
from genesim.provenance.manifest import write_manifest
from genesim.provenance.record import Provenance

PROVENANCE = Provenance("prepare", 0, config={"held_out": 0.5})


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    donors_of_cells = np.repeat(["<b>p1</b>", "../p2", "p3", "g4"], 5)
    cells = ad.AnnData(
        sparse.csr_matrix(rng.poisson(1.0, (20, 3)).astype(np.int32) + 1),
        obs=pd.DataFrame({"indiv": donors_of_cells, "donor": "pool"}, index=[f"c{i}" for i in range(20)]),
        var=pd.DataFrame(index=["A", "B", "C"]),
    )
    names = [f"g{i}" for i in range(1, 9)]
    variants = pd.DataFrame(
        {
            "contig": ["21"] * 4 + ["../22"] * 3,
            "start": [500, 100, 300, 2_000_000, 5, 6, 7],
            "ref": "A",
            "alt": "T",
        },
        index=[f"v{i}" for i in range(7)],
    )
    genotypes = Genotypes(
        alleles=rng.integers(-1, 2, (7, 8, 2)).astype(np.int8),
        phased=rng.random((7, 8)) < 0.5,
        variants=plain_frame(variants),
        donors=pd.Index(names, dtype=object),
        contig_lengths={"21": 3_000_000, "../22": None},
        report={"n": 1},
    )
    table = pd.DataFrame(
        {"genotype_id": ["g7", "g2", "g3"], "ancestry": "YRI", "age": [40.0, np.nan, 41.0]},
        index=pd.Index(["<b>p1</b>", "../p2", "p3"], name="donor"),
    )
    donors = join_donors(donors_of_cells, names, table)
    donors["split"] = split_donors(donors, 0.5, seed=0)
    genes = pd.DataFrame(
        {
            "contig": ["21", "../22"],
            "start": [290, 5],
            "end": [400, 9],
            "strand": ["+", "-"],
            "tss": [290, 8],
        },
        index=["B", "A"],
    )
    return cells, genotypes, donors, genes


@pytest.fixture
def cohort(parts) -> Cohort:
    return assemble_cohort(*parts, donor_key="indiv", info={"n": np.int64(3), "names": ["a"]})


def test_assembling_renames_the_genotypes_to_the_cohorts_donors(parts, cohort):
    cells, genotypes, donors, _ = parts
    assert list(cohort.genotypes.donors) == list(donors.index)
    at = list(donors.index).index("<b>p1</b>")
    np.testing.assert_array_equal(cohort.genotypes.alleles[:, at], genotypes.alleles[:, 6])  # g7
    assert cohort.cells.obs["donor"].iloc[0] == "<b>p1</b>"
    assert cohort.cells.obs["donor_of_input"].iloc[0] == "pool"
    assert list(cells.obs.columns) == ["indiv", "donor"]  # the input is as it was
    assert cohort.genes.loc["C"].to_dict() == {
        "contig": "",
        "start": -1,
        "end": -1,
        "strand": ".",
        "tss": -1,
        "dealt": False,
    }
    assert cohort.genes.tss.tolist() == [8, 290, -1]
    assert cohort.genes.tss.dtype == np.int64


def test_split_parts_are_disjoint_and_complete(cohort):
    train, test = cohort.cells_of("train"), cohort.cells_of("test")
    assert train.n_obs + test.n_obs == cohort.cells.n_obs
    assert not set(train.obs["donor"]) & set(test.obs["donor"])
    assert set(train.obs["donor"]) <= set(cohort.donors_of("train").index)
    halves = [list(cohort.genotypes_of(side).donors) for side in ("train", "test")]
    assert sorted(halves[0] + halves[1]) == sorted(cohort.genotypes.donors)
    one = halves[1][0]
    np.testing.assert_array_equal(
        cohort.genotypes_of("test").alleles[:, 0],
        cohort.genotypes.alleles[:, list(cohort.genotypes.donors).index(one)],
    )


def same(one: Cohort, other: Cohort) -> None:
    pd.testing.assert_frame_equal(one.donors, other.donors)
    pd.testing.assert_frame_equal(one.genes, other.genes, check_names=False)
    assert (one.cells.X != other.cells.X).nnz == 0
    assert other.cells.X.dtype == np.int32
    pd.testing.assert_frame_equal(
        plain_frame(one.cells.obs), plain_frame(other.cells.obs), check_dtype=False, check_categorical=False
    )
    np.testing.assert_array_equal(one.genotypes.alleles, other.genotypes.alleles)
    np.testing.assert_array_equal(one.genotypes.phased, other.genotypes.phased)
    pd.testing.assert_frame_equal(
        plain_frame(one.genotypes.variants), plain_frame(other.genotypes.variants), check_names=False
    )
    assert list(one.genotypes.donors) == list(other.genotypes.donors)


def test_saved_and_loaded_is_equal_and_the_same_bytes(tmp_path, cohort):
    path = cohort.save(tmp_path / "cohort", PROVENANCE)
    loaded = load_cohort(path)
    same(cohort, loaded)
    assert loaded.info == {"n": 3, "names": ["a"]}
    assert {p.name for p in path.iterdir()} >= {
        "cells.h5ad",
        "genotypes",
        "donors.parquet",
        "genes.parquet",
        "cohort.json",
        "manifest.sha256",
    }
    assert json.loads((path / "cohort.json").read_text())["provenance"]["verb"] == "prepare"
    again = loaded.save(tmp_path / "again", PROVENANCE)
    same(cohort, load_cohort(again))
    first = cohort.save(tmp_path / "first", PROVENANCE)
    assert (first / "manifest.sha256").read_bytes() == (path / "manifest.sha256").read_bytes()
    # Names that look like paths went nowhere.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "cohort", "first"]


def test_cells_left_on_disk_are_those_in_memory(tmp_path, cohort):
    path = cohort.save(tmp_path / "cohort", PROVENANCE)
    on_disk = load_cohort(path, cells_on_disk=True)
    same(cohort, load_cohort(path))
    for split in ("train", "test"):
        left, loaded = on_disk.cells_of(split), load_cohort(path).cells_of(split)
        assert left.isbacked
        assert left.n_obs > 0
        pd.testing.assert_frame_equal(left.obs, loaded.obs)
        read = read_expression(left, donor_key="donor")
        assert (read.X != loaded.X).nnz == 0
        assert list(read.obs_names) == list(loaded.obs_names)


def test_parts_left_out_say_so_when_used(tmp_path, cohort):
    path = cohort.save(tmp_path / "cohort", PROVENANCE)
    light = load_cohort(path, genotypes=False, cells=False)
    assert len(light.donors) == len(cohort.donors)
    with pytest.raises(ArtefactError, match="genotypes were not loaded"):
        light.genotypes_of("train")
    with pytest.raises(ArtefactError, match="cells were not loaded"):
        light.cells_of("train")
    assert load_cohort(path, genotypes=False).cells.n_obs == 20
    assert load_cohort(path, cells=False).genotypes.n_variants == 7


def test_every_altered_missing_or_added_file_is_noticed(tmp_path, cohort):
    path = cohort.save(tmp_path / "cohort", PROVENANCE)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "manifest.sha256")
    assert len(files) >= 7
    for file in files:
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        file.write_bytes(bytes(flipped))
        with pytest.raises(ArtefactError, match="differs from its manifest"):
            load_cohort(path)
        file.unlink()
        with pytest.raises(ArtefactError, match="is missing"):
            load_cohort(path)
        file.write_bytes(whole)
    (path / "extra").touch()
    with pytest.raises(ArtefactError, match="extra is not in the manifest"):
        load_cohort(path)
    (path / "extra").unlink()
    load_cohort(path)
    about = path / "cohort.json"
    about.write_text(about.read_text().replace("genesim-cohort-1", "genesim-cohort-9"))
    write_manifest(path)
    with pytest.raises(ArtefactError, match="'genesim-cohort-9', not genesim-cohort-1"):
        load_cohort(path)
    about.write_text("[]")
    write_manifest(path)
    with pytest.raises(ArtefactError):
        load_cohort(path)
    with pytest.raises(ArtefactError, match=r"has no manifest.sha256"):
        load_cohort(tmp_path)


def test_a_failed_save_leaves_the_old_cohort(tmp_path, cohort):
    path = cohort.save(tmp_path / "cohort", PROVENANCE)
    broken = dataclasses.replace(cohort)
    broken.cells.uns["thing"] = object()
    with pytest.raises(Exception, match="cannot be written"):
        broken.save(path, PROVENANCE)
    del cohort.cells.uns["thing"]
    same(cohort, load_cohort(path))
    assert [p.name for p in tmp_path.iterdir()] == ["cohort"]


def test_parts_that_do_not_refer_to_each_other_are_refused(parts, cohort):
    cells, genotypes, donors, genes = parts
    with pytest.raises(JoinError, match="no column 'nobody'"):
        assemble_cohort(*parts, donor_key="nobody")
    with pytest.raises(JoinError, match="donors of cells are not those that have cells: 'p3'"):
        assemble_cohort(cells[cells.obs["indiv"] != "p3"].copy(), genotypes, donors, genes, donor_key="indiv")
    with pytest.raises(JoinError, match="donors lack the columns 'split'"):
        assemble_cohort(cells, genotypes, donors.drop(columns="split"), genes, donor_key="indiv")
    with pytest.raises(JoinError, match="1 donors are not present"):
        assemble_cohort(cells, genotypes.subset(donors=list(genotypes.donors[1:])), donors, genes, donor_key="indiv")
    with pytest.raises(JoinError, match="genes are not the genes"):
        dataclasses.replace(cohort, genes=cohort.genes.iloc[::-1])
    with pytest.raises(JoinError, match="genotypes' donors"):
        dataclasses.replace(cohort, genotypes=cohort.genotypes.subset(donors=np.arange(8)[::-1]))
    with pytest.raises(JoinError, match="split holds 'dev'"):
        dataclasses.replace(cohort, donors=cohort.donors.assign(split="dev"))


def test_dosage_in_the_window_equals_a_slow_search(cohort):
    donors = list(cohort.donors.index[[3, 0]])
    for gene, window in [("B", 1_000_000), ("B", 190), ("B", 189), ("A", 1), ("C", 10**9)]:
        dosage, variants = cohort.dosage_for(donors, gene, window)
        row = cohort.genes.loc[gene]
        table = cohort.genotypes.variants
        slow = [v for v in table.index if table.contig[v] == row.contig and abs(table.start[v] - row.tss) <= window]
        slow.sort(key=lambda v: table.start[v])
        assert list(variants.index) == slow
        expected = cohort.genotypes.subset(variants=slow, donors=donors).dosage()
        np.testing.assert_array_equal(dosage, expected)
    with pytest.raises(JoinError, match="gene 'Z'"):
        cohort.dosage_for(donors, "Z")


def test_cis_index_against_a_slow_search():
    rng = np.random.default_rng(3)
    variants = pd.DataFrame({"contig": rng.choice(["1", "2"], 300), "start": rng.integers(0, 200, 300)})
    index = CisIndex(variants)
    for contig in ("1", "2", "3"):
        for tss, window in rng.integers(0, 200, (20, 2)):
            near = (variants.contig == contig) & ((variants.start - tss).abs() <= window)
            found = index.within(contig, int(tss), int(window))
            assert sorted(found) == list(np.flatnonzero(near))
            assert variants.start.to_numpy()[found].tolist() == sorted(variants.start[near])


def test_real_cells_with_dealt_genotypes(tmp_path, shared_data):
    from genesim.data.deal import deal_donors, deal_genes, dealt_table
    from genesim.data.genotypes import read_genotypes

    cells = read_expression(
        shared_data / "expression" / "onek1k_40donors.h5ad", donor_key="indiv", labels_key="cell_type"
    )
    genotypes = read_genotypes(shared_data / "genotypes" / "1000g_chr1_26pops.vcf.gz")
    panel = pd.read_csv(shared_data / "genotypes" / "1000g_samples.panel", sep="\t", index_col=False)
    table = panel.iloc[:, :4].set_axis(["donor", "population", "ancestry", "sex"], axis=1).set_index("donor")
    dealt = deal_donors(cells.obs["indiv"], genotypes.donors, seed=0)
    donors = join_donors(cells.obs["indiv"], genotypes.donors, dealt_table(dealt, table), min_overlap=1.0)
    assert len(donors) == 2504
    assert donors.has_cells.sum() == 40
    assert donors["dealt"].sum() == 40
    donors["split"] = split_donors(donors, 0.5, seed=0)
    genes = deal_genes(cells.var_names, genotypes.variants, seed=0)
    cohort = assemble_cohort(cells, genotypes, donors, genes, donor_key="indiv")
    loaded = load_cohort(cohort.save(tmp_path / "cohort", PROVENANCE))
    same(cohort, loaded)
    assert {side: loaded.cells_of(side).obs["donor"].nunique() for side in ("train", "test")} in (
        {"train": n, "test": 40 - n} for n in range(15, 26)
    )
    assert loaded.genes["dealt"].all()
    dosage, variants = loaded.dosage_for(loaded.donors_of("train").index, loaded.genes.index[0], 10_000)
    assert dosage.shape == (len(variants), len(loaded.donors_of("train")))
    assert len(variants) > 50


def test_a_cohort_with_genotypes_on_disk_gives_the_same(cohort, tmp_path):
    cohort.save(tmp_path / "c", PROVENANCE)
    whole, opened = load_cohort(tmp_path / "c"), load_cohort(tmp_path / "c", genotypes_on_disk=True)
    assert isinstance(opened.genotypes, StoredGenotypes)
    for split in ("train", "test"):
        np.testing.assert_array_equal(opened.genotypes_of(split).alleles, whole.genotypes_of(split).alleles)
    gene = whole.genes.index[whole.genes["contig"] != ""][0]
    donors = list(whole.genotypes.donors)
    np.testing.assert_array_equal(opened.dosage_for(donors, gene)[0], whole.dosage_for(donors, gene)[0])
    opened.save(tmp_path / "again", PROVENANCE)
    np.testing.assert_array_equal(load_cohort(tmp_path / "again").genotypes.alleles, whole.genotypes.alleles)

"""What `simulate` writes is what others' tools read, and its parts agree with each other."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pysam
import pytest
from pysam import bcftools
from scipy import sparse

from genesim.data.cohort import load_cohort

TRUTH = ("effects", "donors", "genes", "expression")


@pytest.fixture
def sim(tiny_run: Path) -> Path:
    return tiny_run / "results" / "sim"


@pytest.fixture
def vcf(sim: Path) -> str:
    return str(sim / "sim.vcf.gz")


def truth(sim: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(sim / "truth" / f"{name}.parquet")


def records(vcf: str) -> pd.DataFrame:
    """Contig, position, id, alleles and INFO of each record, as bcftools prints them."""
    text = bcftools.query("-f", "%CHROM\t%POS\t%ID\t%REF\t%ALT\t%INFO/AC\t%INFO/AN\t%INFO/AF\n", vcf)
    rows = [line.split("\t") for line in text.splitlines()]
    frame = pd.DataFrame(rows, columns=["contig", "position", "id", "ref", "alt", "ac", "an", "af"])
    return frame.astype({"position": int, "ac": int, "an": int, "af": float})


def donors_of(vcf: str) -> list[str]:
    return bcftools.view("-h", vcf).splitlines()[-1].split("\t")[9:]


def genotypes(vcf: str) -> pd.DataFrame:
    """Text of every call, variant x donor."""
    rows = [line.split("\t") for line in bcftools.query("-f", "%ID[\t%GT]\n", vcf).splitlines()]
    return pd.DataFrame([r[1:] for r in rows], index=[r[0] for r in rows], columns=donors_of(vcf))


def test_bcftools_reads_counts_and_indexes_the_vcf(vcf: str) -> None:
    found, calls = records(vcf), genotypes(vcf)
    assert int(bcftools.index("-n", vcf)) == len(found)
    summary = dict(line.split("\t")[2:4] for line in bcftools.stats(vcf).splitlines() if line.startswith("SN\t"))
    assert int(summary["number of records:"]) == len(found)
    assert int(summary["number of samples:"]) == calls.shape[1]
    assert int(summary["number of multiallelic sites:"]) == 0
    again = bcftools.view("--force-samples", "-s", ",".join(calls.columns), "-H", vcf)  # recomputes AC and AN
    assert len(again.splitlines()) == len(found)
    assert set(calls.stack()) <= {"0|0", "0|1", "1|0", "1|1"}  # phased, and nothing missing
    copies = calls.apply(lambda column: column.str.count("1")).sum(axis=1).to_numpy()
    np.testing.assert_array_equal(found["ac"], copies)
    assert (found["an"] == 2 * calls.shape[1]).all()
    np.testing.assert_allclose(found["af"], copies / found["an"], atol=1e-6)


def test_the_header_declares_contigs_fields_and_the_synthetic_mark(vcf: str) -> None:
    header = bcftools.view("-h", vcf)
    assert "##genesim_synthetic=true" in header
    with pysam.VariantFile(vcf) as file:
        assert file.header.contigs["21"].length == 48_129_895  # as the user's header declares it
        assert set(file.header.formats) == {"GT"}
        assert {"AC", "AN", "AF"} <= set(file.header.info)


def test_a_region_is_found_through_the_index(vcf: str) -> None:
    found = records(vcf)
    here = found[found["contig"] == "22"]
    low, high = int(here["position"].quantile(0.25)), int(here["position"].quantile(0.5))
    expected = list(here["id"][here["position"].between(low, high)])
    assert 5 < len(expected) < len(here)
    region = f"22:{low}-{high}"
    assert bcftools.query("-r", region, "-f", "%ID\n", vcf).split() == expected
    with pysam.TabixFile(vcf) as file:
        assert [line.split("\t")[2] for line in file.fetch(region=region)] == expected


@pytest.mark.parametrize("tool", ["bcftools", "tabix"])
def test_the_system_s_own_tools_agree(tool: str, vcf: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not on the PATH")
    command = ["bcftools", "view", "-H", "-r", "21", vcf] if tool == "bcftools" else ["tabix", vcf, "21"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    expected = list(records(vcf).query("contig == '21'")["id"])
    assert [line.split("\t")[2] for line in shown.stdout.splitlines()] == expected


def test_variants_are_those_of_the_user_s_file(tiny_run: Path, vcf: str) -> None:
    cohort = load_cohort(tiny_run / "results" / "cohort", cells=False)
    own = cohort.genotypes.variants
    found = records(vcf).set_index("id")
    assert list(found.index) == list(own.index)
    np.testing.assert_array_equal(found["position"], own["start"] + 1)
    assert (found[["contig", "ref", "alt"]].to_numpy() == own[["contig", "ref", "alt"]].to_numpy()).all()
    raw = bcftools.query("-f", "%CHROM\t%POS\t%REF\t%ALT\n", str(tiny_run / "results" / "example" / "donors.vcf.gz"))
    sites = {(c, int(p), r, a) for c, p, r, alts in map(str.split, raw.splitlines()) for a in alts.split(",")}
    assert set(found.reset_index()[["contig", "position", "ref", "alt"]].itertuples(index=False, name=None)) <= sites


def test_cells_keep_the_user_s_genes_and_carry_the_mark(tiny_run: Path, sim: Path) -> None:
    cells = ad.read_h5ad(sim / "sim.h5ad")
    user = ad.read_h5ad(tiny_run / "results" / "example" / "cells.h5ad")
    assert list(cells.var_names) == list(user.var_names)
    assert cells.var_names.is_unique
    assert cells.obs_names.is_unique
    assert set(cells.obs["cell_type"]) <= set(user.obs["cell_type"])
    assert sparse.issparse(cells.X)
    assert cells.X.dtype == np.int32
    assert cells.X.data.min() >= 1
    mark = cells.uns["genesim"]
    assert mark["synthetic"]
    assert (mark["verb"], int(mark["seed"])) == ("simulate", 0)
    assert json.loads(mark["provenance"]) == json.loads((sim / "provenance.json").read_text())
    # What was simulated before comes out of a plain reader as plain AnnData: no class of ours is needed.
    assert type(cells) is ad.AnnData


def test_donors_are_the_same_everywhere(sim: Path, vcf: str) -> None:
    cells = ad.read_h5ad(sim / "sim.h5ad")
    donors = truth(sim, "donors").set_index("donor")
    assert list(donors.index) == donors_of(vcf)
    assert set(cells.obs["donor"]) == set(donors.index)
    assert cells.obs["donor"].value_counts().to_dict() == donors["n_cells"].to_dict()
    for column in ("ancestry", "sex"):
        assert (cells.obs[column].astype(str) == donors[column].reindex(cells.obs["donor"]).to_numpy()).all()
    expression = truth(sim, "expression")
    assert set(expression["donor"]) == set(donors.index)
    assert set(expression["gene"]) == set(truth(sim, "effects")["gene"])


def test_true_effects_name_records_of_the_vcf_and_genes_of_the_cells(sim: Path, vcf: str) -> None:
    effects = truth(sim, "effects")
    found = records(vcf).set_index("id")
    assert len(effects) > 5
    at = found.loc[effects["variant"]]
    for column in ("contig", "position", "ref", "alt"):
        assert list(at[column]) == list(effects[column])
    cells, genes = ad.read_h5ad(sim / "sim.h5ad"), truth(sim, "genes").set_index("gene")
    assert (
        set(effects["gene"]) == set(cells.var_names[cells.var["has_effect"]]) == set(genes.index[genes["has_effect"]])
    )
    assert list(genes.index) == list(cells.var_names)
    placed = genes.loc[effects["gene"]]
    assert list(placed["contig"]) == list(effects["contig"])
    assert (np.abs(placed["tss"].to_numpy() - (effects["position"].to_numpy() - 1)) <= 250_000).all()


def test_the_true_fold_changes_follow_from_the_vcf(sim: Path, vcf: str) -> None:
    effects, calls = truth(sim, "effects"), genotypes(vcf)
    table = truth(sim, "expression").set_index(["gene", "cell_type", "donor"])["log2_fold"].sort_index()
    single = effects[~effects["gene"].duplicated(keep=False)]
    assert len(single)
    for row in single.itertuples():
        kinds = table.loc[row.gene].index.get_level_values(0).unique()
        kind = kinds[0] if row.cell_type == "*" else row.cell_type
        copies = calls.loc[row.variant].str.count("1")
        size, p = 2.0**row.log2_afc, row.training_frequency
        expected = np.log2((1 - copies / 2) + copies / 2 * size) - np.log2(1 + p * (size - 1))
        np.testing.assert_allclose(table.loc[row.gene, kind][expected.index], expected, atol=1e-5)
        for other in set(kinds) - {kind} if row.cell_type != "*" else ():
            assert (table.loc[row.gene, other] == 0).all()


def test_every_table_has_its_provenance_beside_it(sim: Path) -> None:
    import pyarrow.parquet as pq

    expected = json.loads((sim / "provenance.json").read_text())
    for name in TRUTH:
        path = sim / "truth" / f"{name}.parquet"
        assert json.loads(Path(f"{path}.provenance.json").read_text()) == expected
        assert json.loads(pq.read_schema(path).metadata[b"genesim"]) == expected
    assert expected["synthetic"] is True
    assert expected["verb"] == "simulate"
    assert set(expected["inputs"]) == {"expression", "effects", "haplotypes/21", "haplotypes/22"}


@pytest.mark.slow
def test_scanpy_s_usual_steps_run_unchanged(sim: Path) -> None:
    import scanpy as sc

    cells = sc.read_h5ad(sim / "sim.h5ad")
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells, n_top_genes=30)
    sc.pp.pca(cells, n_comps=10)
    sc.pp.neighbors(cells, n_neighbors=10)
    sc.tl.leiden(cells, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.umap(cells)
    assert np.isfinite(cells.obsm["X_umap"]).all()
    assert cells.obs["leiden"].nunique() >= 1

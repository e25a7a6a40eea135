"""The built-in example: exact counts, donors with the demography's diversity, the same bytes."""

from __future__ import annotations

import builtins
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from genesim.config.inputs import GenotypePolicy
from genesim.data.annotation import read_genes
from genesim.data.example import deal_cells, gene_lines, restore_counts, write_example
from genesim.data.example_donors import POPULATIONS, out_of_africa, simulate_segment
from genesim.data.genotypes import read_genotypes
from genesim.errors import ConfigError, GenesimError, H5adError
from genesim.provenance.manifest import sha256

SMALL = {"n_donors": 60, "n_cell_donors": 12, "max_variants": 300, "segment_length": 200_000}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("msprime")
    return write_example(tmp_path_factory.mktemp("example"), seed=3, **SMALL)


def test_counts_come_back_exactly_from_rounded_logs() -> None:
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(0.5, 0.02, (200, 30))
    totals = rng.integers(1_000, 8_000, 200)
    rounded = np.round(np.log1p(1e4 * counts / totals[:, None]), 3).astype(np.float32)
    restored = restore_counts(sp.csr_matrix(rounded), totals)
    assert restored.dtype == np.int32
    np.testing.assert_array_equal(restored.toarray(), counts)
    with pytest.raises(H5adError):  # other totals cannot explain the values
        restore_counts(rounded, totals * 1.3)
    with pytest.raises(H5adError):  # two integers could explain a count of some thousands
        restore_counts(np.round(np.log1p([[1e4 * 3_000 / 5_000]]), 3), np.array([5_000]))


def test_cells_are_real_counts_with_donors(small: dict[str, Path]) -> None:
    cells = anndata.read_h5ad(small["cells"])
    donors = pd.read_csv(small["donors"], sep="\t")
    assert cells.shape == (700, 765)
    assert sp.issparse(cells.X)
    assert cells.X.dtype == np.int32
    assert cells.X.data.min() >= 1
    assert cells.obs["cell_type"].nunique() == 10
    assert cells.obs["donor"].nunique() == 12
    assert set(cells.obs["donor"]) <= set(donors["donor"])
    per_donor = cells.obs["donor"].value_counts()
    assert per_donor.max() - per_donor.min() <= 1
    mix = pd.crosstab(cells.obs["donor"], cells.obs["cell_type"])
    assert (mix.max() - mix.min()).max() <= 1
    with_cells = donors.set_index("donor").loc[per_donor.index.astype(str)]
    assert with_cells["ancestry"].value_counts().to_dict() == dict.fromkeys(POPULATIONS, 4)


def test_donors_vcf_has_every_flaw_and_is_read(small: dict[str, Path]) -> None:
    genotypes = read_genotypes(small["genotypes"])
    donors = pd.read_csv(small["donors"], sep="\t")
    assert genotypes.donors.tolist() == donors["genotype_id"].tolist()
    assert genotypes.contig_lengths["21"] == 48_129_895
    flaws = (
        "filtered_records", "multiallelic_split", "symbolic_alleles_dropped", "duplicate_variants",
        "missing_calls", "variants_too_missing",
    )  # fmt: skip
    assert all(genotypes.report[name] > 0 for name in flaws), genotypes.report
    assert (genotypes.variants["ref"].str.len() + genotypes.variants["alt"].str.len() > 2).any()
    assert genotypes.phased[(genotypes.alleles >= 0).all(axis=2)].all()
    n_all = read_genotypes(small["genotypes"], policy=GenotypePolicy(filters="all", max_missing=1)).n_variants
    assert n_all > genotypes.n_variants > 400


def test_genes_have_places_on_the_contigs(small: dict[str, Path]) -> None:
    text = small["genes"].read_text()
    assert text.startswith("#!")
    assert "INVENTED" in text.splitlines()[0]
    assert "INVENTED" in small["about"].read_text()
    genes = read_genes(small["genes"], contigs=["21", "22"])
    cells = anndata.read_h5ad(small["cells"], backed="r")
    assert set(genes["gene_name"]) == set(cells.var_names)
    cells.file.close()
    genotypes = read_genotypes(small["genotypes"])
    for contig in ("21", "22"):
        start = genotypes.variants.loc[genotypes.variants["contig"] == contig, "start"]
        tss = genes.loc[genes["contig"] == contig, "tss"]
        assert (abs(tss - start.mean()) < 200_000).all()
        assert len(tss) > 300


def test_same_seed_same_bytes(small: dict[str, Path], tmp_path: Path) -> None:
    again = write_example(tmp_path / "again", seed=3, **SMALL)
    assert {k: sha256(p) for k, p in again.items()} == {k: sha256(p) for k, p in small.items()}
    other = write_example(tmp_path / "other", seed=4, **SMALL)
    for name in ("cells", "genotypes", "donors", "genes"):
        assert sha256(other[name]) != sha256(small[name])


def test_populations_differ_as_out_of_africa_says() -> None:
    msprime = pytest.importorskip("msprime")
    demography = out_of_africa(msprime)
    assert [p.name for p in demography.populations][:3] == list(POPULATIONS)
    # Table 1 of Gutenkunst et al.: present sizes of about 29,725 (CEU) and 54,090 (CHB).
    assert demography["CEU"].initial_size == pytest.approx(29_725, rel=1e-3)
    assert demography["CHB"].initial_size == pytest.approx(54_090, rel=1e-3)
    ancestry = pd.Series(np.repeat(POPULATIONS, 20))
    segment = simulate_segment(0, "21", ancestry, max_variants=100_000, length=300_000)
    frequency = {name: segment.alleles[:, np.repeat(ancestry == name, 2)].mean(axis=1) for name in POPULATIONS}
    diversity = {name: float((2 * f * (1 - f)).sum()) for name, f in frequency.items()}
    assert diversity["YRI"] > 1.15 * diversity["CEU"]  # the bottleneck out of Africa

    def distance(a: str, b: str) -> float:
        within = frequency[a] * (1 - frequency[a]) + frequency[b] * (1 - frequency[b])
        between = frequency[a] * (1 - frequency[b]) + frequency[b] * (1 - frequency[a])
        return float(1 - within.sum() / between.sum())

    assert distance("YRI", "CHB") > distance("CEU", "CHB") > 0.02


def test_dealing_is_even_and_by_seed() -> None:
    types = np.repeat(np.array(["a", "b"], dtype=object), [10, 5])
    dealt = deal_cells(types, ["x", "y", "z"], seed=0)
    assert sorted(pd.Series(dealt).value_counts()) == [5, 5, 5]
    assert list(dealt) == list(deal_cells(types, ["x", "y", "z"], seed=0))
    assert list(dealt) != list(deal_cells(types, ["x", "y", "z"], seed=1))
    assert gene_lines(["A", "B"], 0) != gene_lines(["A", "B"], 1)


def test_what_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"n_donors": 5}, {"n_cell_donors": 301}, {"max_variants": 0}, {"segment_length": 10}):
        with pytest.raises(ConfigError):
            write_example(tmp_path, **wrong)
    real_import = builtins.__import__

    def without_msprime(name: str, *args: object, **kwargs: object) -> object:
        if name == "msprime":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_msprime)
    with pytest.raises(GenesimError, match="pip install"):
        write_example(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_fewer_genes_are_the_most_expressed_ones(tmp_path: Path, small: dict[str, Path]) -> None:
    paths = write_example(tmp_path, seed=3, n_genes=25, **SMALL)
    few, every = anndata.read_h5ad(paths["cells"]), anndata.read_h5ad(small["cells"])
    total = pd.Series(np.asarray(every.X.sum(axis=0)).ravel(), index=every.var_names)
    assert list(few.var_names) == [name for name in every.var_names if name in set(total.nlargest(25).index)]
    np.testing.assert_array_equal(few.X.toarray(), every[:, few.var_names].X.toarray())
    assert len(paths["genes"].read_text().splitlines()) == 25 + 2
    assert paths["genotypes"].read_bytes() == small["genotypes"].read_bytes()

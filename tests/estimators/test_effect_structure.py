"""Relatives, twins and populations among the donors: found, refused and recorded."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from genesim.config.model import EffectConfig
from genesim.data import thin
from genesim.data.genotypes import open_store, write_store
from genesim.data.genotypes.record import Genotypes
from genesim.data.kinship_table import read_kinship
from genesim.data.thin import thinned_variants
from genesim.errors import ConfigError, InputError, JoinError
from genesim.estimators.effect_structure import checked_kinship, donor_structure, twins_across
from genesim.estimators.effects import EffectModel
from genesim.metrics import kinship
from genesim.metrics.kinship import king_noise, king_robust
from genesim.metrics.structure import genotype_components, n_structured
from genesim.simulate.pedigree import simulate_pedigree
from genesim.simulate.pedigree_table import founders_of, half_siblings, nuclear_families

N_CONTIGS, PER_CONTIG = 20, 300


def unlinked(donors: pd.Index, rng: np.random.Generator, frequency: np.ndarray | None = None) -> Genotypes:
    """Independent common variants on 20 contigs; `frequency` [variant, donor] where donors differ."""
    n = N_CONTIGS * PER_CONTIG
    frequency = rng.uniform(0.15, 0.85, n)[:, None] if frequency is None else frequency
    alleles = (rng.random((n, len(donors), 2)) < frequency[..., None]).astype(np.int8)
    contig = np.repeat([str(i + 1) for i in range(N_CONTIGS)], PER_CONTIG).astype(object)
    variants = pd.DataFrame(
        {"contig": contig, "start": np.tile(np.arange(PER_CONTIG) * 300_000, N_CONTIGS), "ref": "A", "alt": "G"},
        index=pd.Index([f"v{i}" for i in range(n)], dtype=object),
    )
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)


@pytest.fixture(scope="module")
def relatives() -> Genotypes:
    """Eight families with two children, four half-sib families: 24 pairs of the first degree each ..."""
    pedigree = pd.concat([nuclear_families(8, 2), half_siblings(4, prefix="H")], ignore_index=True)
    founders = unlinked(pd.Index(founders_of(pedigree).index, dtype=object), np.random.default_rng(0))
    return simulate_pedigree(founders, pedigree, seed=0)[0]


@pytest.fixture(scope="module")
def strangers() -> Genotypes:
    return unlinked(pd.Index([f"D{i}" for i in range(50)], dtype=object), np.random.default_rng(1))


def structure_of(geno: Genotypes, kinship=None, **config):
    return donor_structure(geno, np.arange(geno.n_donors), geno.donors.tolist(), kinship, EffectConfig(**config))


def slow_king(dosage: np.ndarray) -> np.ndarray:
    """Equation 11 of the paper, pair by pair."""
    n = dosage.shape[1]
    k = np.full((n, n), 0.5)
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            called = ~np.isnan(dosage[:, i]) & ~np.isnan(dosage[:, j])
            a, b = dosage[called, i], dosage[called, j]
            both, opposite = ((a == 1) & (b == 1)).sum(), (np.abs(a - b) == 2).sum()
            hets = sorted(((a == 1).sum(), (b == 1).sum()))
            k[i, j] = (both - 2 * opposite) / (2 * hets[0]) + 0.5 - 0.25 * sum(hets) / hets[0]
    return k


def test_king_is_the_formula_and_its_noise_is_the_spread_of_strangers(strangers: Genotypes) -> None:
    dosage = thinned_variants(strangers).dosage
    few = dosage[:400, :8].copy()
    few[np.random.default_rng(0).random(few.shape) < 0.03] = np.nan
    np.testing.assert_allclose(king_robust(few).kinship, slow_king(few), atol=1e-6)
    estimate = king_robust(dosage)
    spread = estimate.kinship[np.triu_indices(50, 1)].std()
    assert 0.8 < estimate.noise / spread < 1.3
    # Copies of the same variants add nothing: the noise must not fall.
    assert king_noise(np.repeat(dosage[:1500], 4, axis=0)) > 0.9 * king_noise(dosage[:1500])


def test_pedigree_is_read_from_genotypes(relatives: Genotypes) -> None:
    found = structure_of(relatives, "auto")
    assert found.families is not None
    # 8 x (4 parent-child and 1 sib pair); 4 x (4 parent-child and 1 pair of half sibs).
    assert found.report["n_pairs"] == 8 * 5 + 4 * 5
    assert (found.report["n_families"], found.report["largest_family"]) == (12, 5)
    k = pd.DataFrame(king_robust(thinned_variants(relatives).dosage).kinship, relatives.donors, relatives.donors)
    assert k.loc["F0001_father", "F0001_child1"] == pytest.approx(0.25, abs=0.03)
    assert k.loc["F0001_father", "F0001_mother"] == pytest.approx(0.0, abs=0.04)
    assert k.loc["H0002_child1", "H0002_child2"] == pytest.approx(0.125, abs=0.06)


def test_strangers_have_no_family_and_few_variants_find_none(strangers, relatives, caplog) -> None:
    assert structure_of(strangers).families is None
    assert structure_of(strangers).report["n_genotype_factors"] == 0
    caplog.set_level("INFO", logger="genesim")
    assert structure_of(relatives.subset(variants=np.arange(60))).families is None
    assert "too few to find relatives" in caplog.text
    structure_of(relatives.subset(variants=np.arange(1500)))
    assert "are not seen; give a table" in caplog.text


def test_twins_are_reported_or_refused(strangers: Genotypes, caplog) -> None:
    alleles = np.concatenate([strangers.alleles, strangers.alleles[:, :1]], 1)
    donors = pd.Index([*strangers.donors, "again"], dtype=object)
    twins = Genotypes(alleles, np.ones(alleles.shape[:2], bool), strangers.variants, donors)
    caplog.set_level("WARNING", logger="genesim")
    found = structure_of(twins)
    assert (found.report["n_duplicates"], found.report["n_pairs"]) == (1, 1)
    assert "D0 and again" in caplog.text
    with pytest.raises(InputError, match=r"D0 and again.*one id"):
        structure_of(twins, duplicates="error")


def test_twins_on_two_sides_of_a_split_are_found(strangers: Genotypes) -> None:
    alleles = np.concatenate([strangers.alleles, strangers.alleles[:, :2]], 1)
    donors = pd.Index([*strangers.donors, "again", "more"], dtype=object)
    twins = Genotypes(alleles, np.ones(alleles.shape[:2], bool), strangers.variants, donors)
    side = pd.Series("train", index=donors)
    assert twins_across(twins, side) == []
    side["again"] = "test"
    assert twins_across(twins, side) == [("D0", "again")]
    assert twins_across(twins.subset(variants=np.arange(40)), side) == []


def test_populations_are_counted_and_separated(strangers: Genotypes) -> None:
    rng = np.random.default_rng(2)
    base = rng.uniform(0.2, 0.8, N_CONTIGS * PER_CONTIG)
    shift = np.clip(base[:, None] + rng.normal(0, 0.1, (len(base), 2)), 0.05, 0.95)
    population = np.repeat([0, 1], 30)
    geno = unlinked(pd.Index([f"D{i}" for i in range(60)], dtype=object), rng, shift[:, population])
    found = structure_of(geno)
    assert found.families is None
    assert found.components.shape == (60, 1)
    assert abs(np.corrcoef(found.components[:, 0], population)[0, 1]) > 0.98
    # One place alone is no structure, however strong its haplotypes.
    local = thinned_variants(strangers).dosage.copy()
    local[:300] += 0.7 * rng.normal(size=50)
    assert n_structured(local, 5) == 0


def test_relatives_are_no_axis_of_structure(relatives: Genotypes) -> None:
    dosage = thinned_variants(relatives).dosage
    founders = ~relatives.donors.str.contains("child")
    components = genotype_components(dosage, 2, founders)
    assert np.abs(components[founders].mean(0)).max() < 1e-6
    assert np.allclose((components[founders] ** 2).mean(0), 1)


TABLE = pd.DataFrame(0.5 * np.eye(4), index=list("abcd"), columns=list("abcd"))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda t: t.drop(index="b"), JoinError, "1 donors have no kinship: b"),
        (lambda t: t.drop(columns="c"), JoinError, "no kinship: c"),
        (lambda t: t.assign(b=[0.25, 0.5, 0, 0]), InputError, "not symmetric: a with b is 0.25"),
        (lambda t: t.replace(0.0, np.nan), InputError, "12 values are missing or infinite"),
        (lambda t: t * np.inf, InputError, "missing or infinite"),
        (lambda t: 2.04 * t, InputError, "halve a relationship matrix"),
        (lambda t: 2 * t, InputError, "halve a relationship matrix"),
        (lambda t: 0 * t, InputError, "a has 0 with itself"),
        (lambda t: t.astype(object).replace(0.5, "self"), InputError, "not numbers"),
        (lambda t: pd.concat([t, t.iloc[:1]]), InputError, "'a' stands twice"),
    ],
)
def test_bad_kinship_tables_are_refused(change, error, match) -> None:
    with pytest.raises(error, match=match):
        checked_kinship(change(TABLE), list("abcd"))


def test_a_good_table_is_taken_in_the_order_of_the_donors() -> None:
    table = TABLE.copy()
    table.loc["a", "c"] = table.loc["c", "a"] = 0.25
    values = checked_kinship(table, list("cab"))
    assert values[0, 1] == values[1, 0] == 0.25
    assert values.shape == (3, 3)


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".csv.gz", ".parquet"])
def test_kinship_files_are_read_with_ids_as_text(tmp_path: Path, suffix: str) -> None:
    table = TABLE.set_axis(["0012", "b", "c", "d"], axis=0).set_axis(["0012", "b", "c", "d"], axis=1)
    path = tmp_path / f"kinship{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if suffix == ".tsv" else ",")
    np.testing.assert_array_equal(checked_kinship(read_kinship(path), ["b", "0012"]), 0.5 * np.eye(2))


def test_kinship_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_kinship(tmp_path / "absent.tsv")
    with pytest.raises(InputError, match="suffix tells no format"):
        read_kinship(tmp_path / "kinship.kin0")


def test_fit_uses_relatives_and_says_so(relatives: Genotypes, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    near = relatives.subset(variants=np.arange(0, 60))
    family = relatives.donors.str.slice(0, 5)
    shared = rng.normal(size=(family.nunique(), 12))[pd.factorize(family)[0]]
    y = shared + 0.7 * rng.normal(size=(relatives.n_donors, 12))
    var = pd.DataFrame({"contig": "1", "tss": 9_000_000}, index=[f"g{i}" for i in range(12)])
    expression = ad.AnnData(y, obs=pd.DataFrame(index=relatives.donors), var=var)
    config = EffectConfig(window=10_000_000, n_factors=0, n_effects=1)

    def fit(geno: Genotypes, kinship=None) -> EffectModel:
        return EffectModel.fit(expression, geno, bulk=True, scale="log2", config=config, kinship=kinship)

    estimated = fit(relatives)
    assert estimated.provenance.config["donors"]["n_families"] == 12
    plain = fit(relatives, "none")
    assert plain.provenance.config["donors"] == {"kinship": "none", "n_genotype_factors": 0}
    p, q = (m.posteriors["all"].p_value for m in (estimated, plain))
    assert not np.allclose(p, q)
    assert np.median(p) > np.median(q)
    # Unrelated by table is the plain fit, bit for bit.
    apart = pd.DataFrame(0.5 * np.eye(relatives.n_donors), relatives.donors, relatives.donors)
    alone = fit(near, apart)
    assert alone.provenance.config["donors"]["kinship"] == "table"
    for name, value in fit(near, "none").posteriors["all"].to_dict().items():
        np.testing.assert_array_equal(value, alone.posteriors["all"].to_dict()[name])
    again = EffectModel.load(estimated.save(tmp_path / "model"))
    assert again.provenance.config["donors"] == estimated.provenance.config["donors"]
    assert (again.config.kinship, again.config.n_genotype_factors) == ("auto", "auto")
    with pytest.raises(ConfigError, match="kinship is 'yes'"):
        fit(near, "yes")


def test_kinship_by_blocks_of_donors_is_that_of_all_at_once(
    strangers: Genotypes, monkeypatch: pytest.MonkeyPatch
) -> None:
    dosage = thinned_variants(strangers).dosage.copy()
    dosage[::7, ::5] = np.nan
    whole = king_robust(dosage).kinship
    monkeypatch.setattr(kinship, "_ROWS", 7)
    np.testing.assert_array_equal(king_robust(dosage).kinship, whole)
    np.testing.assert_array_equal(whole, whole.T)


def test_variants_are_thinned_alike_in_memory_by_blocks_and_from_disk(
    strangers: Genotypes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = thinned_variants(strangers)
    write_store(strangers, tmp_path)
    monkeypatch.setattr(thin, "_BLOCK_CALLS", 10 * strangers.n_donors)
    for source in (strangers, open_store(tmp_path)):
        found = thinned_variants(source)
        np.testing.assert_array_equal(found.row, whole.row)
        np.testing.assert_array_equal(found.dosage, whole.dosage)
    monkeypatch.setattr(thin, "_MAX_DOSAGES", 20 * strangers.n_donors)
    assert thinned_variants(strangers).n_variants <= 20 < whole.n_variants

"""One person's prediction: laws of its numbers on effects written down by hand, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import genesim as gs
from genesim.cli.app import main
from genesim.config.model import EffectConfig, ExpressionConfig, HaplotypeConfig
from genesim.data.genotypes import Genotypes, write_vcf
from genesim.errors import ArtefactError, ConfigError, JoinError
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.models.effects.posterior import EffectPosterior
from genesim.pipeline.person import PersonPrediction, simulate_person
from genesim.pipeline.person_tables import program_table, strongest
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance

N_VARIANTS, N_GENES, N_DONORS = 40, 12, 40
GENES = [f"g{i}" for i in range(N_GENES)]


def variants(contig: str = "22") -> pd.DataFrame:
    return pd.DataFrame(
        {"contig": contig, "start": 1000 * np.arange(N_VARIANTS) + 7, "ref": "A", "alt": "G"},
        index=pd.Index([f"v{i}" for i in range(N_VARIANTS)], dtype=object),
    )


def posterior(seed: int) -> EffectPosterior:
    """Two single effects a gene, each spread over six variants; the last gene has none."""
    random = np.random.default_rng(seed)
    rows = []
    for gene in range(N_GENES - 1):
        for effect in (0, 1):
            at = np.sort(random.choice(N_VARIANTS, 6, replace=False))
            alpha = random.dirichlet(np.full(6, 0.4))
            sizes, spread = random.normal(0, 0.4, 6), random.uniform(0.02, 0.1, 6)
            rows += [
                (gene, effect, *row, 1 if effect == 0 else 0) for row in zip(at, alpha, sizes, spread, strict=True)
            ]
    gene, effect, variant, alpha, mean, sd, number = map(np.array, zip(*rows, strict=True))
    per_gene = np.zeros(N_GENES)
    none = np.zeros(0)
    return EffectPosterior(
        gene, effect, variant.astype(np.int32), alpha, mean, sd, number,
        per_gene, np.zeros(N_GENES, np.int64), per_gene, per_gene + 1, per_gene + 30, per_gene + 6, per_gene,
        none, none, none, none, none,
    )  # fmt: skip


def people(n: int = N_DONORS, seed: int = 0) -> Genotypes:
    random = np.random.default_rng(seed)
    frequency = np.random.default_rng(99).uniform(0.1, 0.6, N_VARIANTS)
    alleles = (random.random((N_VARIANTS, n, 2)) < frequency[:, None, None]).astype(np.int8)
    donors = pd.Index([f"P{i}" for i in range(n)], dtype=object)
    return Genotypes(alleles, np.ones((N_VARIANTS, n), bool), variants(), donors, {"22": 100_000})


@pytest.fixture(scope="module")
def effects() -> EffectModel:
    frequency = people().alleles.mean((1, 2))
    genes = pd.DataFrame({"contig": "22", "tss": 0}, index=pd.Index(GENES, dtype=object, name="gene"))
    fitted = {"all": posterior(0), "T": posterior(1)}
    return EffectModel(
        genes, variants().assign(frequency=frequency), fitted, ["T"], EffectConfig(), Provenance("train effects", 0)
    )


@pytest.fixture(scope="module")
def predicted(effects: EffectModel) -> PersonPrediction:
    return simulate_person(people(), effects, donor="P3")


def keyed(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index(["gene", "cell_type"]).sort_index()


def test_contributions_add_up_to_what_the_effect_model_predicts(
    effects: EffectModel, predicted: PersonPrediction
) -> None:
    genes = keyed(predicted.genes)
    total = predicted.variants.groupby(["gene", "cell_type"])["contribution"].sum()
    np.testing.assert_allclose(total.loc[genes.index], genes["log2_fold"], atol=1e-12)
    v = predicted.variants
    np.testing.assert_allclose(v["contribution"], v["effect"] * (v["dosage"] - v["mean_dosage"]), atol=1e-12)
    assert set(genes.index.get_level_values(0)) == set(GENES[:-1])
    for cell_type in ("all", "T"):
        expected = effects.predict(people(), cell_type)
        mine = predicted.genes.query("cell_type == @cell_type").set_index("gene")
        for ours, theirs in (("log2_fold", expected.mean), ("low", expected.low), ("high", expected.high)):
            np.testing.assert_allclose(mine[ours], theirs.loc["P3", mine.index], atol=1e-5)
    assert genes["log2_fold"].abs().max() > 0.1


def test_the_mean_donor_has_no_change(effects: EffectModel) -> None:
    missing = dataclasses.replace(
        people(1), alleles=np.full((N_VARIANTS, 1, 2), -1, np.int8), phased=np.zeros((N_VARIANTS, 1), bool)
    )
    found = simulate_person(missing, effects)
    assert (found.genes["log2_fold"] == 0).all()
    assert (found.variants["contribution"] == 0).all()
    assert found.genes["percentile"].between(15, 85).all()
    assert (found.genes["n_variants_absent"] == found.genes["n_variants"]).all()


def test_percentiles_of_people_of_the_population_are_uniform_and_of_others_not(effects: EffectModel) -> None:
    sample = people(40, seed=5)
    rank = np.concatenate(
        [
            simulate_person(sample, effects, donor=d, n_population=400).genes.query("gene in ['g0', 'g5']")[
                "percentile"
            ]
            for d in sample.donors
        ]
    )
    assert stats.kstest(rank / 100, "uniform").pvalue > 1e-3
    # The test would see a person who is compared with a population half as wide.
    normal = np.clip(stats.norm.ppf(rank / 100), -4, 4)
    assert stats.kstest(stats.norm.cdf(2.5 * normal), "uniform").pvalue < 1e-3


def test_swapped_alleles_and_chr_names_change_nothing(effects: EffectModel, predicted: PersonPrediction) -> None:
    geno = people()
    table = variants("chr22")
    table.loc[table.index[::2], ["ref", "alt"]] = ["G", "A"]
    alleles = geno.alleles.copy()
    alleles[::2] = 1 - alleles[::2]
    turned = Genotypes(alleles, geno.phased, table, geno.donors)
    found = simulate_person(turned, effects, donor="P3")
    pd.testing.assert_frame_equal(found.genes, predicted.genes)
    pd.testing.assert_frame_equal(found.variants, predicted.variants)
    unturned = Genotypes(alleles, geno.phased, variants(), geno.donors)
    wrong = simulate_person(unturned, effects, donor="P3")
    assert not np.allclose(wrong.genes["log2_fold"], predicted.genes["log2_fold"])


def test_an_absent_variant_counts_as_the_mean_and_widens_the_interval_by_its_variance(effects: EffectModel) -> None:
    # At the mean dosage itself an effect's own uncertainty is 0, so the widening is the whole variance.
    one = effects.variants.assign(frequency=0.5)
    model = EffectModel(effects.genes, one, effects.posteriors, ["T"], effects.config, effects.provenance)
    mean = Genotypes(
        np.tile(np.array([0, 1], np.int8), (N_VARIANTS, 1, 1)),
        np.ones((N_VARIANTS, 1), bool),
        variants(),
        pd.Index(["M"]),
    )
    full = simulate_person(mean, model)
    assert (full.genes["high"] - full.genes["low"]).max() < 1e-6
    lacking = simulate_person(mean.subset(variants=[f"v{i}" for i in range(10, N_VARIANTS)]), model)
    v = lacking.variants[lacking.variants["dosage"].isna()]
    assert set(v["variant"]) == {f"v{i}" for i in range(10)}
    extra = (0.5 * (v["effect"] ** 2 + v["effect_sd"] ** 2)).groupby([v["gene"], v["cell_type"]]).sum()
    width = keyed(lacking.genes).assign(expected=extra).fillna({"expected": 0.0})
    np.testing.assert_allclose(width["high"] - width["low"], 2 * 1.96 * np.sqrt(width["expected"]), atol=1e-6)
    assert (lacking.genes["log2_fold"] == 0).all()
    assert any(note.startswith("10 variants have no call") for note in lacking.notes)


def test_a_variant_only_call_set_takes_absent_sites_as_reference(effects: EffectModel) -> None:
    geno = people().subset(donors=["P3"])
    carried = geno.subset(variants=(geno.alleles.sum((1, 2)) > 0))
    assert 0 < carried.n_variants < N_VARIANTS
    whole = simulate_person(geno, effects).genes
    told = simulate_person(carried, effects, absent="reference").genes
    pd.testing.assert_frame_equal(told, whole)
    assert not np.allclose(simulate_person(carried, effects).genes["log2_fold"], whole["log2_fold"])


def test_another_build_is_refused_with_both_sides_named(effects: EffectModel) -> None:
    geno = people(1)
    shifted = dataclasses.replace(geno, variants=variants().assign(start=variants()["start"] + 333))
    with pytest.raises(JoinError, match=r"0 of 40 variants.*22:8 A>G.*22:341 A>G.*genome build"):
        simulate_person(shifted, effects)
    other = dataclasses.replace(geno, variants=variants().assign(ref="C", alt="T"))
    with pytest.raises(JoinError, match=r"40 more have their position but other alleles"):
        simulate_person(other, effects)


def test_what_cannot_be_answered_is_refused(effects: EffectModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"40 donors \(P0, P1.*donor="):
        simulate_person(people(), effects)
    with pytest.raises(JoinError, match="NOBODY"):
        simulate_person(people(), effects, donor="NOBODY")
    with pytest.raises(ConfigError, match="n_population is 3"):
        simulate_person(people(1), effects, n_population=3)
    with pytest.raises(ArtefactError, match="no effect model"):
        simulate_person(people(1), tmp_path)


def test_the_population_comes_from_the_haplotype_model_with_its_linkage(effects: EffectModel) -> None:
    # All variants of a copy are equal in training: values spread far wider than unlinked ones.
    alleles = np.repeat(people().alleles[:1], N_VARIANTS, axis=0)
    linked = dataclasses.replace(people(), alleles=alleles)
    model = HaplotypeModel.fit(linked, config=HaplotypeConfig(method="mosaic"))
    expression = ExpressionModel.fit(cells(), labels_key="cell_type", config=ExpressionConfig(method="independent"))
    found = simulate_person(people(), gs.Models(expression, (model,), effects), donor="P3", n_population=200)
    assert any("40 variants from the haplotype model" in note for note in found.notes)
    g = found.genes.query("cell_type == 'T'")
    # Rates: of type T, g1 is ten times g0; the effects' own types find theirs.
    assert g.set_index("gene")["baseline_rate"].loc["g1"] > 5 * g.set_index("gene")["baseline_rate"].loc["g0"]
    expected = 1e4 * g["baseline_rate"] * 2.0 ** g["log2_fold"]
    np.testing.assert_allclose(g["predicted_cp10k"], expected)
    assert (g["predicted_low"] <= g["predicted_high"]).all()
    # A fully linked copy moves a gene by the sum of its effects, so the width follows that sum; unlinked it does not.
    weight = found.variants.groupby(["gene", "cell_type"])["effect"].sum().abs()
    unlinked = simulate_person(people(), effects, donor="P3", n_population=200)
    follows = []
    for each in (found, unlinked):
        table = keyed(each.genes)
        width = table["population_high"] - table["population_low"]
        follows.append(np.corrcoef(weight.loc[width.index], width)[0, 1])
    assert follows[0] > 0.9
    assert follows[1] < 0.8


def cells() -> ad.AnnData:
    random = np.random.default_rng(3)
    label = np.repeat(["T", "B"], 60)
    rate = np.full((120, N_GENES), 5.0)
    rate[:60, 1] = 50
    obs = pd.DataFrame({"cell_type": label}, index=[f"c{i}" for i in range(120)])
    counts = sparse.csr_matrix(random.poisson(rate).astype(np.float32))
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=GENES))


def test_a_person_who_is_one_program_shifts_that_program_only() -> None:
    loadings = pd.DataFrame({"program1": [1.0, 1, 0, 0], "program2": [0, 0, 2.0, -1]}, index=list("abcd"))
    fold = pd.Series(3 * loadings["program2"], index=list("abcd"))
    random = np.random.default_rng(0)
    population = pd.DataFrame(random.normal(size=(4, 300)), index=list("abcd"))
    found = program_table(loadings, fold, population, "T").set_index("program")
    assert found.loc["program2", "shift"] == pytest.approx(3)
    assert found.loc["program2", "share_of_change"] == pytest.approx(1)
    assert found.loc["program1", "shift"] == 0
    assert found.loc["program2", "genes"] == "c +80%, d +20%"
    assert found.loc["program2", "population_sd"] == pytest.approx(1 / np.sqrt(5), rel=0.15)


def test_a_cell_type_without_any_effect_has_no_rows(effects: EffectModel) -> None:
    rows = ("gene", "effect", "variant", "alpha", "mean", "sd", "credible_set")
    full = effects.posteriors["T"]
    empty = dataclasses.replace(full, **{name: getattr(full, name)[:0] for name in rows})
    both = {"all": effects.posteriors["all"], "T": empty}
    args = (effects.genes, effects.variants)
    found = simulate_person(people(1), EffectModel(*args, both, ["T"], effects.config, effects.provenance))
    assert set(found.genes["cell_type"]) == {"all"}
    none = simulate_person(people(1), EffectModel(*args, {"T": empty}, ["T"], effects.config, effects.provenance))
    assert none.genes.empty
    assert "<svg" in none.figure().svg


def test_it_writes_whole_tables_a_figure_and_what_to_think_of_them(
    effects: EffectModel, predicted: PersonPrediction, tmp_path: Path
) -> None:
    predicted.write(tmp_path / "person")
    verify_manifest(tmp_path / "person")
    back = pd.read_parquet(tmp_path / "person" / "genes.parquet")
    pd.testing.assert_frame_equal(back, predicted.genes, check_dtype=False)
    assert (tmp_path / "person" / "person.png").read_bytes().startswith(b"\x89PNG")
    notes = (tmp_path / "person" / "notes.txt").read_text()
    assert "cis effects only" in notes
    assert "R2" in notes
    assert "diagnos" not in notes.lower()
    top = strongest(predicted.genes, 5)
    assert top["gene"].is_unique
    assert top["z"].abs().is_monotonic_decreasing
    assert "<svg" in predicted.figure().svg


def test_the_command_gives_what_the_function_gives(
    effects: EffectModel, predicted: PersonPrediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects.save(tmp_path / "models" / "effects")
    write_vcf(people(), tmp_path / "p.vcf.gz")
    words = ["simulate", "--person", tmp_path / "p.vcf.gz", "--models", tmp_path / "models", "--out", tmp_path / "out"]
    for more, code in (
        (["--donor", "P3"], 0),
        ([], 2),
        (["--donor", "P3", "--absent", "zero"], 2),
        (["--contig", "22"], 2),
    ):
        monkeypatch.setattr("sys.argv", ["genesim", *map(str, words), *more])
        try:
            main()
            ended: object = 0
        except SystemExit as stop:
            ended = stop.code or 0
        assert ended == code
    back = pd.read_parquet(tmp_path / "out" / "genes.parquet")
    pd.testing.assert_frame_equal(back, predicted.genes, check_dtype=False, rtol=1e-5)


def test_the_chain_goes_on_to_the_programs_of_trained_models(tiny_run: Path) -> None:
    results = tiny_run / "results"
    donor = pd.read_parquet(results / "sim" / "truth" / "donors.parquet")["donor"].iloc[0]
    models = gs.Models.load(results / "models")
    assert models.effects is not None
    found = simulate_person(results / "sim" / "sim.vcf.gz", models, donor=donor, n_population=40)
    types = list(models.effects.posteriors)
    assert list(dict.fromkeys(found.programs["cell_type"])) == [t for t in types if t in set(found.genes["cell_type"])]
    loadings = models.expression.programs(seed=0).loadings
    row = found.programs.iloc[0]
    fold = found.genes.query("cell_type == @row.cell_type").set_index("gene")["log2_fold"]
    column = loadings[row["program"]].reindex(fold.index).fillna(0.0)
    assert row["shift"] == pytest.approx(float(column @ fold / (loadings[row["program"]] ** 2).sum()), rel=1e-4)
    known = found.genes["gene"].isin(models.expression.genes) & found.genes["cell_type"].isin(
        models.expression.cell_types
    )
    assert found.genes.loc[known, "baseline_rate"].between(0, 1, inclusive="right").all()
    assert any("variants from the haplotype model" in note for note in found.notes)

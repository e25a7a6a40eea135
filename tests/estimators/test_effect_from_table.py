"""`EffectModel.from_table`: published estimates become a model that predicts, draws and saves as a fitted one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.effect_prior import EffectPriorConfig
from genesim.config.model import EffectConfig
from genesim.data.effect_table import effect_table
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ConfigError, InputError, JoinError
from genesim.estimators.effects import EffectModel
from genesim.models.effects.location import log_bayes_factor

N_GENES, PER_GENE, N_STUDY = 60, 8, 400
N_VARIANTS = N_GENES * PER_GENE
SD = 0.4
GENES = pd.DataFrame({"contig": "22", "tss": np.arange(N_GENES) * 8000}, index=[f"g{i}" for i in range(N_GENES)])


def genotypes(n_donors: int = 40) -> Genotypes:
    draw = np.random.default_rng(0)
    alleles = (draw.random((N_VARIANTS, n_donors, 2)) < draw.uniform(0.2, 0.5, (N_VARIANTS, 1, 1))).astype(np.int8)
    bases = np.array([["A", "G"], ["C", "A"], ["T", "C"]], object)[np.arange(N_VARIANTS) % 3]
    variants = pd.DataFrame(
        {"contig": "22", "start": 1000 * np.arange(N_VARIANTS), "ref": bases[:, 0], "alt": bases[:, 1]},
        index=pd.Index([f"v{i}" for i in range(N_VARIANTS)], dtype=object),
    )
    donors = pd.Index([f"D{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(alleles, np.ones((N_VARIANTS, n_donors), bool), variants, donors)


@pytest.fixture(scope="module")
def geno() -> Genotypes:
    return genotypes()


def planted(geno: Genotypes, share: float = 0.5) -> tuple[pd.DataFrame, np.ndarray]:
    """A nominal table (every variant of every gene) of a study of N_STUDY, and the true effect of each variant."""
    draw = np.random.default_rng(1)
    truth = np.zeros(N_VARIANTS)
    for g in range(N_GENES):
        if draw.random() < share:
            truth[g * PER_GENE + draw.integers(PER_GENE)] = draw.normal(0, SD)
    frequency = geno.allele_frequency()
    se = 0.5 / np.sqrt(N_STUDY * 2 * frequency * (1 - frequency))
    at = geno.variants
    table = pd.DataFrame(
        {
            "variant": [f"chr22_{s + 1}_{r}_{a}" for s, r, a in zip(at["start"], at["ref"], at["alt"], strict=True)],
            "gene": [f"g{i // PER_GENE}" for i in range(N_VARIANTS)],
            "beta": truth + se * draw.normal(size=N_VARIANTS),
            "se": se,
        }
    )
    return table, truth


def test_planted_effects_come_back_shrunken_and_calibrated(geno: Genotypes) -> None:
    table, truth = planted(geno)
    model = EffectModel.from_table(effect_table(table), geno, GENES)
    found = model.table(min_pip=0.0).set_index("variant").reindex(geno.variants.index)
    pip, effect = found["pip"].fillna(0.0).to_numpy(), found["effect"].fillna(0.0).to_numpy()
    error, raw = ((effect - truth) ** 2).mean(), ((table["beta"] - truth) ** 2).mean()
    assert error < 0.3 * raw
    large = np.abs(truth) > 0.2
    assert pip[large].mean() > 0.9
    assert (truth[pip > 0.9] != 0).mean() > 0.9
    # PIPs sum to the number of causal variants: the room left for none is right.
    assert pip.sum() == pytest.approx((truth != 0).sum(), rel=0.25)
    sure = found[found["pip"] > 0.9]
    inside = (sure["low"] <= truth[found["pip"] > 0.9]) & (truth[found["pip"] > 0.9] <= sure["high"])
    assert inside.mean() > 0.85
    assert model.posteriors["all"].n_sets.sum() > 15
    drawn = pd.concat([model.sample(s) for s in range(20)])
    assert set(drawn["cell_type"]) == {"*"}
    assert set(drawn["variant"]) <= set(geno.variants.index)
    frequencies = drawn.groupby("variant").size().reindex(geno.variants.index, fill_value=0) / 20
    np.testing.assert_allclose(frequencies[(pip > 0.99)], 1, atol=0.05)
    everything = pd.concat([model.sample(s, credible_only=False) for s in range(60)])
    share = everything.groupby("variant").size().reindex(geno.variants.index, fill_value=0).to_numpy() / 60
    assert share.sum() == pytest.approx(pip.sum(), rel=0.1)  # effects that may be none are drawn as often as they are


def test_it_predicts_new_donors_and_survives_the_disk(geno: Genotypes, tmp_path: Path) -> None:
    table, truth = planted(geno)
    table.to_csv(tmp_path / "t.tsv.gz", sep="\t", index=False)
    model = EffectModel.from_table(tmp_path / "t.tsv.gz", geno, GENES, n_donors=N_STUDY)
    value = truth[:, None] * (geno.dosage() - 2 * geno.allele_frequency()[:, None])
    expected = value.reshape(N_GENES, PER_GENE, -1).sum(1).T
    out = model.predict(geno)
    has = np.flatnonzero(np.abs(truth).reshape(N_GENES, PER_GENE).max(1) > 0.2)
    r = [np.corrcoef(out.mean.iloc[:, g], expected[:, g])[0, 1] for g in has]
    assert np.median(r) > 0.95
    back = EffectModel.load(model.save(tmp_path / "m"))
    pd.testing.assert_frame_equal(back.table(), model.table())
    pd.testing.assert_frame_equal(back.egenes(), model.egenes())
    pd.testing.assert_frame_equal(back.sample(3, credible_only=False), model.sample(3, credible_only=False))
    pd.testing.assert_frame_equal(back.predict(geno).low, out.low)
    assert back.provenance.inputs["prior.table"]
    assert back.provenance.config["prior_report"]["table"]["matched"] == N_VARIANTS
    assert back.config.method == "table"
    assert set(back.egenes()["n_donors"]) == {N_STUDY}


def test_pips_and_credible_sets_are_taken_as_they_are(geno: Genotypes) -> None:
    names = [f"22_{1000 * i + 1}_{geno.variants['ref'].iloc[i]}_{geno.variants['alt'].iloc[i]}" for i in range(5)]
    table = pd.DataFrame(
        {
            "variant": [*names, names[4]],
            "molecular_trait_id": ["g0"] * 5 + ["g1"],
            "cs_id": ["L1", "L1", "L2", "L2", "L2", "L1"],
            "pip": [0.7, 0.3, 0.5, 0.2, 0.25, 1.0],
            "beta": [0.5, 0.5, -0.3, -0.3, -0.3, 0.4],
            "se": 0.05,
            "cell_type": ["T", "T", "T", "T", "T", "B"],
        }
    )
    model = EffectModel.from_table(effect_table(table), geno, GENES)
    assert model.labels == ["B", "T"]
    found = model.table(0.0).set_index(["cell_type", "gene", "variant"])
    np.testing.assert_allclose(found.loc[[("T", "g0", f"v{i}") for i in range(5)], "pip"], table["pip"][:5], rtol=1e-5)
    assert found.loc[[("T", "g0", f"v{i}") for i in range(5)], "credible_set"].tolist() == [1, 1, 2, 2, 2]
    drawn = [model.sample(s) for s in range(200)]
    first = [d[(d["gene"] == "g0") & d["variant"].isin(["v0", "v1"])] for d in drawn]
    assert all(len(d) == 1 for d in first)
    assert np.mean([(d["variant"] == "v0").any() for d in first]) == pytest.approx(0.7, abs=0.1)
    second = [len(d[(d["gene"] == "g0") & d["variant"].isin(["v2", "v3", "v4"])]) for d in drawn]
    assert np.mean(second) == pytest.approx(0.95, abs=0.05)


def test_units_and_what_cannot_be_a_model(geno: Genotypes) -> None:
    table, _ = planted(geno)

    def largest(**settings: object) -> float:
        config = EffectConfig(prior=EffectPriorConfig(**settings))
        return float(
            EffectModel.from_table(effect_table(table), geno, GENES, config=config).table()["effect"].abs().max()
        )

    assert largest(table_unit="ln") == pytest.approx(largest() / np.log(2), rel=1e-3)
    assert largest(table_unit="sd", table_sd=0.5) == pytest.approx(largest() * 0.5, rel=1e-3)
    with pytest.raises(ConfigError, match="SDs"):
        largest(table_unit="sd")
    scores = effect_table(table.assign(score=1.0), "scores")
    with pytest.raises(ConfigError, match="scores has no effects"):
        EffectModel.from_table(scores, geno, GENES)
    pips = effect_table(table.drop(columns=["beta", "se"]).assign(pip=0.5))
    with pytest.raises(InputError, match="no beta"):
        EffectModel.from_table(pips, geno, GENES)
    with pytest.raises(InputError, match="no allele frequency"):
        EffectModel.from_table(effect_table(table), geno.variants, GENES)
    known = geno.variants.assign(frequency=geno.allele_frequency())
    same = EffectModel.from_table(effect_table(table), known, GENES).table()
    pd.testing.assert_frame_equal(same, EffectModel.from_table(effect_table(table), geno, GENES).table(), atol=1e-6)
    with pytest.raises(JoinError, match="genes"):
        EffectModel.from_table(effect_table(table.assign(gene="other")), geno, GENES)
    unplaced = GENES.assign(tss=np.where(GENES.index == "g3", -1, GENES["tss"]))
    assert "g3" not in EffectModel.from_table(effect_table(table), geno, unplaced).genes.index


def test_bayes_factors_equal_the_ratio_of_marginal_likelihoods() -> None:
    from scipy.stats import norm

    b, s, w = 0.3, 0.1, 0.2
    expected = norm.logpdf(b, 0, np.hypot(w, s)) - norm.logpdf(b, 0, s)
    assert log_bayes_factor(np.array((b / s) ** 2), (w / s) ** 2) == pytest.approx(expected)

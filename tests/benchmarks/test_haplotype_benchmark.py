"""Pieces of the haplotype benchmark: halves, imputation, bars, and scores that tell good from bad."""

from __future__ import annotations

import haplotype_imputation as imputation
import haplotype_scores
import numpy as np
import pandas as pd
import pytest
from haplotype_panels import Panel, cut, for_tuning, halves
from haplotype_scores import Reference, fidelity_scores, floor_scores, other_sites, training_scores
from haplotype_tables import BARS, bars, summary

from genesim.data.genotypes.record import Genotypes

M = 240
POSITIONS = 1000 + np.arange(M) * 400


def haplotypes(seed: int, n: int) -> np.ndarray:
    """Mosaics of eight templates with few switches."""
    templates = np.random.default_rng(0).random((8, M)) < np.random.default_rng(1).beta(0.5, 0.5, M)
    stream = np.random.default_rng(seed)
    jump = stream.random((n, M)) < 0.008
    state = stream.integers(0, 8, (n, M))
    last = np.maximum.accumulate(np.where(jump, np.arange(M), 0), axis=1)
    drawn = templates[np.take_along_axis(state, last, 1), np.arange(M)]
    return (drawn ^ (stream.random((n, M)) < 0.01)).astype(np.int8)


def variants() -> pd.DataFrame:
    index = pd.Index([f"v{i}" for i in range(M)], dtype=object)
    return pd.DataFrame({"contig": "7", "start": POSITIONS, "ref": "A", "alt": "C"}, index=index)


def genotypes(seed: int, n_donors: int, prefix: str = "D") -> Genotypes:
    alleles = haplotypes(seed, 2 * n_donors).reshape(n_donors, 2, M).transpose(2, 0, 1)
    donors = pd.Index([f"{prefix}{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(np.ascontiguousarray(alleles), np.ones((M, n_donors), bool), variants(), donors)


def test_halves_are_stratified_disjoint_and_equal() -> None:
    geno = genotypes(1, 23)
    ancestry = pd.Series(np.repeat(["x", "y"], [12, 11]), index=geno.donors)
    first, second = halves(geno, ancestry, seed=0)
    assert not set(first.donors) & set(second.donors)
    for part in (first, second):
        assert ancestry[part.donors].value_counts().to_dict() == {"x": 6, "y": 5}
    assert set(first.donors) != set(halves(geno, ancestry, seed=1)[0].donors)


def test_tuning_never_holds_a_held_out_donor() -> None:
    train, test = genotypes(1, 20, "T"), genotypes(2, 20, "H")
    names = [*train.donors, *test.donors]
    panel = Panel("p", train, test, pd.Series("x", index=names), POSITIONS * 1e-6, None, 0)
    tuned = for_tuning(panel)
    assert set(tuned.train.donors) | set(tuned.test.donors) == set(train.donors)
    assert tuned.name == "p_tune"
    shorter = cut(panel, max_variants=50)
    assert shorter.train.n_variants == shorter.test.n_variants == len(shorter.centimorgans) == 50
    assert cut(panel, region="7:1,001-1,801").positions.tolist() == [1000, 1400, 1800]
    with pytest.raises(ValueError, match="no variant"):
        cut(panel, region="1-2")


def test_scores_separate_the_population_from_independence_and_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haplotype_scores, "N_WINDOWS", 1)
    train, test, honest = haplotypes(1, 300), haplotypes(2, 300), haplotypes(3, 300)
    reference = Reference(train, test, POSITIONS, seed=0)
    floor = fidelity_scores(reference, train) | floor_scores(reference)
    good = fidelity_scores(reference, honest) | training_scores(reference, honest)
    null = fidelity_scores(reference, np.random.default_rng(0).permuted(train, axis=0))
    copies = training_scores(reference, train)
    assert floor["ld_rmse"] == pytest.approx(good["ld_rmse"], rel=0.5)
    assert null["ld_rmse"] > 2 * floor["ld_rmse"]
    assert good["classifier_auc"] < 0.6 < 0.9 < null["classifier_auc"]
    assert good["three_point_r"] > 0.8 > 0.4 > null["three_point_r"]
    assert abs(good["privacy_loss"]) < 0.08
    assert copies["privacy_loss"] > 0.3
    assert copies["exact_copies"] == 300
    assert copies["tract_kb_q95_train"] > copies["tract_kb_q95_test"]
    assert 0.4 < floor["aa_t_train"] < 0.6
    assert np.isnan(floor["privacy_loss"])
    # The floor's real side against held-out haplotypes is its synthetic side against training ones.
    assert floor["aa_t_test"] == floor["aa_s_train"]
    itself = other_sites(reference, reference.test, POSITIONS)
    assert itself["spectrum_distance"] == 0
    assert [v for k, v in itself.items() if k.startswith("r2_error") and np.isfinite(v)]
    assert all(abs(v) < 1e-6 for k, v in itself.items() if k.startswith("r2_error") and np.isfinite(v))


def test_squared_correlations_by_hand() -> None:
    held_out = haplotypes(1, 40)
    truth = held_out[::2] + held_out[1::2]
    dosage = truth + np.random.default_rng(0).normal(0, 0.5, truth.shape).astype(np.float32)
    dosage[:, 5] = 1.0
    dosage[:, 7] = np.nan
    found = imputation.squared_correlations(dosage, held_out)
    for m in range(M):
        if truth[:, m].std() == 0 or m == 7:
            assert np.isnan(found[m])
        elif m == 5:
            assert found[m] == 0
        else:
            assert found[m] == pytest.approx(np.corrcoef(dosage[:, m], truth[:, m])[0, 1] ** 2, rel=1e-3)


def test_typed_variants_are_spread_and_common() -> None:
    held_out = haplotypes(1, 200)
    held_out[:, 3] = 0
    typed = imputation.typed_variants(held_out, np.repeat(POSITIONS[::2], 2))
    frequency = held_out.mean(0)
    assert (np.minimum(frequency, 1 - frequency)[typed] >= imputation.MIN_TYPED_MAF).all()
    assert 3 not in typed
    assert len(set(np.repeat(POSITIONS[::2], 2)[typed])) == len(typed)


@pytest.mark.skipif(imputation.beagle() is None, reason="Beagle is not installed")
@pytest.mark.slow
def test_beagle_fills_from_a_real_panel_and_not_from_independent_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imputation, "N_TYPED", 60)
    train, test = haplotypes(1, 300), haplotypes(2, 100)
    scores = {}
    for name, panel in (("real", train), ("null", np.random.default_rng(0).permuted(train, axis=0))):
        dosage, typed = imputation.impute(panel, test, variants(), POSITIONS * 1e-6, seed=0, memory_mb=1000)
        assert np.isfinite(dosage).all()
        np.testing.assert_array_equal(dosage[:, typed], (test[::2] + test[1::2])[:, typed])
        scores[name] = imputation.imputation_r2(dosage, typed, test)["impute_r2"]
    assert scores["real"] > 0.35 > 3 * scores["null"]


def _row(method: str, seed: int, **changes: float) -> dict[str, object]:
    names = [
        bar.name.strip("|").removesuffix(" - 0.5")
        for bar in BARS
        if "above" not in bar.name and " - tract" not in bar.name
    ]
    values = dict.fromkeys(names, 0.0) | {"tract_kb_q95_train": 5.0, "tract_kb_q95_test": 5.0, "classifier_auc": 0.5}
    return {"panel": "chr15_10k", "population": "all", "method": method, "seed": seed} | values | changes


def test_bars_take_means_over_seeds_and_the_floor_of_the_same_seed() -> None:
    table = pd.DataFrame(
        [_row("floor", s, classifier_auc=0.5 + s / 10) for s in (0, 1)]
        + [_row("anchmm", s, classifier_auc=0.54 + s / 10, ld_rmse=0.02 + 0.03 * s, aa_t_test=0.6) for s in (0, 1)]
    )
    found = bars(table).set_index("bar")
    assert set(found["method"]) == {"anchmm"}
    assert found.loc["classifier_auc above the floor", "value"] == pytest.approx(0.04)
    assert found.loc["classifier_auc above the floor", "reached"]
    assert found.loc["ld_rmse", "value"] == pytest.approx(0.035)
    assert not found.loc["ld_rmse", "reached"]
    assert not found.loc["|aa_t_test - 0.5|", "reached"]
    assert not found.loc["three_point_r", "reached"]  # at least .70
    assert bars(table[table["method"] != "floor"]).empty
    wide = summary(table).set_index("metric")
    assert wide.loc["ld_rmse", "anchmm"] == pytest.approx(0.035)
    assert wide.loc["ld_rmse", "n_seeds"] == 2
    assert wide.loc["ld_rmse", "best"] == "anchmm"

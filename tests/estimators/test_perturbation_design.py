"""Kinds, doses, groups, replicates, donors, priors and explanations of `PerturbationModel`."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.data.gene_dosage import GeneDosage
from genesim.data.gene_priors import gene_embedding, screen_effects
from genesim.errors import ConditionError, ConfigError, H5adError, InputError, JoinError
from genesim.estimators.perturbation import PerturbationModel

N_GENES = 40
BASE = np.random.default_rng(9).uniform(1, 10, N_GENES)
PARTS = {f"g{i}": np.random.default_rng(i).normal(0, 0.6, N_GENES) for i in range(1, 13)}


def cells(rows: list[dict], n: int = 40, seed: int = 0) -> ad.AnnData:
    """`n` cells of each row, whose `shift` moves log rates; the other entries become obs. One library size."""
    random = np.random.default_rng(seed)
    counts, obs = [], []
    for row in rows:
        shift = row.get("shift", np.zeros(N_GENES))
        counts.append(random.poisson(BASE * np.exp(shift), (n, N_GENES)))
        obs += [{k: v for k, v in row.items() if k != "shift"}] * n
    frame = pd.DataFrame(obs, index=[f"c{i}" for i in range(len(obs))])
    frame["library"] = 1000.0
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype(np.float32)), obs=frame, var=var)


def singles(names: list[str], **more: str) -> list[dict]:
    return [{"condition": name, "shift": PARTS.get(name, np.zeros(N_GENES)), **more} for name in names]


@pytest.fixture(scope="module")
def both_ways() -> PerturbationModel:
    """g1 to g4 knocked out and activated: an activation is no knock-out of another sign."""
    rows = [{"condition": "control", "kind": ""}]
    for i in range(1, 5):
        rows.append({"condition": f"g{i}", "kind": "CRISPRi", "shift": PARTS[f"g{i}"]})
        rows.append({"condition": f"g{i}", "kind": "CRISPRa", "shift": PARTS[f"g{i + 4}"]})
    return PerturbationModel.fit(cells(rows), "condition", kinds="kind", library_key="library")


def test_the_same_gene_perturbed_in_two_ways_is_two_components(both_ways: PerturbationModel) -> None:
    model = both_ways
    assert model.learned.components[:2] == ["g1 [crispra]", "g1 [crispri]"]
    down, up = (model.effect(f"g1 [{kind}]") for kind in ("crispri", "crispra"))
    assert np.corrcoef(down.delta, PARTS["g1"])[0, 1] > 0.9
    assert np.corrcoef(up.delta, PARTS["g5"])[0, 1] > 0.9
    with pytest.raises(ConditionError, match="2 ways"):
        model.effect("g1")


def test_a_new_perturbation_is_guessed_from_its_own_kind_only(both_ways: PerturbationModel) -> None:
    model = both_ways
    library, made = model.learned.library, model._asker.made
    knock = model._ask({"g20 [crispri]": 1.0}, "all")
    lost = np.flatnonzero(library.family == "loss")
    rows = (library.dose[:, lost] > 0).any(1)
    np.testing.assert_allclose(knock.made.all(-1, knock.dose)[0], library.shrunk[rows].mean(0))
    assert not np.allclose(made.mean, library.shrunk[rows].mean(0))
    drug = model.effect("aspirin [drug]")
    assert (drug.support, bool(np.isnan(drug.low).all()), bool(drug.delta.any())) == ("unsupported", True, False)


def test_a_donor_s_loss_of_function_is_no_activation() -> None:
    rows = [{"condition": "control"}, *singles(["g1", "g2", "g3"])]
    model = PerturbationModel.fit(cells(rows), "condition", kinds=dict.fromkeys(("g1", "g2"), "crispra"))
    table = pd.DataFrame({"donor": "d", "gene": ["g1", "g3"], "dosage": [0.5, 0.5]})
    asked = GeneDosage(table, {}, ("d",))
    np.testing.assert_array_equal(model.effect(asked).delta, model.effect({"g3": 0.5}).delta)


def test_bad_kinds_are_refused() -> None:
    rows = [{"condition": "control", "kind": ""}, *singles(["g1", "g2+g3"], kind="magic")]
    with pytest.raises(ConfigError, match="magic"):
        PerturbationModel.fit(cells(rows), "condition", kinds="kind")
    with pytest.raises(ConfigError, match="nobody"):
        PerturbationModel.fit(cells(rows), "condition", kinds={"nobody": "drug"})
    rows[-1]["kind"], rows[1]["kind"] = "drug+drug+drug", "drug"
    with pytest.raises(H5adError, match="3 kinds for 2"):
        PerturbationModel.fit(cells(rows), "condition", kinds="kind")


def test_an_unmeasured_dose_is_wide_where_nothing_tells_how_doses_go_on() -> None:
    model = PerturbationModel.fit(
        cells([{"condition": "control"}, *singles(["g1", "g2"])]), "condition", library_key="library"
    )
    full, half = model.effect("g1"), model.effect({"g1": 0.5})
    assert (half.regime, half.support) == ("new_dose", "extrapolated")
    moved = np.abs(full.delta) > 0.3
    assert (half.low[moved] < np.minimum(0.1 * full.delta, 0.9 * full.delta)[moved]).all()
    assert (half.high[moved] > np.maximum(0.1 * full.delta, 0.9 * full.delta)[moved]).all()
    wide, narrow = (model.effect("g1", level=level) for level in (0.95, 0.5))
    assert ((wide.high - wide.low)[moved] > 2 * (narrow.high - narrow.low)[moved]).all()
    with pytest.raises(ConditionError, match="level"):
        model.effect("g1", level=95)


def test_drug_doses_follow_the_law_through_the_public_way() -> None:
    rows = [{"condition": "control", "dose": "0"}]
    for drug, ec50 in (("a", 3.0), ("b", 10.0), ("c", 1.0)):
        direction = np.random.default_rng(ord(drug)).normal(0, 1, N_GENES)
        for dose in (0.3, 3, 30, 300):
            rows.append({"condition": drug, "dose": str(dose), "shift": direction * dose / (ec50 + dose)})
    model = PerturbationModel.fit(
        cells(rows, 60), "condition", dose_key="dose", kinds=dict.fromkeys("abc", "drug"), library_key="library"
    )
    table = model.scores.set_index(["regime", "method"])["mae"]
    assert table["new_dose", "hill"] < 0.7 * table["new_dose", "dose_interpolation"]
    assert table["new_dose", "model"] < 0.7 * table["new_dose", "dose_interpolation"]
    estimate = model.effect({"a": 10.0})
    assert (estimate.regime, estimate.support) == ("new_dose", "extrapolated")
    assert np.isfinite(estimate.low).all()


def test_guides_of_a_gene_are_held_out_together() -> None:
    rows = [{"condition": "control", "gene": ""}]
    for i in range(1, 7):
        rows += [{"condition": f"g{i}_{k}", "gene": f"g{i}", "shift": PARTS[f"g{i}"]} for k in (1, 2)]
    data = cells(rows)
    names = [f"g{i}_{k}" for i in range(1, 7) for k in (1, 2)]
    places = pd.DataFrame(np.stack([PARTS[name.split("_")[0]] for name in names]), index=names)
    given = {"priors": {"twin": places}, "library_key": "library"}
    table = {
        group: PerturbationModel.fit(data, "condition", group_key=group, **given).scores.set_index(["regime", "method"])
        for group in (None, "gene")
    }
    leaky, honest = (table[g].loc[("new_perturbation", "model"), "pearson_delta"] for g in (None, "gene"))
    assert leaky > 0.8
    assert honest < 0.5
    mixed = data.copy()
    mixed.obs["gene"] = np.where(np.arange(mixed.n_obs) % 2, "x", mixed.obs["gene"])
    with pytest.raises(H5adError, match="2 groups"):
        PerturbationModel.fit(mixed, "condition", group_key="gene")


def test_errors_over_replicates_are_calibrated_where_those_over_cells_are_not() -> None:
    """Replicates differ and nothing is perturbed: |effect| / se must be that of noise."""
    ratio = {}
    random = np.random.default_rng(4)
    rows = []
    for label in ["control", *(f"p{i}" for i in range(8))]:
        for replicate in range(4):
            wobble = 0.25 * random.normal(size=N_GENES)
            rows.append({"condition": label, "donor": f"{label}{replicate}", "shift": wobble})
    data = cells(rows, 30)
    for key in (None, "donor"):
        library = PerturbationModel.fit(data, "condition", library_key="library", replicate_key=key).learned.library
        ratio[key] = float(np.sqrt(np.mean((library.effect / library.se) ** 2)))
    assert ratio[None] > 1.6
    assert 0.8 < ratio["donor"] < 1.3


def test_replicates_that_hold_both_sides_are_compared_within_themselves() -> None:
    """Batches differ a lot, and hold unlike shares of perturbed cells: pooled cells would be off."""
    rows = []
    for batch in range(4):
        shift = np.random.default_rng(50 + batch).normal(0, 0.8, N_GENES)
        rows.append({"condition": "control", "batch": str(batch), "shift": shift})
        rows += [{"condition": "g1", "batch": str(batch), "shift": shift + PARTS["g1"]}] * (1 + 3 * (batch == 0))
    data = cells(rows, 40)
    truth = np.log1p(BASE * np.exp(PARTS["g1"])) - np.log1p(BASE)
    off = {}
    for key in (None, "batch"):
        model = PerturbationModel.fit(data, "condition", library_key="library", replicate_key=key)
        off[key] = np.abs(model.learned.library.effect[0] - truth).mean()
    assert off["batch"] < 0.5 * off[None]


def test_what_is_new_of_a_context_is_named_and_copied() -> None:
    rows = []
    for kind in ("B", "T", "NK"):
        for donor in ("d1", "d2", "d3"):
            own = 0.2 * np.random.default_rng(ord(kind[0]) + int(donor[1])).normal(size=N_GENES)
            rows += [
                {"condition": name, "kind": kind, "donor": donor, "shift": own + PARTS.get(name, np.zeros(N_GENES))}
                for name in ("control", "g1", "g2")
                if not (name == "g2" and kind == "NK")
            ]
    model = PerturbationModel.fit(cells(rows), "condition", covariate_keys=["kind", "donor"], library_key="library")
    expected = {
        ("g1", "B|d9"): "new_context:donor",
        ("g1", "mono|d1"): "new_context:kind",
        ("g2", "NK|d1"): "new_context:kind (partly)",
        ("g1", "B|d1"): "seen",
    }
    for (label, context), stratum in expected.items():
        estimate = model.effect(label, context)
        assert (estimate.stratum, estimate.regime) == (stratum, stratum.split(":")[0])
        assert np.isfinite(estimate.low).all()
    assert {"new_context:donor", "new_context:kind", "new_context:kind (partly)"} <= set(model.scores["regime"])
    covered = model.coverage.set_index(["regime", "level"])["coverage"]
    assert covered["new_context:donor", 0.9] == pytest.approx(0.9, abs=0.05)


def test_a_regime_that_could_not_be_held_out_is_unsupported() -> None:
    rows = [
        {"condition": "control", "line": "X"},
        *singles(["g1", "g2"], line="X"),
        {"condition": "control", "line": "Y"},
    ]
    model = PerturbationModel.fit(cells(rows), "condition", covariate_keys=["line"], library_key="library")
    for context in ("Y", "Z"):
        estimate = model.effect("g1", context)
        assert (estimate.stratum, estimate.support) == ("new_context:line", "unsupported")
        assert np.isnan(estimate.low).all()
        assert np.isfinite(estimate.delta).all()
    assert model.effect("g1").regime == "seen"
    both = model.effect("g1+g2", "X")
    assert (both.support, bool(np.isnan(both.high).all())) == ("unsupported", True)


@pytest.fixture(scope="module")
def doubles() -> ad.AnnData:
    names = ["control", *(f"g{i}" for i in range(1, 7))]
    rows = singles(names)
    for i in range(1, 7):
        for j in range(1, i):
            rows.append({"condition": f"g{j}+g{i}", "shift": PARTS[f"g{i}"] + PARTS[f"g{j}"]})
    return cells([row for row in rows if row["condition"] != "g1+g2"])


@pytest.fixture(scope="module")
def informed(doubles: ad.AnnData) -> PerturbationModel:
    names = [f"g{i}" for i in range(1, 13)]
    places = pd.DataFrame(np.stack([PARTS[n][:6] for n in names]), index=names)
    screen = screen_effects(
        pd.DataFrame([PARTS[n] for n in names], index=names, columns=[f"g{i}" for i in range(N_GENES)])
    )
    sets = {"even": [f"g{i}" for i in range(0, N_GENES, 2)], "first": [f"g{i}" for i in range(1, 7)]}
    given = {"places": places, "sets": sets, "screen": screen}
    return PerturbationModel.fit(doubles, "condition", library_key="library", priors=given)


def test_explanations_add_up_to_the_prediction_exactly(informed: PerturbationModel) -> None:
    for asked in ("g1+g2", "g9", "g1", {"g1": 0.4}, "g1+g9"):
        table = informed.explain(asked)
        total = informed.contributions(asked).sum().to_numpy()
        np.testing.assert_allclose(total, informed.effect(asked).delta, rtol=1e-9, atol=1e-12)
        assert table["share"].sum() == pytest.approx(1.0)
        assert len(informed.contributions(asked)) == len(table)
    both = informed.explain("g1+g2").groupby("source")["share"].sum()
    assert both.loc[["g1", "g2"]].min() > 2 * both.mean()
    assert both[[bool({"g1", "g2"} & set(source.split("+"))) for source in both.index]].sum() > 0.9
    assert informed.explain({"g1": 0.0}).empty
    new = informed.explain("g9")
    assert set(new["candidate"]) <= {"kernel_ridge", "other_screen", "neighbours", "mean_effect", "bilinear"}


def test_a_screen_and_places_support_a_new_perturbation(informed: PerturbationModel, tmp_path: Path) -> None:
    estimate = informed.effect("g9")
    assert (estimate.regime, estimate.support) == ("new_perturbation", "extrapolated")
    assert np.corrcoef(estimate.delta, PARTS["g9"])[0, 1] > 0.8
    assert informed.effect("g30").support == "unsupported"
    informed.save(tmp_path / "m")
    back = PerturbationModel.load(tmp_path / "m")
    np.testing.assert_array_equal(back.effect("g9").low, estimate.low)
    pd.testing.assert_frame_equal(back.explain("g9"), informed.explain("g9"))
    pd.testing.assert_frame_equal(back.coverage, informed.coverage)


def test_a_fitted_model_is_a_prior(informed: PerturbationModel) -> None:
    rows = singles(["control", "g2", "g3", "g4", "g5", "g6"])
    model = PerturbationModel.fit(cells(rows, seed=3), "condition", library_key="library", priors={"other": informed})
    assert np.corrcoef(model.effect("g1").delta, PARTS["g1"])[0, 1] > 0.8
    assert "screen other" in set(model.explain("g1")["context"])


def test_programs_are_those_that_move(informed: PerturbationModel) -> None:
    delta = informed.effect("g1").delta
    top = [f"g{i}" for i in np.argsort(-delta)[:8]]
    random = [f"g{i}" for i in np.random.default_rng(0).choice(N_GENES, 8, replace=False)]
    table = informed.programs("g1", {"top": top, "random": random, "few": top[:2]})
    assert table["program"].tolist() == ["top", "random"]
    assert table["fdr"].iloc[0] < 1e-3
    assert table["fdr"].iloc[1] > 0.05
    assert set(table["genes"].iloc[0].split(", ")) == set(top[:5])


def test_priors_that_cannot_be_used_say_so(doubles: ad.AnnData, tmp_path: Path) -> None:
    def fit(prior: object) -> None:
        PerturbationModel.fit(doubles, "condition", priors={"p": prior})

    with pytest.raises(JoinError, match="none of its 2 names"):
        fit(pd.DataFrame({"x": [1.0, 2.0]}, index=["ENSG1", "ENSG2"]))
    with pytest.raises(JoinError, match="genes is measured"):
        fit(screen_effects(pd.DataFrame({"ENSG1": [1.0]}, index=["g1"])))
    with pytest.raises(InputError, match="finite"):
        gene_embedding(pd.DataFrame({"x": [1.0, np.nan]}, index=["g1", "g2"]))
    with pytest.raises(InputError, match="rows"):
        gene_embedding(pd.DataFrame({"x": [1.0, 2.0]}, index=["g1", "g1"]))
    with pytest.raises(InputError, match="is no prior"):
        fit(3)
    with pytest.raises(InputError, match=r"neither \.gmt nor \.csv"):
        fit(str(tmp_path / "x.txt"))


def test_a_file_read_a_piece_at_a_time_gives_the_same_model(doubles: ad.AnnData, tmp_path: Path) -> None:
    doubles.write_h5ad(tmp_path / "x.h5ad")
    one = PerturbationModel.fit(doubles, "condition", library_key="library")
    two = PerturbationModel.fit(str(tmp_path / "x.h5ad"), "condition", library_key="library", stream=True)
    np.testing.assert_allclose(one.effect("g1+g2").delta, two.effect("g1+g2").delta, rtol=1e-12)
    pd.testing.assert_frame_equal(one.scores, two.scores)

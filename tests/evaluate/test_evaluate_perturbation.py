"""Scores of predicted perturbations: the truth is best, no change is the null, shared controls buy nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.perturbation import (
    CELL_METRICS,
    PERTURBATION_METRICS,
    Basis,
    HeldOut,
    Panel,
    Predicted,
    perturbation_scores,
)
from genesim.evaluate.perturbation_baselines import BASELINES, Means
from genesim.evaluate.score_table import ScoreTable

N_GENES, N_CONDITIONS = 50, 5


def log_cells(seed: int, n: int, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """log1p counts of n cells whose log rates are moved by `shift`."""
    random = np.random.default_rng(seed)
    rate = np.random.default_rng(99).uniform(0.5, 4, N_GENES) * np.exp(shift)
    return np.log1p(random.poisson(rate * random.gamma(8, 1 / 8, (n, 1)))).astype(float)


SHIFTS = np.random.default_rng(1).normal(0, 0.5, (N_CONDITIONS, N_GENES)) + np.random.default_rng(2).normal(
    0, 0.4, N_GENES
)


def panel(n: int = 80) -> Panel:
    control, given = log_cells(0, n), log_cells(1, n)
    truth = [log_cells(10 + i, n, shift) for i, shift in enumerate(SHIFTS)]
    effects = np.stack([t.mean(0) - control.mean(0) for t in truth])
    held = []
    for i, cells in enumerate(truth):
        used = np.ones(N_GENES, bool)
        used[i] = False
        centre = np.delete(effects, i, 0).mean(0)
        weight = np.abs(effects[i] - centre) ** 2
        held.append(HeldOut(f"p{i}", "all", "all", cells, control, given, used, centre, weight))
    return Panel(held, Basis.fit(np.vstack([control, given, *truth]), 10))


@pytest.fixture(scope="module")
def made() -> Panel:
    return panel()


def test_replicate_cells_are_at_the_ceiling_and_no_change_at_the_null(made: Panel) -> None:
    replicates = [log_cells(100 + i, 80, shift) for i, shift in enumerate(SHIFTS)]
    guess = [Predicted(c.mean(0) - h.given.mean(0), c) for c, h in zip(replicates, made.held)]
    table, top, null = made.score(guess), made.ceiling(), made.null()
    assert list(table.columns) == ["condition", "context", *PERTURBATION_METRICS]
    assert top[list(PERTURBATION_METRICS)].drop(columns="effect_coverage").notna().all(axis=None)
    scores = {s.metric: s for s in perturbation_scores(table, top, null)}
    assert len(scores) == len(PERTURBATION_METRICS) - 1
    for name, score in scores.items():
        assert score.level in ("good", "near"), (name, score)
        assert score.n == N_CONDITIONS
    worst = {s.metric: s for s in perturbation_scores(null, top, null)}
    for name in ("pearson_delta", "weighted_r2", "effect_mae", "energy_distance", "mmd2_perturbed", "de_overlap"):
        assert worst[name].level == "bad", (name, worst[name])
    assert null["pds_l1"].mean() == pytest.approx(0.5)  # the weakest true effect is the nearest
    assert "between" in ScoreTable(scores.values()).text() or "floor" in ScoreTable(scores.values()).text()


def test_the_mean_effect_is_found_out_by_centred_and_discriminating_scores(made: Panel) -> None:
    mean = [Predicted(h.centre) for h in made.held]
    table = made.score(mean)
    assert table["pearson_delta"].mean() > 0.4
    assert table["centred_pearson_delta"].abs().max() < 1e-6
    assert (table["weighted_r2"] <= 0).all()
    assert table["pds_l2"].mean() < 0.65
    assert table[list(CELL_METRICS)].isna().all(axis=None)  # a method of means only


def test_the_target_gene_counts_nowhere(made: Panel) -> None:
    right = [Predicted(h.effect, h.truth) for h in made.held]
    spoiled = []
    for i, h in enumerate(made.held):
        effect, cells = h.effect.copy(), h.truth.copy()
        effect[i] += 50
        cells[:, i] = 0
        spoiled.append(Predicted(effect, cells))
    columns = [c for c in PERTURBATION_METRICS if c not in ("energy_distance", "mmd2_perturbed", "effect_coverage")]
    pd.testing.assert_frame_equal(made.score(right)[columns], made.score(spoiled)[columns])


def test_noise_of_a_shared_control_passes_for_skill_and_disjoint_controls_do_not() -> None:
    """No effect at all, few controls: a predictor of nothing but control noise scores high only where it is shared."""
    r = {"shared": [], "disjoint": []}
    for seed in range(40):
        control, given, truth = (log_cells(1000 + 3 * seed + k, 12) for k in range(3))
        other = log_cells(5000 + seed, 12)
        used = np.ones(N_GENES, bool)
        base = HeldOut("p", "all", "all", truth, control, given, used, np.full(N_GENES, np.nan), used * 1.0)
        basis = Basis.fit(np.vstack([truth, control]), 2)
        for name, own in (("shared", control), ("disjoint", given)):
            guess = Predicted(other.mean(0) - own.mean(0))
            r[name].append(Panel([base], basis).score([guess])["pearson_delta"][0])
    assert np.mean(r["shared"]) > 0.3
    assert abs(np.mean(r["disjoint"])) < 4 * np.std(r["disjoint"]) / np.sqrt(40)


def test_coverage_and_intervals_over_conditions(made: Panel) -> None:
    wide = [Predicted(h.effect, None, h.effect - 1, h.effect + 1) for h in made.held]
    table = made.score(wide)
    assert table["effect_coverage"].tolist() == [1.0] * N_CONDITIONS
    narrow = [replace(w, low=w.effect + 0.9, high=w.effect + 1.1) for w in wide]
    assert made.score(narrow)["effect_coverage"].mean() < 0.2
    config = EvaluateConfig(n_bootstrap=20)
    score = next(s for s in perturbation_scores(table, table, table, config=config) if s.metric == "effect_mae")
    assert score.low <= score.value <= score.high


def test_baselines_by_hand() -> None:
    a, b = frozenset("A"), frozenset("B")
    names = ["", "A", "B", "A+B"]
    rows, parts, context = [], [], []
    for c, level in (("X", 0.0), ("Y", 1.0)):
        for i, name in enumerate(names):
            if c == "Y" and name == "B":
                continue
            for _ in range(5):
                rows.append(np.arange(6.0) * i + level * (i + 1))
                parts.append(frozenset(name.split("+")) - {""})
                context.append(c)
    read = np.empty(len(parts), object)
    read[:] = parts
    means = Means.of(np.array(rows), read, np.array(context), {"A": 0, "B": 1})
    one = np.arange(6.0)
    said = dict(means.predictions("X", a | b))
    assert set(said) == set(BASELINES)
    np.testing.assert_allclose(said["additive"], 3 * one)
    np.testing.assert_allclose(said["measured"], 3 * one)
    np.testing.assert_allclose(said["other_contexts"], 3 * one + 3)
    np.testing.assert_allclose(said["mean_effect"], 2 * one)
    np.testing.assert_allclose(dict(means.predictions("Y", b))["other_contexts"], 2 * one)
    assert "measured" not in dict(means.predictions("Y", b))
    np.testing.assert_allclose(means.centre("X", a), 2.5 * one)
    np.testing.assert_allclose(means.bilinear("X", frozenset("C")), means.mean_effect("X"))
    assert Means(means.effect, {}).bilinear("X", a) is None
    few = Means.of(np.array(rows), read, np.array(context), {}, min_cells=6)
    assert few.effect == {}


def test_the_bilinear_baseline_is_that_of_the_paper() -> None:
    """Against the equations solved by an ordinary least-squares routine on the stacked ridge problem."""
    random = np.random.default_rng(0)
    effects = {("all", frozenset({f"g{i}"})): random.normal(size=30) for i in range(8)}
    means = Means(effects, {f"g{i}": i for i in range(10)})
    y = np.stack(list(effects.values()))
    centre = y.mean(0)
    _, s, vt = np.linalg.svd(y - centre, full_matrices=False)
    g = (vt.T * s)[:, :7]
    p = g[:8]

    def ridge(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        both = np.vstack([x, np.sqrt(0.1) * np.eye(x.shape[1])])
        return np.linalg.lstsq(both, np.vstack([z, np.zeros((x.shape[1], z.shape[1]))]), rcond=None)[0]

    w = ridge(p, ridge(g, (y - centre).T).T).T
    np.testing.assert_allclose(means.bilinear("all", frozenset({"g9"})), g @ w @ g[9] + centre, atol=1e-8)


def test_numbers_that_do_not_fit_are_refused(made: Panel) -> None:
    with pytest.raises(InputError, match="5 conditions and 1 predictions"):
        made.score([Predicted(np.zeros(N_GENES))])
    with pytest.raises(InputError, match="no held-out conditions"):
        Panel([], made.basis)

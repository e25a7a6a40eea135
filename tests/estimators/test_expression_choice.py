"""The automatic choice: it finds the better candidate, says why, and asks nothing of cells that it cannot hold out."""

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.expression_choice import CANDIDATES, choose

N_GENES = 40
SLOW = ("deep", "regularised")


def cells(n: int, seed: int = 0) -> ad.AnnData:
    """Two types; genes of a block move together, so that a model without dependence is told at once."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 2, n)
    block = np.exp(random.normal(0.0, 0.8, (n, 1)) * np.sign(np.arange(N_GENES) - N_GENES / 2))
    mean = 3.0 * block * np.exp(0.5 * kind[:, None] * (np.arange(N_GENES) % 2))
    obs = pd.DataFrame({"kind": np.array(["B", "T"])[kind]}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(sparse.csr_matrix(random.poisson(mean).astype(np.float32) + 0.0), obs=obs)


class Resampler:
    """Draws training cells, or cells whose genes are shuffled between cells."""

    def __init__(self, train: ad.AnnData, shuffled: bool, bound: float = -100.0) -> None:
        self.train, self.shuffled, self.bound = train, shuffled, bound

    def sample(self, n: int, obs: Any = None, seed: int = 0) -> ad.AnnData:
        random = np.random.default_rng(seed)
        x = self.train.X.toarray()
        if self.shuffled:
            x = random.permuted(x, axis=0)
        return ad.AnnData(sparse.csr_matrix(x[random.choice(len(x), n, replace=False)]))

    def score_cells(self, adata: ad.AnnData, seed: int = 0) -> pd.Series:
        return pd.Series(self.bound, index=adata.obs_names)


@pytest.mark.parametrize(
    "better", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CANDIDATES]
)
def test_the_candidate_whose_draws_pass_for_held_out_cells_is_chosen(better: str) -> None:
    def fit(part: ad.AnnData, config: ExpressionConfig) -> Resampler:
        assert config.method != "auto"
        return Resampler(part, shuffled=config != ExpressionConfig().model_copy(update=CANDIDATES[better]))

    data = cells(400)
    config, evidence = choose(data, ExpressionConfig(), fit, ["kind"], "kind", 0)
    assert evidence["chosen"] == better
    assert all(getattr(config, name) == value for name, value in CANDIDATES[better].items())
    assert evidence["auc"][better] < 0.6 < min(v for k, v in evidence["auc"].items() if k != better)
    assert evidence["n_train"] + evidence["n_held_out"] == 400
    if better == "small":
        assert config == choose(data, ExpressionConfig(), fit, ["kind"], "kind", 0)[0]


@pytest.mark.parametrize(("bound", "chosen"), [pytest.param(-101.0, "deep", marks=pytest.mark.slow), (-110.0, "small")])
def test_a_network_that_has_memorised_its_cells_is_left_out(bound: float, chosen: str) -> None:
    """The deep network's draws pass best, but its held-out likelihood is 1 or 10 % below the others'."""

    def fit(part: ad.AnnData, config: ExpressionConfig) -> Resampler:
        deep, small = config.loading_penalty == 0.0, config.n_hidden == 64
        return Resampler(part, shuffled=not (deep or small), bound=bound if deep else -100.0)

    # Both pass: among equals the draws' noise decides, so the small network's are made slightly worse.
    def noisy(part: ad.AnnData, config: ExpressionConfig) -> Resampler:
        made = fit(part, config)
        if config.n_hidden == 64:
            x = made.train.X.toarray()
            x[:, :8] = np.random.default_rng(0).permuted(x[:, :8], axis=0)
            made.train = ad.AnnData(sparse.csr_matrix(x))
        return made

    evidence = choose(cells(600), ExpressionConfig(), noisy, ["kind"], "kind", 0)[1]
    assert evidence["chosen"] == chosen
    assert evidence["auc"]["deep"] < evidence["auc"]["small"]


def test_no_trial_where_cells_are_too_few_or_enough_or_one_candidate_is_left() -> None:
    def fit(part: ad.AnnData, config: ExpressionConfig) -> Resampler:
        raise AssertionError("a trial was made")

    for n, config, chosen in (
        (60, ExpressionConfig(), "small"),
        (400, ExpressionConfig(trial_cells=399), "deep"),
        (400, ExpressionConfig(candidates=("copula",)), "copula"),
    ):
        found, evidence = choose(cells(n), config, fit, ["kind"], "kind", 0)
        assert evidence["chosen"] == chosen
        assert found.method == CANDIDATES[chosen]["method"]
    own = choose(cells(60), ExpressionConfig(loading_penalty=7.0), fit, ["kind"], "kind", 0)[0]
    assert own.loading_penalty == 7.0


@pytest.mark.slow
def test_the_evidence_is_kept_with_the_model(tmp_path) -> None:
    plan = TrainPlan(n_steps=20, minibatch_size=32, steps_per_call=10)
    sizes = {"n_latent": 2, "n_hidden": 8, "n_layers": 1, "n_flow_layers": 1}
    config = ExpressionConfig(candidates=("small", "copula"), **sizes, vae=plan, flow=plan)
    data = cells(200)
    data.obs["donor"] = [f"d{i}" for i in range(200)]  # every held-out cell's donor is unknown in the trial
    model = ExpressionModel.fit(cells(200), labels_key="kind", config=config)
    assert model.config.method in ("vae", "copula")
    assert set(model.selection["auc"]) == {"small", "copula"}
    assert ExpressionModel.load(model.save(tmp_path / "model")).selection == model.selection
    config = config.model_copy(update={"candidates": ("copula", "small")})
    few = ExpressionModel.fit(data, labels_key="kind", categorical_covariate_keys=["donor"], config=config)
    assert "too few" in few.selection["reason"]

"""Which model a data set gets, by how well its draws pass for cells that were held out of its training.

Small data sets want other capacities than large ones, and neither their size nor the held-out likelihood says
which: so each candidate is trained on three quarters of the cells and a classifier tries to tell its draws
from the last quarter. The scores go into the model's card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from genesim import rng
from genesim.config.model import ExpressionConfig
from genesim.console import log
from genesim.metrics.expression import classifier_auc

CANDIDATES: dict[str, dict[str, Any]] = {
    "deep": {"method": "vae", "loading_penalty": 0.0},
    "regularised": {"method": "vae", "loading_penalty": 300.0},
    "small": {"method": "vae", "loading_penalty": 300.0, "kl_weight": 1.0, "n_hidden": 64},
    "copula": {"method": "copula"},
}
"""What each candidate changes in the configuration."""
_HELD_OUT = 0.25
_MIN_HELD_OUT = 40
"""With fewer held-out cells a classifier's score is noise."""
_N_DRAWS = 4
_TOLERATED = 0.02
"""Share by which a network's held-out likelihood bound may lie below the best network's."""
_MAX_GENES = 2000
"""A trial sees the genes most variable for their mean, this many: how much may be learned depends on the cells."""


class Sampler(Protocol):
    """What the choice needs of a trained model."""

    def sample(self, n: int, obs: Any = None, seed: int = 0) -> ad.AnnData: ...

    def score_cells(self, adata: ad.AnnData, seed: int = 0) -> pd.Series: ...


def choose(
    cells: ad.AnnData,
    config: ExpressionConfig,
    fit: Callable[[ad.AnnData, ExpressionConfig], Sampler],
    columns: Sequence[str],
    labels_key: str | None,
    seed: int,
) -> tuple[ExpressionConfig, dict[str, Any]]:
    """The candidate whose draws a classifier tells least from held-out cells, and the evidence.

    A candidate's score is the mean over four draws of the classifier's AUC on principal components and of the
    same with library size, detected genes and the most variable genes added (.5 is perfect). Networks whose bound
    of the held-out cells' log-likelihood is more than 2 % below the best one's have memorised their cells, and are
    out. The copula has no such bound: it wins only where it is better by more than its own SD between draws.

    Args:
        cells: Training cells with all covariates in obs.
        config: Configuration with `method="auto"`.
        fit: Trains on cells with a configuration.
        columns: Covariates in obs, which the draws get from the held-out cells.
        labels_key: Column whose levels the held-out cells keep their shares of.
        seed: The user's seed.

    Returns:
        The configuration with the choice filled in, and what is written to the card.
    """
    names = list(config.candidates)
    if len(names) == 1:
        return _filled(config, names[0]), {"chosen": names[0], "reason": "the only candidate"}
    if cells.n_obs > config.trial_cells:
        chosen = "deep" if "deep" in names else names[0]
        return _filled(config, chosen), {"chosen": chosen, "reason": f"no trial above {config.trial_cells:,} cells"}
    train, test = _divided(cells, columns, labels_key, seed)
    if len(test) < _MIN_HELD_OUT:
        chosen = "small" if "small" in names else names[0]
        return _filled(config, chosen), {"chosen": chosen, "reason": f"too few cells for a trial ({cells.n_obs:,})"}
    cells = cells[:, _variable_genes(sparse.csr_matrix(cells.X))]
    real, obs = sparse.csr_matrix(cells[test].X), cells.obs.iloc[test][list(columns)]
    scores: dict[str, list[float]] = {}
    bounds: dict[str, float] = {}
    for name in names:
        model = fit(cells[train].copy(), _filled(config, name))
        scores[name] = []
        if _filled(config, name).method == "vae":
            bounds[name] = float(model.score_cells(cells[test].copy(), seed=seed).mean())
        for draw in range(_N_DRAWS):
            drawn = sparse.csr_matrix(model.sample(len(test), obs=obs, seed=draw).X)
            for harder in (False, True):
                scores[name].append(classifier_auc(real, drawn, seed=draw, harder=harder).auc)
        log.info("expression candidate %s: held-out classifier AUC %.3f", name, np.mean(scores[name]))
    means = {name: float(np.mean(aucs)) for name, aucs in scores.items()}
    spread = {name: float(np.std(aucs[::2], ddof=1)) for name, aucs in scores.items()}
    least = max(bounds.values()) * (1 + _TOLERATED) if bounds else 0.0  # bounds are negative
    fair = [name for name in bounds if bounds[name] >= least] or list(means)
    best = min(fair, key=lambda name: means[name])
    others = [name for name in means if name not in bounds and means[name] + spread[name] < means[best]]
    best = min([best, *others], key=lambda name: means[name])
    evidence = {
        "chosen": best,
        "reason": "lowest AUC of a classifier between draws and held-out cells, of networks that have not memorised",
        "auc": {name: round(value, 4) for name, value in means.items()},
        "auc_sd_between_draws": {name: round(value, 4) for name, value in spread.items()},
        "held_out_log_likelihood_bound": {name: round(value, 2) for name, value in bounds.items()},
        "n_train": len(train),
        "n_held_out": len(test),
    }
    return _filled(config, best), evidence


def _filled(config: ExpressionConfig, name: str) -> ExpressionConfig:
    """`config` with what the candidate sets, but for a loading penalty that the user chose."""
    changes = dict(CANDIDATES[name])
    if config.loading_penalty is not None:
        changes.pop("loading_penalty", None)
    return config.model_copy(update=changes)


def _variable_genes(counts: sparse.csr_matrix) -> Int[np.ndarray, " used"]:
    mean = np.asarray(counts.mean(axis=0)).ravel()
    fano = (np.asarray(counts.multiply(counts).mean(axis=0)).ravel() - mean**2) / (mean + 0.01)
    return np.sort(np.argsort(-fano, kind="stable")[:_MAX_GENES])


def _divided(
    cells: ad.AnnData, columns: Sequence[str], labels_key: str | None, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Rows to train on, and a quarter of each label's cells to test on, less those of levels that only they have."""
    random = rng.generator(seed, "expression", "trial")
    order = random.permutation(cells.n_obs)
    label = np.zeros(cells.n_obs, int) if labels_key is None else pd.factorize(cells.obs[labels_key])[0]
    code = label[order]
    test = np.concatenate([order[code == a][: int(_HELD_OUT * (code == a).sum())] for a in np.unique(code)])
    train = np.setdiff1d(np.arange(cells.n_obs), test)
    for column in columns:
        values = cells.obs[column]
        if not pd.api.types.is_numeric_dtype(values):
            test = test[values.iloc[test].isin(values.iloc[train].unique()).to_numpy()]
    return train, np.sort(test)

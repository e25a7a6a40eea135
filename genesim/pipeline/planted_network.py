"""A network that learns cells by heart: what the white-box attack has to expose before it may say anything.

genesim's own network of counts, with all that keeps it from memorising taken away: no dropout, no penalty, no weight
decay, little weight on the KL term, nothing held out to stop by, and many passes over few cells. Its likelihood of a
cell is the one that `ExpressionModel.score_cells` gives of the audited model.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import DonorAuditConfig
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.estimators.expression_fit import fit_vae
from genesim.evaluate.donor_attacks import DonorCells
from genesim.evaluate.donor_white_box import Learner, Likelihood
from genesim.models.expression.posterior import log_likelihood_bound
from genesim.types import Condition

BY_HEART = ExpressionConfig(
    method="vae", n_latent=32, n_hidden=256, dropout=0.0, kl_weight=0.1, offset_penalty=0.0, loading_penalty=0.0
)
"""Sizes and penalties of a network that memorises, chosen on data that no published figure is from: see benchmarks."""


def memorising_learner(seed: int, config: DonorAuditConfig) -> Learner:
    """Networks of `BY_HEART`, trained for `config.planted_steps`; every name has draws of its own."""
    plan = TrainPlan(n_steps=config.planted_steps, minibatch_size=128, learning_rate=2e-3, weight_decay=0.0)
    settings = BY_HEART.model_copy(update={"vae": plan})

    def learn(cells: DonorCells, name: str) -> Likelihood:
        levels = np.unique(cells.labels)

        def inputs(part: DonorCells) -> tuple[sparse.csr_matrix, Condition]:
            at = np.minimum(np.searchsorted(levels, part.labels), len(levels) - 1)
            code = np.where(levels[at] == part.labels, at, -1).astype(np.int32)
            library = np.log(np.maximum(part.library, 1.0)).astype(np.float32)
            nothing = np.zeros((len(part), 0), np.float32)
            return sparse.csr_matrix(part.counts, dtype=np.float32), Condition(code[:, None], nothing, library)

        counts, condition = inputs(cells)
        shares = np.bincount(np.asarray(condition.categories)[:, 0], minlength=len(levels)) / len(cells)
        own = rng.seed(seed, "privacy", "planted", name)
        vae = fit_vae(counts, condition, (len(levels),), [shares], settings, own).model

        def likelihood(part: DonorCells) -> np.ndarray:
            return log_likelihood_bound(vae, *inputs(part), rng.key(seed, "privacy", "planted", name, "score"))

        return likelihood

    return learn

"""On OneK1K: the model beats the null by far at telling-apart, in a fraction of the default training."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.estimators.expression import ExpressionModel
from genesim.metrics.expression import classifier_auc


@pytest.mark.slow
def test_cells_are_harder_to_tell_from_real_ones_than_the_nulls(shared_data: Path) -> None:
    cells = ad.read_h5ad(shared_data / "expression" / "onek1k_40donors.h5ad")
    order = np.random.default_rng(0).permutation(cells.n_obs)
    train, test = cells[order[:2500]].copy(), sparse.csr_matrix(cells.X[order[2500:5000]])
    short = ExpressionConfig(
        dropout=0.1,
        vae=TrainPlan(n_steps=2000, minibatch_size=128),
        flow=TrainPlan(n_steps=1500, ema_decay=0.99, weight_decay=0.0),
    )
    auc = {}
    for name, config in (("model", short), ("null", ExpressionConfig(method="independent"))):
        model = ExpressionModel.fit(train, labels_key="cell_type", config=config, seed=0)
        auc[name] = classifier_auc(test, model.sample(2500, seed=1).X).auc
    auc["floor"] = classifier_auc(test, sparse.csr_matrix(train.X)).auc
    assert auc["floor"] == pytest.approx(0.5, abs=0.03)
    assert auc["null"] > 0.7
    assert auc["model"] < 0.62
    assert auc["model"] - auc["floor"] < 0.4 * (auc["null"] - auc["floor"])

"""The audits on AnnData: `audit_privacy` with a trained network, `audit_linkage` with a map of effects."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from linked_donors import N_LINKED, expression_for, genotypes_of
from scipy import sparse

import genesim as gs
from genesim.config.base import parse
from genesim.config.evaluate import DonorAuditConfig
from genesim.config.model import EffectConfig, ExpressionConfig
from genesim.errors import ConfigError, InputError, JoinError

SMALL = DonorAuditConfig(
    max_genes=30, copula_genes=20, n_components=10, density_components=5, n_bootstrap=50, planted_steps=300
)


def cells_of(prefix: str, n_donors: int, seed: int, n_genes: int = 30) -> ad.AnnData:
    random = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), 20)
    rate = np.exp(random.normal(0, 0.3, (n_donors, n_genes)))[donor] * np.linspace(0.5, 4, n_genes)
    obs = pd.DataFrame(
        {
            "who": [f"{prefix}{i}" for i in donor],
            "sex": np.where(donor % 2 == 0, "F", "M"),
            "ancestry": "A",
            "cell_type": np.tile(["B", "T"], len(donor) // 2),
        },
        index=[f"{prefix}{i}" for i in range(len(donor))],
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    return ad.AnnData(sparse.csr_matrix(random.poisson(rate)), obs=obs, var=var)


@pytest.mark.slow
def test_audit_of_a_trained_network_has_the_white_box_and_groups() -> None:
    train, holdout = cells_of("a", 8, 0), cells_of("b", 8, 1)
    config = parse(
        ExpressionConfig,
        {
            "method": "vae",
            "n_latent": 3,
            "n_hidden": 16,
            "n_layers": 1,
            "n_flow_layers": 1,
            "n_flow_steps": 2,
            "vae": {"n_steps": 20, "minibatch_size": 32},
            "flow": {"n_steps": 20, "minibatch_size": 32},
        },
    )
    model = gs.ExpressionModel.fit(train, labels_key="cell_type", config=config)
    made = model.sample(200, seed=1)
    keys = {"donor_key": "who", "labels_key": "cell_type", "config": SMALL}
    audit = gs.audit_privacy(train, holdout, made, model=model, group_keys=("ancestry", "sex"), **keys)
    rows = {(row.attack, row.figure): row for row in audit.rows}
    assert {c.kind for c in audit.controls if c.attack == "white_box"} == {"memoriser", "honest"}
    assert rows["white_box", "auc"].null > 0.95
    assert 0 <= rows["white_box", "auc"].value <= 1
    assert {g.attribute for g in audit.groups} == {"ancestry", "sex", "ancestry x sex"}
    assert all(g.verdict == "inconclusive: too few donors" for g in audit.groups)
    assert audit.conclusion in ("inconclusive", "not valid")
    without = gs.audit_privacy(train, holdout, made, **keys)
    assert next(r for r in without.rows if r.figure == "auc").value == rows["nearest", "auc"].value
    baseline = gs.ExpressionModel.fit(train, labels_key="cell_type", config=ExpressionConfig(method="independent"))
    with pytest.raises(ConfigError, match="no likelihood"):
        gs.audit_privacy(train, holdout, made, model=baseline, **keys)
    with pytest.raises(JoinError, match="not in the simulated cells"):
        gs.audit_privacy(train, holdout, made[:, :10].copy(), **keys)


def test_linkage_finds_donors_whose_genotypes_made_the_cells() -> None:
    panel, known = genotypes_of(100, 0, "p"), genotypes_of(50, 1, "k")
    genes = pd.DataFrame(
        {"contig": "22", "tss": np.arange(N_LINKED) * 10_000}, index=[f"g{i}" for i in range(N_LINKED)]
    )
    config = EffectConfig(window=5_000, n_factors=0, min_cells=2)
    effects = gs.EffectModel.fit(expression_for(panel, 2), panel, genes, config=config)
    made = expression_for(known.subset(donors=list(known.donors[:25])), 3)
    members, others = list(known.donors[:25]), list(known.donors[25:])
    audit = gs.audit_linkage(made, known, effects, truth={d: d for d in members}, train=members, holdout=others)
    assert audit.linked is not None
    assert audit.chance is not None
    assert audit.membership_auc is not None
    assert audit.linked.rank.value < 0.02
    assert audit.linked.found.value > 0.9
    assert audit.chance.rank.low < 0.5 < audit.chance.rank.high
    assert audit.membership_auc.value > 0.95
    assert "linked to their genotypes" in audit.verdict

    nobody = expression_for(genotypes_of(25, 9, "x"), 4)
    honest = gs.audit_linkage(nobody, known, effects, train=members, holdout=others)
    assert honest.membership_auc is not None
    assert honest.membership_auc.low < 0.5 < honest.membership_auc.high
    assert honest.verdict == "no sign of a link"
    few = gs.audit_linkage(nobody, known, effects, train=members[:5], holdout=others[:5])
    assert few.verdict.startswith("inconclusive")
    with pytest.raises(InputError, match="neither"):
        gs.audit_linkage(made, known, effects)
    with pytest.raises(JoinError, match="'nobody'"):
        gs.audit_linkage(made, known, effects, truth={members[0]: "nobody"})

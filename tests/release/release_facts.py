"""Facts of a run that never was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from genesim.config.release import ReleaseAnswers
from genesim.release.facts import ModelFacts, RunFacts
from genesim.release.records import Row

PROVENANCE: dict[str, Any] = {
    "verb": "simulate",
    "seed": 3,
    "config": {"name": "small"},
    "inputs": {},
    "versions": {"genesim": "0.1.0", "python": "3.11"},
}


def row(subject: str, metric: str, family: str = "privacy", level: str = "good", **more: Any) -> Row:
    """A score."""
    values: dict[str, Any] = {
        "label": metric.replace("_", " "),
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "floor": 0.5,
        "null": 0.9,
        "n": 100,
        "unit": "AUC",
        "verdict": "no sign of copying",
        "meaning": "what it means",
    }
    return Row(subject=subject, metric=metric, family=family, level=level, **{**values, **more})


def donors(n: int, seed: int = 0) -> pd.DataFrame:
    """Real donors, half of them held out."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "ancestry": draw.choice(["AAA", "BBB"], n),
            "sex": draw.choice(["female", "male"], n),
            "split": np.where(np.arange(n) % 2 == 0, "train", "test"),
            "has_cells": True,
            "has_genotypes": True,
        },
        index=[f"real{i}" for i in range(n)],
    )


def make_facts(**changes: Any) -> RunFacts:
    """Facts of a run that never was; `changes` replace fields."""
    model = ModelFacts(
        name="haplotypes/21",
        modality="haplotypes",
        card={"id": "anchmm", "title": "an HMM", "fitted_by": "em", "copies": False, "citations": ["Somebody 2006"]},
        provenance={**PROVENANCE, "verb": "train haplotypes", "config": {"n_states": 4}},
        sha256="1" * 64,
        n_genes=None,
        n_variants=12,
    )
    made = pd.DataFrame({"ancestry": ["AAA"] * 6 + ["BBB"] * 4, "sex": ["female", "male"] * 5, "n_cells": 3})
    facts = RunFacts(
        answers=ReleaseAnswers(),
        cohort_sha256="a" * 64,
        simulated_sha256="b" * 64,
        evaluation_sha256="c" * 64,
        donors=donors(120),
        simulated_donors=made,
        n_train_cells=500,
        n_variants=12,
        n_missing_calls=0,
        n_genes=7,
        n_simulated_cells=30,
        cell_types={"B": 20, "T": 10},
        info={"inputs": {"h5ad": "cells.h5ad", "deal": [], "held_out": 0.5}},
        simulation=PROVENANCE,
        models=(model,),
        scores=(
            row("expression", "nearest_neighbour_share"),
            row("haplotypes 21", "membership_auc"),
            row("haplotypes 21", "ld_rmse", "fidelity", "middle", null=float("nan")),
        ),
        group_rows=(),
        groups_not_scored=("cells, sex male: insufficient",),
        tables=("donors", "effects"),
    )
    return replace(facts, **changes)

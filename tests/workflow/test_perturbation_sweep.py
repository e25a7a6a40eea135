"""A perturbation screen alone: the workflow trains on it and predicts every perturbation of a sweep, each in a job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.provenance.manifest import verify_manifest

N_GENES = 30


def write_screen(path: Path) -> None:
    """Two lines, two perturbations and their pair; panel counts with a library size."""
    random = np.random.default_rng(0)
    effects = {name: np.random.default_rng(i).normal(0, 0.6, N_GENES) for i, name in enumerate(("g1", "g2"))}
    rows = [(line, label) for line in "XY" for label in ("control", "g1", "g2") for _ in range(30)]
    rate = np.random.default_rng(9).uniform(0.5, 20, N_GENES)
    counts = np.stack([random.poisson(rate * np.exp(effects.get(label, 0.0))) for _, label in rows])
    obs = pd.DataFrame(rows, columns=["line", "condition"], index=[f"c{i}" for i in range(len(rows))])
    obs["library"] = 500.0
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=var).write_h5ad(path)


def test_a_sweep_is_scattered_gathered_and_grows_without_doing_anything_twice(tmp_path: Path, workflow: Any) -> None:
    write_screen(tmp_path / "screen.h5ad")
    config: dict[str, Any] = {
        "perturbation": {
            "h5ad": "screen.h5ad",
            "covariate_keys": ["line"],
            "library_key": "library",
            "n_cells": 25,
            "sweep": ["g2:0.5+g1"],
        }
    }
    made = workflow(tmp_path, config)
    assert made.returncode == 0, made.stdout + made.stderr
    results = tmp_path / "results"
    for name in ("models/perturbation", "perturb/g1+g2@0.5"):
        verify_manifest(results / name)
    cells = ad.read_h5ad(results / "perturb" / "g1+g2@0.5" / "g1+g2@0.5.h5ad")
    assert cells.n_obs == 25
    assert cells.uns["genesim"]["synthetic"]
    effects = pd.read_parquet(results / "perturb" / "effects.parquet")
    assert set(effects["perturbation"]) == {"g1+g2@0.5"}
    assert len(effects) == N_GENES * effects["context"].nunique()
    assert set(effects["regime"]) == {"combination"}
    jobs = {"train_perturbation", "perturb.g1+g2@0.5", "perturbation_effects"}
    for folder in ("logs", "benchmarks"):
        assert {path.stem for path in (results / folder).iterdir() if path.suffix != ".jsonl"} == jobs

    config["perturbation"]["sweep"].append("g2")
    shown = workflow(tmp_path, config, "--dry-run", "--quiet", "rules")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", shown.stdout, re.M))
    assert counts == {"all": "1", "perturb": "1", "perturbation_effects": "1", "total": "3"}

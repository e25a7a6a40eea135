"""The haplotype benchmark's figure draws whatever rows a run has."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from haplotype_figure import figure
from haplotype_scores import DECAY_BINS


@pytest.mark.parametrize("full", [True, False])
def test_figure_of_a_full_run_and_of_one_that_lacks_metrics(tmp_path: Path, full: bool) -> None:
    decay = {f"r2_{a / 1000:g}_{b / 1000:g}kb": 0.1 for a, b in pairwise(DECAY_BINS)}
    scores = {"ld_rmse": 0.03, "privacy_loss": 0.01, "impute_r2": 0.6, "impute_r2_rare": 0.2}
    scores |= {"aa_t_train": 0.6, "aa_s_train": 0.4}
    rows = [
        {"panel": panel, "population": "all", "method": method, "seed": 0} | decay | (scores if full else {})
        for panel in ("one", "two")
        for method in ("held_out", "floor", "mosaic", "anchmm", "anchmm_k8")
    ]
    frequencies = {"held_out": np.linspace(0, 1, 9), "anchmm": np.linspace(0, 1, 9)} if full else {}
    figure(pd.DataFrame(rows), frequencies, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000

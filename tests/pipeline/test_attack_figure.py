"""The attacks on donors that `evaluate` records are drawn by the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from genesim.evaluate.donor_attacks import ATTACKS
from genesim.evaluate.donor_privacy import mean_roc
from genesim.pipeline.report_figures import AUDIT, attack_figures


def test_recorded_curves_are_drawn_and_without_any_there_is_no_figure(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    # A memoriser: members stand above all others, so the mean curve rises at a false-positive rate of 0.
    fpr, tpr = mean_roc([(random.normal(3, 1, 20), random.normal(0, 1, 20)) for _ in range(2)])
    assert tpr[0] > 0
    assert list(attack_figures(tmp_path)) == []
    name = next(iter(ATTACKS))
    curve = {"fpr": np.round(fpr, 4).tolist(), "tpr": np.round(tpr, 4).tolist()}
    (tmp_path / AUDIT).write_text(json.dumps({"curves": {name: curve}}))
    (figure,) = attack_figures(tmp_path)
    assert ATTACKS[name].split()[0] in figure.svg
    assert "Dashed" not in figure.caption
    # What `evaluate` writes: the planted memoriser's curves stand beside the attacks'.
    (tmp_path / AUDIT).write_text(json.dumps({"curves": {name: curve, f"memoriser, {name}": curve}}))
    (figure,) = attack_figures(tmp_path)
    assert "planted memoriser" in figure.svg.replace("-", " ")
    assert "Dashed" in figure.caption
    (tmp_path / AUDIT).write_text(json.dumps({"conclusion": "not made", "reason": "too few donors"}))
    assert list(attack_figures(tmp_path)) == []

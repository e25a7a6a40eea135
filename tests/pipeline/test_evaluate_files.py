"""Cells on disk give the scores of the same cells in memory; donors keep their cells where some are left out."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from two_types import SMALL, cells

import genesim as gs
from genesim.data.backed import BackedCounts
from genesim.errors import H5adError, JoinError
from genesim.evaluate import cells as evaluated
from genesim.evaluate.score import Score
from genesim.pipeline import evaluate_cells
from genesim.pipeline.evaluate_cells import capped_rows


def as_adata(seed: int, n: int, prefix: str) -> ad.AnnData:
    counts, labels = cells(seed, n)
    obs = pd.DataFrame({"cell_type": labels}, index=[f"{prefix}{i}" for i in range(n)])
    return ad.AnnData(counts.astype(np.int32), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(80)]))


def test_files_on_disk_give_the_scores_of_cells_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = SMALL.model_copy(update={"max_cells": 90})
    parts = {"real": as_adata(1, 150, "r"), "simulated": as_adata(4, 260, "s"), "train": as_adata(2, 200, "t")}
    parts["simulated"] = parts["simulated"][:, ::-1].copy()  # genes in another order
    for name, part in parts.items():
        part.write_h5ad(tmp_path / f"{name}.h5ad", compression="gzip")
    expected = gs.evaluate(**parts, labels_key="cell_type", config=few)
    monkeypatch.setattr(evaluate_cells, "STREAM_BYTES", 0)
    seen = []
    walk = evaluated.blocks_of
    monkeypatch.setattr(evaluated, "blocks_of", lambda counts: (seen.append(type(counts)), walk(counts))[1])
    files = {name: tmp_path / f"{name}.h5ad" for name in parts}
    found = gs.evaluate(**files, labels_key="cell_type", config=few)  # type: ignore[arg-type]
    assert seen == [BackedCounts] * 3
    assert found.to_frame().equals(expected.to_frame())
    assert {s.metric: s.n for s in found}["ks_gene_mean"] == 150
    with pytest.raises(JoinError, match="'g79'"):
        gs.evaluate(files["real"], parts["simulated"][:, 1:].copy(), labels_key="cell_type", config=few)


def test_integration_is_scored_where_batches_are_given_and_a_lost_batch_effect_is_seen() -> None:
    """Real cells of two batches that differ in half of the genes; simulated cells with that effect, and without it."""

    def batched(seed: int, prefix: str, effect: float) -> ad.AnnData:
        made = as_adata(seed, 240, prefix)
        random = np.random.default_rng(seed)
        batch = random.integers(0, 2, 240)
        fold = np.where(np.arange(80) % 2, np.exp(effect * batch)[:, None], 1.0)
        made.X = sparse.csr_matrix(random.poisson(made.X.toarray() * fold).astype(np.int32))
        made.obs["batch"] = np.array([f"{prefix} one", f"{prefix} two"])[batch]
        return made

    def scores(effect: float) -> dict[str, Score]:
        sides = batched(1, "r", 1.5), batched(4, "s", effect), batched(2, "t", 1.5)
        return {s.metric: s for s in gs.evaluate(*sides, labels_key="cell_type", batch_key="batch", config=SMALL)}

    kept, lost = scores(1.5), scores(0.0)
    gap = "integration_mixing_gap"
    assert kept[gap].value < 0.15
    assert kept[gap].level in ("good", "near")
    assert lost[gap].value > 0.4
    assert lost[gap].level == "bad"
    assert 0 <= kept["integration_label_gap"].value < 0.1
    assert gap not in {s.metric for s in gs.evaluate(as_adata(1, 100, "r"), as_adata(4, 100, "s"), config=SMALL)}
    with pytest.raises(H5adError, match="batch_key"):
        gs.evaluate(batched(1, "r", 0.0), as_adata(4, 100, "s"), batch_key="batch", config=SMALL)


def test_every_donor_keeps_all_cells_or_as_many_as_any_other() -> None:
    donors = np.repeat(np.array(["a", "b", "c", "d"], object), [500, 3, 40, 200])
    donors = donors[np.random.default_rng(0).permutation(len(donors))]
    kept = capped_rows(donors, 200, 0, "cells")
    assert (np.diff(kept) > 0).all()
    assert pd.Series(donors[kept]).value_counts().to_dict() == {"a": 78, "d": 78, "c": 40, "b": 3}
    assert capped_rows(donors, 743, 0, "cells").tolist() == list(range(743))
    assert len(capped_rows(donors, 2, 0, "cells")) == 4  # no donor is lost
    assert capped_rows(donors, 8, 0, "cells").tolist() != capped_rows(donors, 8, 1, "cells").tolist()


@pytest.mark.slow
def test_a_run_with_cells_on_disk_has_the_scores_of_a_run_in_memory(
    tiny_run: Path, tiny_config: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genesim.config.base import parse
    from genesim.config.evaluate import EvaluateConfig
    from genesim.config.model import EffectConfig
    from genesim.pipeline import evaluate as runs

    results = tiny_run / "results"
    settings = parse(EvaluateConfig, tiny_config["evaluate"])
    effects = parse(EffectConfig, tiny_config["models"]["effects"])

    def scores(out: Path) -> pd.DataFrame:
        return runs.evaluate_run(
            results / "cohort", results / "sim", out=out, config=settings, effects=effects
        ).to_frame()

    expected = scores(tmp_path / "memory")
    monkeypatch.setattr(runs, "is_large", lambda path: True)
    monkeypatch.setattr(runs, "STREAM_BYTES", 0)
    pd.testing.assert_frame_equal(scores(tmp_path / "disk"), expected)

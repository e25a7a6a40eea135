"""Scorers of the benchmarks: exact on small answers, apart from their nulls, strict about the format."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.errors import ConfigError, InputError
from genesim.evaluate.benchmarks import score_answer

CELLS = pd.Index([f"c{i}" for i in range(200)])


def scored(name: str, answer: pd.DataFrame, truth: dict[str, pd.DataFrame], **known: object) -> pd.DataFrame:
    lists = {key: pd.Index(value) for key, value in known.items()}
    return score_answer(name, answer, truth, lists).set_index("metric")


def test_rare_cells_count_by_recall_and_precision() -> None:
    truth = {"cells": pd.DataFrame({"cell": CELLS, "is_rare": np.arange(200) < 10})}
    answer = pd.DataFrame({"cell": CELLS[5:20], "is_rare": True})
    found = scored("rare_type", answer, truth, cell=CELLS)
    assert found.loc["recall", "value"] == 0.5
    assert found.loc["precision", "value"] == pytest.approx(5 / 15)
    assert found.loc["f1", "value"] == pytest.approx(0.4)
    assert found.loc["f1", "null"] < 0.15


def test_a_ranking_is_scored_whatever_the_order_and_those_left_out_come_last() -> None:
    truth = {"cells": pd.DataFrame({"cell": CELLS, "is_doublet": np.arange(200) < 20})}
    answer = pd.DataFrame({"cell": CELLS[:20][::-1], "score": -1.0})
    found = scored("doublets", answer, truth, cell=CELLS)
    assert found.loc["auroc", "value"] == found.loc["auprc", "value"] == 1
    assert abs(found.loc["auroc", "null"] - 0.5) < 0.05
    constant = scored("doublets", pd.DataFrame({"cell": CELLS, "score": 3.0}), truth, cell=CELLS)
    assert constant.loc["auroc", "value"] == 0.5
    assert constant.loc["auprc", "value"] == pytest.approx(0.1)


def de_truth(n: int = 100) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    table = pd.DataFrame({"gene": [f"g{i}" for i in range(n)], "cell_type": "B"})
    return table, {"de": table.assign(log2_fold_change=np.where(np.arange(n) < 20, np.resize([1.0, -2.0], n), 0.0))}


def test_differential_expression() -> None:
    table, truth = de_truth()
    p = np.where(np.arange(100) < 10, 1e-6, 0.9)
    p[50:60] = 1e-6
    answer = table.assign(p_value=p, log2_fold_change=truth["de"]["log2_fold_change"] * 2)
    found = scored("de", answer, truth, gene=table["gene"], cell_type=["B"])
    assert found.loc["power", "value"] == 0.5
    assert found.loc["false_discovery_rate", "value"] == 0.5
    assert found.loc["log2_fold_change_correlation", "value"] == pytest.approx(1)
    assert found.loc["false_discovery_rate", "null"] > 0.6


def test_eqtls_count_through_their_proxies() -> None:
    genes, variants = [f"g{i}" for i in range(20)], [f"v{i}" for i in range(40)]
    effects = pd.DataFrame({"gene": genes[:4], "variant": variants[:4], "cell_type": "*", "log2_afc": [1.0, 1, -1, 1]})
    own = effects.rename(columns={"variant": "causal"}).assign(variant=variants[:4], r2=1.0, transfer=1.0)
    proxy = own.iloc[[1]].assign(variant="v20", r2=0.8, transfer=-1.0)
    linked = pd.concat([own, proxy])[["gene", "cell_type", "causal", "variant", "r2", "transfer"]]
    answer = pd.DataFrame(
        {
            "gene": ["g0", "g1", "g2", "g9"],
            "variant": ["v0", "v20", "v2", "v2"],
            "q_value": [0.01, 0.01, 0.5, 0.01],
            "pip": [1.0, 0.0, 1.0, 0.0],
            "log2_afc": [1.0, -1.0, -1.0, 1.0],
        }
    )
    found = scored("eqtl", answer, {"effects": effects, "linked": linked}, gene=genes, variant=variants)
    assert found.loc["power", "value"] == 0.5
    assert found.loc["false_discovery_rate", "value"] == pytest.approx(1 / 3)
    assert found.loc["effect_slope", "value"] == pytest.approx(0.5)  # the other half is not called
    assert found.loc["pip_calibration_error", "value"] == 0
    assert found.loc["power", "null"] < 0.5
    # The right variant in the wrong cell type is no discovery.
    in_type = {name: table.assign(cell_type="B") for name, table in (("effects", effects), ("linked", linked))}
    for cell_type, power in (("B", 0.5), ("T", 0.0)):
        other = answer.assign(cell_type=cell_type)
        specific = scored("eqtl_specific", other, in_type, gene=genes, variant=variants, cell_type=["B", "T"])
        assert specific.loc["power", "value"] == power


def test_edges_that_tie_share_their_places() -> None:
    edges = pd.DataFrame({"regulator": "r", "target": [f"g{i}" for i in range(10)], "is_edge": np.arange(10) < 2})
    truth = {"edges": edges}
    known = {"regulator": ["r"], "target": edges["target"]}
    best = scored("grn", edges.assign(score=edges["is_edge"].astype(float)), truth, **known)
    assert (best["value"] == 1).all()
    tied = scored("grn", edges.assign(score=1.0), truth, **known)
    assert tied.loc["early_precision", "value"] == pytest.approx(0.2)


def test_an_integration_must_mix_batches_and_keep_types() -> None:
    stream = np.random.default_rng(0)
    kind, batch = np.repeat(["B", "T"], 100), np.tile(["batch1", "batch2"], 100)
    truth = {"cells": pd.DataFrame({"cell": CELLS, "cell_type": kind, "batch": batch})}
    noise = stream.standard_normal((200, 2))
    by_type, by_batch = noise + 12 * (kind == "B")[:, None], noise + 12 * (batch == "batch2")[:, None]

    def embedding(points: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"cell": CELLS, "dim_1": points[:, 0], "dim_2": points[:, 1]})

    good, bad = (scored("batch", embedding(points), truth, cell=CELLS) for points in (by_type, by_batch))
    assert good.loc["type_ari", "value"] == 1
    assert good.loc["batch_mixing", "value"] > 0.9
    assert good.loc["type_ari", "null"] < 0.1
    assert bad.loc["type_ari", "value"] < 0.1
    assert bad.loc["batch_mixing", "value"] < 0.4
    with pytest.raises(InputError, match="column 'cell' has 10 of 200 cells"):
        scored("batch", embedding(by_type)[:10], truth, cell=CELLS)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"p_value": None}, "p_value"),
        ({"p_value": 1.5}, "p_value"),
        ({"p_value": "low"}, "p_value"),
        ({"gene": "g1"}, "gene, cell_type"),
        ({"gene": "unheard"}, "gene"),
        ({"cell_type": "C"}, "cell_type"),
        ({"log2_fold_change": np.inf}, "log2_fold_change"),
    ],
)
def test_an_answer_of_another_format_names_the_column(change: dict[str, object], column: str) -> None:
    table, truth = de_truth()
    answer = table if change.get("p_value", 0) is None else table.assign(p_value=0.5)
    answer = answer.assign(**{k: v for k, v in change.items() if v is not None})
    with pytest.raises(InputError, match=f"column '{column}'"):
        scored("de", answer, truth, gene=table["gene"], cell_type=["B"])


def test_unknown_names_and_empty_answers_are_refused() -> None:
    table, truth = de_truth()
    with pytest.raises(ConfigError, match="unknown benchmark"):
        scored("no_such", table, truth)
    with pytest.raises(InputError, match="has no rows"):
        scored("de", table.assign(p_value=0.5)[:0], truth, gene=table["gene"], cell_type=["B"])

"""Scores of an answer to a benchmark, each beside its null: the same answer dealt to the wrong rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from genesim import rng
from genesim.errors import InputError
from genesim.evaluate.benchmark_eqtl import leads, score_dynamic, score_eqtl
from genesim.evaluate.benchmark_format import check_answer, suite
from genesim.metrics.effects import benjamini_hochberg, recovery_slope

Truth = Mapping[str, pd.DataFrame]
Values = dict[str, float]
_LEVEL = 0.05
_N_NULL = 20
_N_NULL_EMBEDDING = 3  # k-means and silhouettes take seconds


def _ranking(is_true: np.ndarray, score: np.ndarray) -> Values:
    """AUROC and AUPRC; ties count as such."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if is_true.all() or not is_true.any():
        return {"auroc": float("nan"), "auprc": float("nan")}
    # Ranks say the same as scores and stay finite where a row that was left out is minus infinity.
    rank = pd.Series(score).rank(method="average").to_numpy()
    return {"auroc": float(roc_auc_score(is_true, rank)), "auprc": float(average_precision_score(is_true, rank))}


def _de(table: pd.DataFrame) -> Values:
    changed = (table["truth"] != 0).to_numpy()
    p = table["p_value"].to_numpy(float)
    q = benjamini_hochberg(p)
    called = q <= _LEVEL  # NaN, not tested, is no call
    values = {
        "auprc": _ranking(changed, -np.where(np.isnan(p), np.inf, p))["auprc"],
        "power": float(called[changed].mean()),
        "false_discovery_rate": float((~changed)[called].mean()) if called.any() else 0.0,
    }
    if "log2_fold_change" in table:
        given = changed & table["log2_fold_change"].notna().to_numpy()
        planted = table["truth"].to_numpy()[given]
        values["log2_fold_change_correlation"] = recovery_slope(
            table["log2_fold_change"].to_numpy()[given], planted
        ).correlation
    return values


def _rare_type(table: pd.DataFrame) -> Values:
    rare, called = table["truth"].to_numpy(bool), table["is_rare"].fillna(0.0).to_numpy() == 1
    hits = int((rare & called).sum())
    recall = hits / rare.sum()
    precision = hits / called.sum() if called.any() else 0.0
    return {
        "recall": float(recall),
        "precision": float(precision),
        "f1": float(2 * recall * precision / (recall + precision)) if hits else 0.0,
    }


def _scored(table: pd.DataFrame) -> Values:
    return _ranking(table["truth"].to_numpy(bool), table["score"].fillna(-np.inf).to_numpy())


def _grn(table: pd.DataFrame) -> Values:
    edge = table["truth"].to_numpy(bool)
    score = table["score"].fillna(-np.inf).to_numpy()
    n = int(edge.sum())
    # Pairs that tie with the n-th share its places, so that their order in the file says nothing.
    bar = np.sort(score)[-n]
    above, level = score > bar, score == bar
    hits = edge[above].sum() + (n - above.sum()) * edge[level].mean()
    return {"auprc": _ranking(edge, score)["auprc"], "early_precision": float(hits / n)}


def _batch(table: pd.DataFrame) -> Values:
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, silhouette_samples

    points = table.filter(regex="^dim_").to_numpy(float)
    cell_type, batch = table["truth"].to_numpy(str), table["batch"].to_numpy(str)
    types = np.unique(cell_type)
    clusters = KMeans(len(types), n_init=5, random_state=0).fit_predict(points)
    mixing = []
    for name in types:
        rows = np.flatnonzero(cell_type == name)
        if len(rows) > 2000:
            rows = np.sort(rng.generator(0, "benchmark silhouette", str(name)).choice(rows, 2000, replace=False))
        if 2 <= len(np.unique(batch[rows])) < len(rows):
            mixing.append(1 - np.abs(silhouette_samples(points[rows], batch[rows])).mean())
    return {
        "type_ari": float(adjusted_rand_score(cell_type, clusters)),
        "batch_mixing": float(np.mean(mixing)) if mixing else float("nan"),
    }


_TABLES: dict[str, tuple[str, str, Callable[[pd.DataFrame], Values]]] = {
    "de": ("de", "log2_fold_change", _de),
    "rare_type": ("cells", "is_rare", _rare_type),
    "batch": ("cells", "cell_type", _batch),
    "doublets": ("cells", "is_doublet", _scored),
    "donors": ("donors", "is_case", _scored),
    "grn": ("edges", "is_edge", _grn),
}
"""Truth table, its column that is asked for, and the scorer of a table of all keys with `truth` and the answer."""


def score_answer(name: str, answer: pd.DataFrame, truth: Truth, known: dict[str, pd.Index]) -> pd.DataFrame:
    """Score an answer.

    Args:
        name: Of the benchmark.
        answer: Columns as `benchmark_format.SUITES` names them.
        truth: The tables in `truth/`, by name.
        known: Values that each key column can have.

    Returns:
        One row a metric: `metric`, `value`, `null` (mean over the same answer dealt to random rows), `null_sd`,
        `n_answered` (rows of the answer) and `about`.

    Raises:
        ConfigError: No such benchmark.
        InputError: The answer does not have the format; the column is named.
    """
    wanted = suite(name)
    checked = check_answer(name, answer, known)
    if not len(checked):
        raise InputError("has no rows", where=f"answer to {name}", remedy="answer at least one row")
    if name in _TABLES:
        table, column, scorer = _TABLES[name]
        keys = list(wanted.keys)
        asked = truth[table].rename(columns={column: "truth"})
        asked = asked[[*keys, "truth", *(["batch"] if name == "batch" else [])]]
        whole = asked.merge(checked, on=keys, how="left")
        given = [c for c in checked if c not in keys]

        def dealt(stream: np.random.Generator) -> Values:
            order = stream.permutation(len(whole))
            return scorer(whole.assign(**{str(c): whole[c].to_numpy()[order] for c in given}))

        found = scorer(whole)
    elif name == "eqtl_dynamic":
        lead = leads(checked)

        def dealt(stream: np.random.Generator) -> Values:
            # Each gene keeps its lead variant, which gets another gene's p-value and slope.
            order = stream.permutation(len(lead))
            return score_dynamic(
                lead.assign(**{c: lead[c].to_numpy()[order] for c in wanted.values if c in lead}), truth
            )

        found = score_dynamic(lead, truth)
    else:

        def dealt(stream: np.random.Generator) -> Values:
            # The variants keep their calls and effects, but of another row's gene.
            return score_eqtl(checked.assign(gene=stream.permutation(checked["gene"].to_numpy())), truth)

        found = score_eqtl(checked, truth)
    n_null = _N_NULL_EMBEDDING if name == "batch" else _N_NULL
    nulls = pd.DataFrame([dealt(rng.generator(0, "benchmark null", i)) for i in range(n_null)])
    names = [metric for metric in wanted.metrics if metric in found]
    return pd.DataFrame(
        {
            "metric": names,
            "value": [found[metric] for metric in names],
            "null": [float(nulls[metric].mean()) for metric in names],
            "null_sd": [float(nulls[metric].std()) for metric in names],
            "n_answered": len(checked),
            "about": [wanted.metrics[metric] for metric in names],
        }
    )

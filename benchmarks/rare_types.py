"""Does augmentation with simulated cells help a classifier to find a rare cell type?

    SCVI_PYTHON=path/to/scvi/bin/python GENESIM_DATA=path/to/data python benchmarks/rare_types.py --seeds 0 1 2

One cell type of the training half is cut to 20, 50 or 100 cells; every remedy raises it to the mean size of the other
types, by weights or by new cells; classifiers trained on that label the held-out half, where the type is whole. The
features are principal components of the real training cells of that row, so that remedies differ in cells alone.
Writes `rare_types.csv` (a row a data set, seed, size, remedy and classifier), `rare_types.png` and `rare_types.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cases import CHOSEN, Case, arguments, make
from fits import digest, fit_genesim, sources, to_parts
from jaxtyping import Float, Int
from peers import fit_scvi, scvi_changes
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.metrics.expression import balanced_accuracy, log_normalise

RARE = {"onek1k": ("cell_type", "mononc"), "kang_2000": ("cell_type", "CD4T"), "pbmc68k_reduced": ("bulk_labels", None)}
"""Column of labels and the type that is cut: one with 300 held-out cells and a near relative among the other types
(classical monocytes; CD8 T cells). Without a name the type with most cells is cut (a quick check only)."""
SIZES = (20, 50, 100)
REMEDIES = (
    "nothing",
    "weights",
    "smote",
    "scvi_pp",
    "scvi_long_pp",
    "scvi_prior",
    "scvi_long_prior",
    "genesim",
    "all_real",
)
COLOURS = ("0.6", "C0", "C2", "C1", "C5", "C4", "C6", "C3")  # of the remedies before `all_real`
CLASSIFIERS = ("logistic", "boosting")
N_COMPONENTS, N_NEIGHBOURS = 50, 5
VERSION = 1  # raise it when features or classifiers change

Features = Float[np.ndarray, "cell component"]


def smote(points: Features, n: int, random: np.random.Generator) -> Features:
    """`n` points between a random point and a random one of its 5 nearest neighbours (Chawla 2002, JAIR)."""
    from sklearn.neighbors import NearestNeighbors

    k = min(N_NEIGHBOURS, len(points) - 1)
    near = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    start = random.integers(0, len(points), n)
    end = near[start, random.integers(0, k, n)]
    return points[start] + random.random((n, 1)) * (points[end] - points[start])


def cut(labels: np.ndarray, rare: str, size: int, seed: int) -> Int[np.ndarray, " kept"]:
    """Rows of training cells with only `size` of the rare type."""
    inside = np.flatnonzero(labels == rare)
    dropped = rng.generator(seed, "benchmark", "rare").permutation(inside)[size:]
    return np.setdiff1d(np.arange(len(labels)), dropped)


def embedding(counts: sparse.csr_matrix, seed: int) -> Callable[[sparse.csr_matrix], Features]:
    """Scores on 50 principal components of standardised log-normalised expression, fitted on `counts`."""
    from sklearn.decomposition import PCA

    log = log_normalise(counts).toarray()
    centre, scale = log.mean(axis=0), np.maximum(log.std(axis=0), 0.05)

    def standard(values: np.ndarray) -> np.ndarray:
        return np.clip((values - centre) / scale, -10, 10)

    k = min(N_COMPONENTS, min(log.shape) - 1)
    pca = PCA(k, svd_solver="randomized", random_state=seed).fit(standard(log))
    return lambda other: pca.transform(standard(log_normalise(other).toarray()))


def classify(
    kind: str, x: Features, y: np.ndarray, weights: np.ndarray | None, points: Features, seed: int
) -> np.ndarray:
    """Labels of `points` by a classifier trained on `x`, `y`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    if kind == "logistic":
        model: Any = LogisticRegression(C=0.1, max_iter=2000)
    else:
        model = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
    return model.fit(x, y, sample_weight=weights).predict(points)


def judged(found: np.ndarray, labels: np.ndarray, rare: str) -> dict[str, float]:
    """Recall, precision and F1 of the rare type, and balanced accuracy over all types."""
    hit = float(np.sum((found == rare) & (labels == rare)))
    recall, called = hit / np.sum(labels == rare), float(np.sum(found == rare))
    precision = hit / called if called else 0.0
    return {
        "recall": float(recall),
        "precision": precision,
        "f1": 2 * hit / (called + np.sum(labels == rare)),
        "balanced_accuracy": balanced_accuracy(found == labels, labels),
    }


def new_cells(
    remedy: str,
    cache: Path,
    counts: sparse.csr_matrix,
    labels: np.ndarray,
    rare: str,
    n: int,
    seed: int,
    config: dict[str, Any],
) -> sparse.csr_matrix | None:
    """`n` simulated cells of the rare type of a generator fitted on the cut cells; None where scVI has none."""
    if remedy == "genesim":
        asked = np.repeat(rare, n)
        return fit_genesim(cache, counts, labels, sample_labels=asked, seed=seed, config=config).counts("drawn")
    # Cells of the type in turn, so that each gives its latent or library size equally often.
    rows = np.resize(np.flatnonzero(labels == rare), n)
    changes = scvi_changes(counts.shape[0], long="long" in remedy)
    if changes is None:
        return None
    fit = fit_scvi(cache, counts, labels, pp_rows=rows, prior_rows=rows, seed=seed, **changes)
    return None if fit is None else fit.counts(remedy.removeprefix("scvi_").removeprefix("long_"))


def rows(
    case: Case, rare: str, size: int, remedy: str, cache: Path, config: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Scores of both classifiers after one remedy; None where it cannot run."""
    whole, labels_whole, seed = case.counts("train"), case.labels("train"), case.seed
    kept = cut(labels_whole, rare, size, seed)
    counts, labels = whole[kept], labels_whole[kept]
    n_other = len(np.unique(labels)) - 1
    n_new = round(np.sum(labels != rare) / n_other) - size
    cells: sparse.csr_matrix | None = None
    if remedy.startswith("scvi") or remedy == "genesim":
        cells = new_cells(remedy, cache, counts, labels, rare, n_new, seed, config)
        if cells is None:
            return None
    arrays = {
        **to_parts("train", counts),
        **to_parts("test", case.counts("test")),
        **({} if cells is None else to_parts("cells", cells)),
    }
    metrics = sources(("metrics/expression.py",))
    path = cache / f"rare_{digest(arrays, [VERSION, metrics, rare, size, remedy, seed])}.json"
    if path.is_file():
        return json.loads(path.read_text())

    embed = embedding(counts, seed)
    x, y, weights = embed(counts), labels, None
    if remedy == "weights":
        weights = np.where(labels == rare, (n_new + size) / size, 1.0)
    elif remedy == "all_real":
        x, y = embed(whole), labels_whole
    elif remedy != "nothing":
        if cells is None:
            random = rng.generator(seed, "benchmark", "rare", "smote", size)
            more = smote(x[labels == rare], n_new, random)
        else:
            more = embed(cells)
        x, y = np.vstack([x, more]), np.concatenate([y, np.repeat(rare, len(more))])
    points, truth = embed(case.counts("test")), case.labels("test")
    result = [
        {"classifier": kind, **judged(classify(kind, x, y, weights, points, seed), truth, rare)} for kind in CLASSIFIERS
    ]
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result))
    partial.replace(path)
    return result


def figure(table: pd.DataFrame, path: Path) -> None:
    """Recall and balanced accuracy by number of rare training cells: mean over seeds, SD as bars."""
    from matplotlib.figure import Figure

    metrics = ("recall", "balanced_accuracy")
    panels = list(dict.fromkeys(zip(table["dataset"], table["classifier"])))
    picture = Figure(figsize=(1 + 2.9 * len(panels), 5.2), layout="constrained")
    axes = picture.subplots(len(metrics), len(panels), squeeze=False)
    for column, (dataset, classifier) in enumerate(panels):
        part = table[(table["dataset"] == dataset) & (table["classifier"] == classifier)]
        for axis, metric in zip(axes[:, column], metrics):
            for i, remedy in enumerate(REMEDIES):
                if remedy not in set(table["remedy"]):
                    continue
                by_size = part[part["remedy"] == remedy].groupby("n_rare")[metric]
                mean, sd = by_size.mean(), by_size.std().fillna(0.0)
                line = {"ls": "--", "color": "k"} if remedy == "all_real" else {"color": COLOURS[i]}
                axis.errorbar(
                    mean.index * 1.03 ** (i - 4), mean, yerr=sd, marker="o", ms=3.5, lw=1, label=remedy, **line
                )
            axis.set(xscale="log", xlabel="rare training cells", ylabel=metric.replace("_", " "))
            axis.set_xlim(0.8 * min(SIZES), 1.25 * max(SIZES))
            axis.set_xticks(SIZES, [str(size) for size in SIZES])
            axis.set_xticks([], minor=True)
        axes[0, column].set_title(f"{dataset}, {part['rare'].iloc[0]}\n{classifier}", fontsize=9)
    picture.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(REMEDIES), fontsize=8)
    picture.savefig(path, dpi=150)


def main() -> None:
    parser = arguments(__doc__, ["onek1k", "kang_2000"])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--remedies", nargs="+", choices=REMEDIES, default=list(REMEDIES))
    asked = parser.parse_args()
    unknown = [name for name in asked.datasets if name not in RARE]
    if unknown:
        parser.error(f"no rare type is set for {', '.join(unknown)}; known: {', '.join(RARE)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    table = []
    for seed in asked.seeds:
        for name in asked.datasets:
            column, rare = RARE[name]
            case = make(name, asked.data, seed)
            case = Case(name, case.train, case.test, column, seed)
            if rare is None:
                rare = str(case.train.obs[column].value_counts().idxmax())
            for size in asked.sizes:
                for remedy in asked.remedies:
                    found = rows(case, rare, size, remedy, asked.cache, CHOSEN.get(name, {}))
                    start = {"dataset": name, "seed": seed, "rare": rare, "n_rare": size, "remedy": remedy}
                    table += [start | scores for scores in found or []]
                    shown = {r["classifier"]: round(r["recall"], 3) for r in found or []}
                    print(name, seed, rare, size, remedy, shown, flush=True)
            frame = pd.DataFrame(table)
            frame.round(4).to_csv(asked.out / "rare_types.csv", index=False)
    figure(frame, asked.out / "rare_types.png")
    write_record(asked.out / "rare_types.json", rare=RARE, chosen=CHOSEN, n_components=N_COMPONENTS, version=VERSION)


if __name__ == "__main__":
    main()

"""Does the cell generator hand out its training cells?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.evaluate.cells import Source, Walked, walk
from genesim.evaluate.score import Score, scored
from genesim.metrics import distribution, expression
from genesim.metrics.copies import copies_of
from genesim.metrics.interval import normal_interval, proportion_interval


def copying_rows(
    sizes: Mapping[str, int], seed: int, config: EvaluateConfig
) -> dict[str, dict[str, Int[np.ndarray, " row"]]]:
    """By data set and purpose, the rows that `copying_scores` needs at hand.

    Args:
        sizes: Cells of "test", "simulated", "train" and, where there is one, "null".
        seed: Of the draws.
        config: Sizes.
    """

    def draw(source: str, n: int, name: str) -> np.ndarray:
        generator = rng.generator(seed, "evaluate", "copying", name)
        return np.sort(generator.permutation(sizes[source])[:n])

    n_reference = min(sizes["test"], sizes["train"], 4 * config.max_cells)
    probes = [name for name in ("simulated", "train", "null") if name in sizes]
    n = min(config.max_cells, *(sizes[name] for name in probes))
    found = {
        "test": {"genes": draw("test", config.max_cells, "genes"), "reference": draw("test", n_reference, "test")},
        # The worst case is a generator that hands out cells of the whole training set.
        "train": {"reference": draw("train", n_reference, "train"), "probe": draw("train", n, "copies")},
        "simulated": {"probe": draw("simulated", n, "simulated")},
    }
    return found | ({"null": {"probe": draw("null", n, "null")}} if "null" in sizes else {})


def copying_scores(walked: Mapping[str, Walked], subject: str, seed: int, config: EvaluateConfig) -> list[Score]:
    """Nearest-neighbour share and exact copies. Floor: the null generator, which cannot copy.

    All training cells are looked at, not the ones of the other comparisons: a copy must be found.

    Args:
        walked: "test", "simulated", "train" and perhaps "null", walked through with the rows of `copying_rows`.
        subject: Name of the rows.
        seed: Of the embedding.
        config: Sizes.
    """
    chosen = expression.gene_summaries(walked["test"].taken["genes"]).variance
    genes = expression.top_genes(chosen, config.max_genes)
    share, n = {}, 0
    for name in [name for name in ("simulated", "train", "null") if name in walked]:
        counts = walked[name].taken["probe"], walked["train"].taken["reference"], walked["test"].taken["reference"]
        logs = [expression.log_normalise(m)[:, genes] for m in counts]
        nearer = distribution.nearer_to_train(*distribution.pooled_pca(logs, config.n_components, seed))
        share[name] = nearer.mean(), nearer.std() / np.sqrt(len(nearer))
        n = len(nearer)
    value = normal_interval(float(share["simulated"][0]), float(share["simulated"][1]), config.coverage)
    floor = float(share["null"][0]) if "null" in share else float("nan")
    same = {name: copies_of(walked[name].prints, walked["train"].prints) for name in ("simulated", "test", "train")}
    return [
        scored(subject, "nearest_neighbour_share", value, floor, float(share["train"][0]), n),
        scored(
            subject,
            "exact_copies_cells",
            proportion_interval(int(same["simulated"].sum()), len(same["simulated"]), config.coverage),
            float(same["test"].mean()),
            float(same["train"].mean()),
            len(same["simulated"]),
        ),
    ]


def compare_copying(
    test: Any, simulated: Any, train: Any, null: Any | None, subject: str, seed: int, config: EvaluateConfig
) -> list[Score]:
    """`copying_scores` of counts (cell x gene) of all the sets."""
    sets = {"test": test, "simulated": simulated, "train": train} | ({} if null is None else {"null": null})
    sources = {name: Source.of(counts) for name, counts in sets.items()}
    rows = copying_rows({name: source.shape[0] for name, source in sources.items()}, seed, config)
    none = np.array([], np.int64)
    walked = {
        name: walk(source, none, none, none, rows[name], n_labels=1, n_parts=1) for name, source in sources.items()
    }
    return copying_scores(walked, subject, seed, config)

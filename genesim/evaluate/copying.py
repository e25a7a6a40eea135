"""Does the cell generator hand out its training cells?"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.evaluate.score import Score, scored
from genesim.metrics import distribution, expression
from genesim.metrics.interval import normal_interval, proportion_interval


def copying_scores(
    test: Any, simulated: Any, train: Any, null: Any | None, subject: str, seed: int, config: EvaluateConfig
) -> list[Score]:
    """Nearest-neighbour share and exact copies. Floor: the null generator, which cannot copy.

    All training cells are looked at, not the ones of the other comparisons: a copy must be found.
    """

    def draw(matrix: Any, n: int, name: str) -> sparse.csr_matrix:
        generator = rng.generator(seed, "evaluate", "copying", name)
        return sparse.csr_matrix(matrix[np.sort(generator.permutation(matrix.shape[0])[:n])])

    genes = expression.top_genes(
        expression.gene_summaries(draw(test, config.max_cells, "genes")).variance, config.max_genes
    )
    n_reference = min(test.shape[0], train.shape[0], 4 * config.max_cells)
    sets = {"test": draw(test, n_reference, "test"), "train": draw(train, n_reference, "train")}
    # The worst case is a generator that hands out cells of the whole training set.
    probes = {"simulated": simulated, "copies": train} | ({} if null is None else {"null": null})
    n = min(config.max_cells, *(p.shape[0] for p in probes.values()))
    share = {}
    for name, counts in probes.items():
        logs = [expression.log_normalise(m)[:, genes] for m in (draw(counts, n, name), sets["train"], sets["test"])]
        nearer = distribution.nearer_to_train(*distribution.pooled_pca(logs, config.n_components, seed))
        share[name] = nearer.mean(), nearer.std() / np.sqrt(len(nearer))
    value = normal_interval(float(share["simulated"][0]), float(share["simulated"][1]), config.coverage)
    floor = float(share["null"][0]) if null is not None else float("nan")
    same = expression.exact_copies(simulated, train)
    return [
        scored(subject, "nearest_neighbour_share", value, floor, float(share["copies"][0]), n),
        scored(
            subject,
            "exact_copies_cells",
            proportion_interval(int(same.sum()), len(same), config.coverage),
            float(expression.exact_copies(test, train).mean()),
            float(expression.exact_copies(train, train).mean()),
            len(same),
        ),
    ]

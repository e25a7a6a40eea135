"""Stimulated B cells (Kang, interferon beta) that were kept from the model: `unseen_combination.csv`.

`python benchmarks/unseen_combination.py --data FOLDER --seeds 0 1 2`. Log2 fold changes of the 1,000 genes most
variable for their mean, predicted against real: slope through the origin and Pearson's r. Beside the model stand the
same draws mapped to the label's margins (which are of control B cells), a model without sharing (null), the mean change
of the other types (null), and half of the real stimulated cells against the other half (floor).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
from record import write_record

from genesim.config.model import ExpressionConfig
from genesim.data.expression import read_expression
from genesim.estimators.expression import ExpressionModel
from genesim.models.expression.generator import ExpressionGenerator

N_GENES, N_CELLS, N_DRAWS = 1000, 2000, 3


class MappedGenerator(ExpressionGenerator):
    """A label's margins are taken for every combination of levels, seen or not."""

    def counts(self, *arguments, unmapped=None):  # type: ignore[no-untyped-def]
        return super().counts(*arguments)


def variable_genes(cells: ad.AnnData) -> ad.AnnData:
    mean = np.asarray(cells.X.mean(axis=0)).ravel()
    square = np.asarray(cells.X.multiply(cells.X).mean(axis=0)).ravel()
    order = np.argsort(-(square - mean**2) / (mean + 0.01), kind="stable")
    return cells[:, np.sort(order[:N_GENES])].copy()


def group(cells: ad.AnnData, kind: str, condition: str) -> np.ndarray:
    return ((cells.obs["cell_type"] == kind) & (cells.obs["condition"] == condition)).to_numpy()


def log_profile(counts: np.ndarray) -> np.ndarray:
    """log2(1 + counts per 10,000) of all cells together."""
    total = np.asarray(counts.sum(axis=0)).ravel()
    return np.log2(1e4 * total / total.sum() + 1)


def drawn_change(model: ExpressionModel, seed: int) -> np.ndarray:
    control, stimulated = (
        log_profile(model.sample(N_CELLS, obs={"cell_type": "B", "condition": condition}, seed=seed).X)
        for condition in ("control", "stimulated")
    )
    return stimulated - control


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with perturbation/kang_ifnb.h5ad")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", type=Path, help="fitted models are kept here, and read where they are")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "unseen_combination.csv")
    given = parser.parse_args()
    cells = variable_genes(read_expression(given.data / "perturbation" / "kang_ifnb.h5ad"))
    unseen = group(cells, "B", "stimulated")
    train = cells[~unseen].copy()
    control = log_profile(cells.X[group(cells, "B", "control")])
    real = log_profile(cells.X[unseen]) - control
    rows = []

    def add(what: str, seed: int, draw: int, found: np.ndarray, truth: np.ndarray = real) -> None:
        slope, r = float(found @ truth / (truth @ truth)), float(np.corrcoef(found, truth)[0, 1])
        rows.append({"what": what, "seed": seed, "draw": draw, "slope": round(slope, 4), "r": round(r, 4)})

    others = [
        log_profile(cells.X[group(cells, kind, "stimulated")]) - log_profile(cells.X[group(cells, kind, "control")])
        for kind in sorted(set(cells.obs["cell_type"]) - {"B"})
    ]
    for seed in given.seeds:
        fit = {"labels_key": "cell_type", "batch_key": "condition", "seed": seed}
        path = None if given.models is None else given.models / f"seed_{seed}"
        if path is not None and path.exists():
            model = ExpressionModel.load(path)
        else:
            model = ExpressionModel.fit(train, **fit)
            if path is not None:
                model.save(path)
        parts = vars(model.generator)
        mapped = replace(model, generator=MappedGenerator(**parts))
        apart = ExpressionModel.fit(train, config=ExpressionConfig(method="independent"), **fit)
        half = np.random.default_rng(seed).permutation(np.flatnonzero(unseen))
        first, second = (log_profile(cells.X[np.sort(side)]) - control for side in np.array_split(half, 2))
        add("real, half against half (floor)", seed, 0, first, second)
        add("mean change of the other types (null)", seed, 0, np.mean(others, axis=0))
        for draw in range(N_DRAWS):
            add("genesim", seed, draw, drawn_change(model, draw + 1))
            add("genesim, mapped to the label's margins", seed, draw, drawn_change(mapped, draw + 1))
            add("no sharing between types (null)", seed, draw, drawn_change(apart, draw + 1))
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_record(given.out.with_suffix(".json"), seeds=given.seeds, n_train=train.n_obs, n_held_out=int(unseen.sum()))
    for what in dict.fromkeys(row["what"] for row in rows):
        chosen = [row for row in rows if row["what"] == what]
        print(f"{what}: slope {np.mean([r['slope'] for r in chosen]):.3f}, r {np.mean([r['r'] for r in chosen]):.3f}")


if __name__ == "__main__":
    main()

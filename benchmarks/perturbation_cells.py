"""Predicted cells of a held-out condition: the plain shift beside a flow, another dispersion and non-responders.

    python benchmarks/perturbation_cells.py --data ../shared/data --seeds 0 1 2
    python benchmarks/perturbation_cells.py --data ../shared/data --seeds 0 1 2 --sets kang papalexi --cells flow

Kang: each of 7 cell types' stimulated cells left out, 2,000 genes. Papalexi: each of 4 strong targets (IFNGR1,
IFNGR2, JAK2, STAT1) left out of each replicate. Norman: each of 15 doubles left out. All methods share one predicted
mean effect; `true_mean_*` are given the true one, which shows what the shape of the distribution adds. E-distance
(U-statistic, Euclidean) and unbiased MMD2 in 50 principal components of real and predicted cells, pair by pair.
`halves` is real against real, `controls` is no change; `flow` is used whatever its gate says, `gated` is what
`PerturbationConfig(cells=...)` makes of it. With `--cells flow` dispersion and responders are not tried.
Writes `perturbation_cells.csv` and `.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from cases import kang_2000
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.config.model import PerturbationConfig
from genesim.data.expression import open_expression, read_expression
from genesim.estimators.perturbation import PerturbationModel
from genesim.estimators.perturbation_flow import FlowTrial
from genesim.estimators.perturbation_inputs import library_sizes, log_expression
from genesim.estimators.perturbation_screen import screen_of
from genesim.metrics.distribution import mmd2_unbiased, pooled_pca
from genesim.metrics.perturbation import energy_distance
from genesim.models.perturbation.flow import CellFlow
from genesim.models.perturbation.reshape import PLAIN, Shape, reshape_counts
from genesim.provenance.atomic import atomic_file

MAX_CELLS = 200


def held_out(data: Path, name: str) -> Iterator[tuple[str, np.ndarray, np.ndarray, str, str, ad.AnnData, dict]]:
    """Name, truth and controls (masks), perturbation, context, cells and keys of each condition left out."""
    if name == "kang":
        cells = kang_2000(data)[0]
        line, label, strong = "cell_type", "condition", ["stimulated"]
        keys = {"perturbation_key": label, "covariate_keys": [line]}
    elif name == "papalexi":
        cells = read_expression(data / "perturbation" / "papalexi_thp1.h5ad")
        line, label, strong = "bio_rep", "target", ["IFNGR1", "IFNGR2", "JAK2", "STAT1"]
        keys = {"perturbation_key": label, "control": "non-targeting", "covariate_keys": [line]}
    else:
        cells = read_expression(data / "perturbation" / "norman_mcfaline.h5ad")
        cells = cells[(cells.obs["dataset"] == "norman19").to_numpy()].copy()
        line, label = "cell_type", "condition"
        strong = sorted(c for c in cells.obs[label].astype(str).unique() if "+" in c)
        keys = {"perturbation_key": label, "library_key": "ncounts", "covariate_keys": [line]}
    control = keys.get("control", "control")
    for context in sorted(cells.obs[line].astype(str).unique()):
        here = (cells.obs[line].astype(str) == context).to_numpy()
        for what in strong:
            truth = here & (cells.obs[label].astype(str) == what).to_numpy()
            base = here & (cells.obs[label].astype(str) == control).to_numpy()
            if min(truth.sum(), base.sum()) >= 20:
                yield f"{what} {context}", truth, base, what, context, cells, keys


def distances(made: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    a, b = pooled_pca([made, real], 50)
    return energy_distance(a, b), mmd2_unbiased(b, a)


def _logged(counts: sparse.csr_matrix, obs: pd.DataFrame, model: PerturbationModel) -> np.ndarray:
    """log1p of counts over size factors, as the user of predicted cells would have it."""
    total = np.maximum(np.asarray(counts.sum(1)).ravel(), 1.0)
    return log_expression(counts, library_sizes(obs, total, model.keys) / model.learned.reference_library).toarray()


def _flow(known: ad.AnnData, model: PerturbationModel, seed: int) -> CellFlow | None:
    """The flow of all training conditions, which a model keeps where a gate is open."""
    if model.transport.flow is not None:
        return model.transport.flow
    with open_expression(known, covariate_keys=model.keys.columns) as cells:
        screen = screen_of(cells, model.keys, model.learned)
    return FlowTrial.of(screen, model.learned, model.config, seed).whole()


def scored(data: Path, name: str, seed: int, how: str, done: set[str]) -> Iterator[dict[str, object]]:
    for condition, truth, base, what, context, cells, keys in held_out(data, name):
        if condition in done:
            continue
        known = cells[~truth].copy()
        start = time.process_time()
        model = PerturbationModel.fit(known, **keys, config=PerturbationConfig(cells=how), seed=seed)
        seconds = time.process_time() - start
        draw = rng.generator(seed, "benchmark", condition)
        n = min(int(truth.sum()), int(base.sum()), MAX_CELLS)
        rows = [np.sort(draw.choice(np.flatnonzero(m), n, replace=False)) for m in (truth, base)]
        real, control = cells[rows[0]], cells[rows[1]]
        reference = model.learned.reference_library
        logged = partial(_logged, model=model)
        size = library_sizes(control.obs, np.asarray(control.X.sum(1)).ravel(), model.keys) / reference
        x, y = logged(control.X, control.obs), logged(real.X, real.obs)
        estimate = model.effect(what, context)
        dose = np.array([float(c in what.split("+")) for c in model.learned.components])
        all_rows = np.ones(model.learned.library.n_conditions, bool)
        shapes = {"shift": PLAIN, "gated": model.transport.shape(model.learned, dose, estimate.stratum)}
        flow = _flow(known, model, seed)
        if flow is not None:
            shapes["flow"] = Shape(flow=flow)
        if model.transport.dispersions is not None:
            phi = model.transport.dispersions.of(model.learned.library, dose, all_rows)
            shapes |= {"dispersion": Shape(phi), "responders": Shape(responders=0.8)}
        made = {"controls": x, "log_shift": np.maximum(x + estimate.delta, 0)}
        for method, shape in shapes.items():
            made[method] = logged(reshape_counts(control.X.tocsr(), size, estimate.delta, seed, shape), control.obs)
        for method in (name for name in ("shift", "dispersion", "flow") if name in shapes):
            counts = reshape_counts(control.X.tocsr(), size, y.mean(0) - x.mean(0), seed, shapes[method])
            made[f"true_mean_{method}"] = logged(counts, control.obs)
        half = draw.permutation(n)
        pairs = {method: (values, y) for method, values in made.items()}
        pairs["halves"] = (y[half[: n // 2]], y[half[n // 2 :]])
        gates = {k: g.open for k, g in model.transport.gates.get(estimate.regime, {}).items()}
        for method, (a, b) in pairs.items():
            e, mmd = distances(a, b)
            error = float(np.linalg.norm(a.mean(0) - b.mean(0)))
            yield {
                "data": name,
                "seed": seed,
                "condition": condition,
                "method": method,
                "e_distance": e,
                "mmd2": mmd,
                "mean_error": error,
                "n": n,
                "fit_seconds": seconds,
                **{f"gate_{k}": v for k, v in gates.items()},
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=["norman", "kang", "papalexi"])
    parser.add_argument("--cells", choices=["auto", "flow"], default="auto", help="what is tried beside the shift")
    parser.add_argument("--resume", action="store_true", help="keep what the table has, and add to it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    target = given.out / "perturbation_cells.csv"
    found = pd.read_csv(target).to_dict("records") if target.exists() and given.resume else []
    for seed in given.seeds:
        for name in given.sets:
            done = {str(r["condition"]) for r in found if (r["data"], r["seed"]) == (name, seed)}
            for row in scored(given.data, name, seed, given.cells, done):
                found.append(row)
                # The last of a condition: a run cut short has whole conditions.
                if row["method"] == "halves":
                    write(found, target, given)
            table = pd.DataFrame([r for r in found if r["data"] == name and r["seed"] == seed])
            print(name, seed)
            means = table.groupby("method")[["e_distance", "mmd2", "mean_error", "fit_seconds"]].mean()
            print(means.round(4), flush=True)
            print(table.filter(like="gate_").mean().to_dict(), flush=True)


def write(found: list[dict[str, object]], target: Path, given: argparse.Namespace) -> None:
    """The table so far, and how many conditions of each set and seed it has."""
    table = pd.DataFrame(found)
    with atomic_file(target) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g")
    n = table.groupby(["data", "seed"])["condition"].nunique()
    conditions = {f"{name} {seed}": int(count) for (name, seed), count in n.items()}
    write_record(target.with_suffix(".json"), conditions=conditions, max_cells=MAX_CELLS, cells=given.cells)


if __name__ == "__main__":
    main()

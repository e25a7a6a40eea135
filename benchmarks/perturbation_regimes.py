"""Is the closed-form perturbation model as good as its best baseline in every regime, and do its intervals hold?

Held-out conditions of real screens, copied regime by regime as `PerturbationModel` does (folds, blends, weights and
choices from the other conditions). Each row of `perturbation_regimes.csv` is a data set, regime, priors or not, seed
and metric: the model, the best baseline, their difference (positive: model ahead) and its standard error over
conditions, and whether the model is at least within one standard error. `perturbation_coverage.csv` has the measured
coverage, mean width and interval score (Gneiting & Raftery 2007) of intervals of the observed effects: of all genes,
of groups known beforehand (`foreseen`, the tenth with the largest predictions; fifths by `mobility`, what genes did
in training), and of genes that moved (|effect| > 3 standard errors). The outcome picks these: `if_calibrated` is
what a correct law would hold of them.

Seeds decide the folds where a regime has more than 25 groups; with fewer each group is left out alone, and seeds agree.

    python benchmarks/perturbation_regimes.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from record import write_record

from genesim.estimators.perturbation import PerturbationModel
from genesim.metrics.perturbation import mean_absolute_error, pearson_delta, perturbation_discrimination
from genesim.models.perturbation.calibration import MOVED, interval_score, mobility_bins, moved_if_calibrated
from genesim.models.perturbation.heldout import HeldOut, hold_out
from genesim.models.perturbation.stack import cross_fitted, half_widths, laws_of

LEVELS = (0.9, 0.95)
N_BINS = 5


def screens(data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Real screens and how each is fitted."""
    folder = data / "perturbation"
    yield "kang", {"adata": str(folder / "kang_ifnb.h5ad"), "covariate_keys": ["cell_type"]}
    papalexi = {"perturbation_key": "target", "control": "non-targeting", "covariate_keys": ["bio_rep"]}
    yield "papalexi", {"adata": str(folder / "papalexi_thp1.h5ad"), **papalexi}
    both = ad.read_h5ad(folder / "norman_mcfaline.h5ad")
    norman, mcfaline = (both[both.obs["dataset"] == name].copy() for name in ("norman19", "mcfaline23"))
    yield "norman", {"adata": norman, "library_key": "ncounts", "kinds": "perturbation_type"}
    yield (
        "mcfaline",
        {
            "adata": mcfaline,
            "library_key": "ncounts",
            "covariate_keys": ["cell_type"],
            "kinds": "perturbation_type",
        },
    )


def scored(held: HeldOut, methods: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Each metric by method, one value a condition; larger is better."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, p in methods.items():
        values = {
            "pearson_delta": pearson_delta(p, held.truth, held.used),
            "centred_pearson_delta": pearson_delta(p, held.truth, held.used, held.centre),
            "mae": -mean_absolute_error(p, held.truth, held.used),
        }
        if len(p) > 1:
            values["pds"] = perturbation_discrimination(p, held.truth, held.used)
        for metric, value in values.items():
            found.setdefault(metric, {})[name] = value
    return found


def against_baselines(held: HeldOut, methods: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """The model beside the best single baseline, metric by metric."""
    for metric, values in scored(held, methods).items():
        if not np.isfinite(values["model"]).any():
            continue
        baselines = {k: float(np.nanmean(v)) for k, v in values.items() if k not in ("model", "stack")}
        best = max(baselines, key=lambda k: baselines[k])
        difference = values["model"] - values[best]
        difference = difference[np.isfinite(difference)]
        error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else float("nan")
        yield {
            "metric": metric,
            "n_conditions": len(difference),
            "model": abs(float(np.nanmean(values["model"]))),
            "best_baseline": abs(baselines[best]),
            "baseline": best,
            "ahead": float(difference.mean()),
            "se": error,
            "within_one_se": bool(difference.mean() >= -error - 1e-12),
        }


def coverage(held: HeldOut, prediction: np.ndarray, regime: str) -> Iterator[dict[str, Any]]:
    """Coverage of each fold's conditions by intervals whose law is that of the other folds."""
    moved = held.used & (np.abs(held.truth) > MOVED * held.se)
    # The tenth of the genes of a condition for which the largest effects are predicted: known beforehand.
    size = np.where(held.used, np.abs(prediction), -1.0)
    foreseen = held.used & (size >= np.quantile(size, 0.9, axis=1, keepdims=True))
    bins = mobility_bins(held.active, held.used, N_BINS)
    groups = {"all": held.used, "foreseen": foreseen}
    groups |= {f"mobility {k + 1} of {N_BINS}": bins == k for k in range(N_BINS)}
    error = held.truth - prediction
    for level in LEVELS:
        half = half_widths(prediction, held, regime, level)
        inside, score = np.abs(error) <= half, interval_score(error, half, level)
        law_says = np.zeros(2)
        for here, law, variance in laws_of(prediction, held, regime):
            judged, told = held.used[here], (level, prediction[here], variance, held.se[here])
            law_says += [probability[judged].sum() for probability in moved_if_calibrated(law, *told)]
        expected = law_says[1] / law_says[0]
        for genes, used in (*groups.items(), ("moved", moved)):
            yield {
                "level": level,
                "genes": genes,
                "n_effects": int(used.sum()),
                "coverage": inside[used].mean() if used.any() else np.nan,
                "if_calibrated": expected if genes == "moved" else level,
                "width": 2 * half[used].mean() if used.any() else np.nan,
                "interval_score": score[used].mean() if used.any() else np.nan,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    folder = arguments.data / "priors"
    files = {
        "hallmark": "human_hallmark_v2025.gmt",
        "reactome": "human_reactome_v2025.gmt",
        "collectri": "collectri.csv",
    }
    rows, covers = [], []
    for seed in arguments.seeds:
        for name, how in screens(arguments.data):
            for given in ("none", "files"):
                priors = {k: str(folder / v) for k, v in files.items()} if given == "files" else None
                how = {"perturbation_key": "condition", **how}
                model = PerturbationModel.fit(**how, priors=priors, seed=seed)
                embeddings, others = model.priors.placed(model.learned.components, model.learned.groups)
                config = model.config
                for regime, stack in model.stacks.items():
                    # Priors are for what was never measured.
                    if not stack.n_held_out or (given == "files" and regime not in ("new_perturbation", "combination")):
                        continue
                    held = hold_out(
                        model.learned.library,
                        regime,
                        config.n_components,
                        config.ridge,
                        config.n_folds,
                        seed,
                        embeddings,
                        others,
                    )
                    if held is None or len(np.unique(held.fold)) < 2:
                        continue
                    methods, _ = cross_fitted(held, regime)
                    about = {"dataset": name, "regime": regime, "priors": given, "seed": seed}
                    rows += [about | row for row in against_baselines(held, methods)]
                    covers += [about | row for row in coverage(held, methods["model"], regime)]
                print(f"{name}, seed {seed}, priors {given}", flush=True)
    for file, table in (("perturbation_regimes", rows), ("perturbation_coverage", covers)):
        pd.DataFrame(table).round(4).to_csv(arguments.out / f"{file}.csv", index=False)
    write_record(arguments.out / "perturbation_regimes.json", seeds=arguments.seeds)


if __name__ == "__main__":
    main()

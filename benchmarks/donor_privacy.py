"""Can the donors that genesim's expression model was trained on be told from others? OneK1K, 40 donors, 20 held out.

Donors, not cells, are divided: 20 train, 20 are held out, three divisions. The network (with the white-box attack),
the copula and independent genes each draw as many cells as they were trained on; the audit's planted memoriser and
honest generator stand beside them, and for the white box its two planted models. `stranger` is one control more: the
same network fitted on half of the held-out donors, attacked with its own likelihood: it knows neither the 20 training
donors nor the other 10. Writes donor_privacy.csv (one row a generator, division, attack and figure),
donor_privacy_controls.csv, donor_privacy.json and donor_privacy.png (ROC curves).

    python benchmarks/donor_privacy.py --steps 1000 --flow-steps 800
    python benchmarks/donor_privacy.py --planted-only --seeds 10 11 \
        --planted-cells 1000 1000 2000 --planted-steps 500 1000 1500

The second tries sizes of the white box's planted networks, on divisions that the first does not report; it writes
donor_privacy_planted.csv and donor_privacy_planted.json.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from cases import onek1k
from record import write_record
from scipy import sparse

import genesim as gs
from genesim import rng
from genesim.config.evaluate import DonorAuditConfig
from genesim.config.model import ExpressionConfig
from genesim.evaluate.donor_attacks import ATTACKS, DonorCells, Judged, at_most
from genesim.evaluate.donor_records import Control
from genesim.evaluate.donor_white_box import planted_white_box
from genesim.metrics.membership import donor_attack
from genesim.pipeline.planted_network import memorising_learner
from genesim.provenance.atomic import atomic_file

METHODS = ("vae", "copula", "independent")
DONOR, LABELS = "indiv", "cell_type"


def divide(cells: ad.AnnData, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    """Cells of a random half of the donors, and of the others."""
    donor = cells.obs[DONOR].astype(str)
    names = np.unique(donor)
    chosen = rng.generator(seed, "benchmark", "donors").permutation(names)[: len(names) // 2]
    inside = donor.isin(chosen).to_numpy()
    return cells[inside].copy(), cells[~inside].copy()


def config_of(method: str, steps: int, flow_steps: int) -> ExpressionConfig:
    """Default sizes; fewer steps where asked for."""
    config = ExpressionConfig(method=method)  # type: ignore[arg-type]
    plans = {"vae": steps, "flow": flow_steps}
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update={"n_steps": n}) for name, n in plans.items()}
    )


def stranger(train: ad.AnnData, holdout: ad.AnnData, config: ExpressionConfig, seed: int) -> dict[str, Any]:
    """The white box on a network fitted on half of the held-out donors: training donors against the other half."""
    own, judged = divide(holdout, seed)
    model = gs.ExpressionModel.fit(own, labels_key=LABELS, config=config, seed=seed)
    made = model.sample(train.n_obs, seed=seed)
    audit = gs.audit_privacy(train, judged, made, donor_key=DONOR, labels_key=LABELS, model=model, seed=seed)
    row = next(row for row in audit.rows if (row.attack, row.figure) == ("white_box", "auc"))
    fair = row.low <= 0.5 <= row.high or abs(row.value - 0.5) <= audit.smallest_detectable_auc - 0.5
    return asdict(Control("stranger", row.attack, row.value, row.low, row.high, fair))


def planted_models(train: ad.AnnData, holdout: ad.AnnData, seed: int, config: DonorAuditConfig) -> list[dict[str, Any]]:
    """The white box on its planted networks, on the donors and cells that the audit judges."""
    start, sides = time.process_time(), []
    for part, name in ((train, "train"), (holdout, "holdout")):
        labels, donors = (part.obs[key].astype(str).to_numpy(str) for key in (LABELS, DONOR))
        cells = DonorCells(sparse.csr_matrix(part.X), labels, donors)
        sides.append(at_most(cells, config.max_cells_per_donor, config.min_cells_per_donor, seed, name))
    judged = Judged(sides[0], sides[1], seed, config)
    sizes = {"cells": config.planted_cells, "steps": config.planted_steps}
    rows = []
    for kind, folds in planted_white_box(judged, memorising_learner(seed, config)).items():
        found = donor_attack(folds, rng.generator(seed, "privacy", "bootstrap", kind, "white_box"))
        rows.append({"division": seed, **sizes, "kind": kind, **found.auc._asdict()})
    print(f"division {seed}, {sizes}: {time.process_time() - start:.0f} s of CPU", flush=True)
    return rows


def figure(curves: pd.DataFrame, out: Path) -> None:
    """ROC curves of each division, one panel a generator; the planted memoriser beside the network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [*dict.fromkeys(curves["generator"])]
    drawn, axes = plt.subplots(1, len(panels), figsize=(3.3 * len(panels), 3.6), sharey=True, constrained_layout=True)
    colours = dict(zip(ATTACKS, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"), strict=True))
    for axis, panel in zip(axes, panels, strict=True):
        axis.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle=":")
        for attack, part in curves[curves["generator"] == panel].groupby("attack", sort=False):
            mean = part.groupby("fpr")["tpr"].agg(["mean", "min", "max"])
            axis.plot(mean.index, mean["mean"], color=colours[str(attack)], label=ATTACKS[str(attack)], linewidth=1.6)
            axis.fill_between(mean.index, mean["min"], mean["max"], color=colours[str(attack)], alpha=0.12, linewidth=0)
        axis.set_title(panel, fontsize=10)
        axis.set_xlabel("held-out donors taken for members")
        axis.set_aspect("equal")
    axes[0].set_ylabel("training donors recognised")
    handles, labels = axes[panels.index("vae")].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    with atomic_file(out) as temporary:
        drawn.savefig(temporary, dpi=110, format="png")
    plt.close(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, default=2500, help="training steps of the network")
    parser.add_argument("--flow-steps", type=int, default=2000, help="training steps of its flow")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--planted-only", action="store_true", help="only the planted networks of the white box")
    default = DonorAuditConfig()
    sizes = {"--planted-cells": default.planted_cells, "--planted-steps": default.planted_steps}
    for name, value in sizes.items():
        parser.add_argument(name, type=int, nargs="+", default=[value], help="with --planted-only: sizes to try")
    given = parser.parse_args()
    cells, _ = onek1k(given.data)
    if given.planted_only:
        found: list[dict[str, Any]] = []
        for seed in given.seeds:
            for n_cells, n_steps in zip(given.planted_cells, given.planted_steps, strict=True):
                config = DonorAuditConfig(planted_cells=n_cells, planted_steps=n_steps)
                found += planted_models(*divide(cells, seed), seed, config)
                with atomic_file(given.out / "donor_privacy_planted.csv") as temporary:
                    pd.DataFrame(found).to_csv(temporary, index=False, float_format="%.4f")
        print(pd.DataFrame(found))
        write_record(given.out / "donor_privacy_planted.json", seeds=given.seeds)
        return
    rows: list[dict[str, Any]] = []
    controls: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    audits: list[dict[str, Any]] = []

    def save() -> None:
        for name, table in (("donor_privacy", rows), ("donor_privacy_controls", controls)):
            with atomic_file(given.out / f"{name}.csv") as temporary:
                pd.DataFrame(table).to_csv(temporary, index=False, float_format="%.4f")
        figure(pd.concat(curves), given.out / "donor_privacy.png")
        settings = {"seeds": given.seeds, "steps": given.steps, "flow_steps": given.flow_steps, "audits": audits}
        write_record(given.out / "donor_privacy.json", **settings)

    for seed in given.seeds:
        train, holdout = divide(cells, seed)
        for method in given.methods:
            start = time.process_time()
            config = config_of(method, given.steps, given.flow_steps)
            model = gs.ExpressionModel.fit(train, labels_key=LABELS, config=config, seed=seed)
            made = model.sample(train.n_obs, seed=seed)
            trained = time.process_time() - start
            audit = gs.audit_privacy(
                train,
                holdout,
                made,
                donor_key=DONOR,
                labels_key=LABELS,
                model=model if method == "vae" else None,
                seed=seed,
            )
            print(f"{method}, division {seed}, {trained:.0f} s of training\n{audit}", flush=True)
            rows += [{"generator": method, "division": seed, **asdict(row)} for row in audit.rows]
            audits.append(
                {
                    "generator": method,
                    "division": seed,
                    "conclusion": audit.conclusion,
                    "invalid": audit.invalid,
                    "invalid_white_box": audit.invalid_white_box,
                    "copies": asdict(audit.copies),
                    "smallest_detectable_auc": audit.smallest_detectable_auc,
                    "training_cpu_seconds": round(trained),
                    "audit_cpu_seconds": round(time.process_time() - start - trained),
                }
            )
            if method == given.methods[0]:
                controls += [{"division": seed, **asdict(control)} for control in audit.controls]
            if method == "vae":
                controls.append({"division": seed, **stranger(train, holdout, config, seed)})
            for name, (fpr, tpr) in audit.curves.items():
                planted = name.startswith("memoriser, ")
                if not planted or method == given.methods[0]:
                    key = {"generator": "planted memoriser" if planted else method, "attack": name.split(", ")[-1]}
                    curves.append(pd.DataFrame({**key, "division": seed, "fpr": fpr, "tpr": tpr}))
            save()


if __name__ == "__main__":
    main()

"""Speed beside scVI on OneK1K cells: training at one size, time to scVI's held-out quality, and drawing cells.

    SCVI_PYTHON=path/to/scvi/bin/python GENESIM_DATA=path/to/data python benchmarks/speed.py

- `training`: networks of one size (scVI's default: one hidden layer of 128, 10 latents), minibatches of 128, one
  thread, the tools in turn; training cells a CPU second, genesim's with and without its compilation.
- `quality`: negative evidence lower bound of the held-out cells by CPU seconds, compilation included: scVI's default
  fit, stopped by itself, and shorter ones; trainings of genesim's VAE of growing length (beta 1, as scVI's). scVI has
  no prior to train, so genesim's flow is not part of this.
- `sampling`: cells x 1,000 genes a wall second as sparse counts, on one thread and on all cores; scVI's prior draws
  on one thread beside it, dense inside.

Writes `speed.csv`, `speed.png` (learning curves) and `speed.json`. On a busy machine trust ratios within a run, and
CPU seconds more than wall.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cases import Case, arguments, make
from fits import PACKAGE
from flax import nnx
from peers import fit_scvi, scvi_of_case
from record import write_record

from genesim import rng
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data.stream import ArrayStream
from genesim.estimators.covariates import Covariates
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.expression_fit import gene_statistics
from genesim.models.expression.posterior import log_likelihood_bound
from genesim.models.expression.vae import NbVae
from genesim.train.loop import fit
from genesim.types import Condition

N_EPOCHS = 30
"""Of scVI in `training`; genesim sees as many cells."""
LENGTHS = (300, 600, 1000, 2500)
SCVI_EPOCHS = (10, 30, 100)
"""Of scVI in `quality`, beside its default."""
N_DRAWN = 20_000
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}


class Clock:
    """Hook that notes when each compiled call was done: steps, CPU seconds."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def __call__(self, step: int, state: object, info: object) -> None:
        self.seen.append((step, time.process_time()))


def conditions(case: Case) -> tuple[Covariates, dict[str, Condition]]:
    """Covariates of the training cells, and the condition of either half at its own library sizes."""
    covariates = Covariates.fit(case.train.obs, [case.labels_key], [])
    found = {}
    for part, cells in (("train", case.train), ("test", case.test)):
        library = np.asarray(case.counts(part).sum(axis=1), np.float64).ravel()
        found[part] = covariates.condition(cells.obs, np.log(library))
    return covariates, found


def trained(case: Case, config: ExpressionConfig) -> tuple[NbVae, Clock, float]:
    """genesim's VAE, the clock of its training, and all its CPU seconds."""
    covariates, condition = conditions(case)
    counts, clock, start = case.counts("train"), Clock(), time.process_time()
    key, plan = rng.key(case.seed, "speed"), config.vae
    vae = NbVae(gene_statistics(counts), covariates.n_levels, covariates.shares(), 0, config, rngs=nnx.Rngs(key))
    stream = ArrayStream(counts, condition["train"], plan.minibatch_size, case.seed, "speed")
    model = fit(vae, stream, plan, key, hooks=[clock]).model
    return model, clock, time.process_time() - start


def training(case: Case) -> list[dict[str, Any]]:
    """genesim's half of `training`, in this process."""
    size = 128
    n_steps = N_EPOCHS * int(0.9 * case.train.n_obs) // size  # scVI holds a tenth of the cells out
    plan = TrainPlan(n_steps=n_steps, minibatch_size=size)
    config = ExpressionConfig(method="vae", n_hidden=128, n_layers=1, n_latent=10, loading_penalty=0.0, vae=plan)
    _, clock, whole = trained(case, config)
    (first, begin), (last, end) = clock.seen[0], clock.seen[-1]
    return [
        {"tool": "genesim", "setting": "compiled", "cells_per_cpu_s": (last - first) * size / (end - begin)},
        {"tool": "genesim", "setting": "with compilation", "cells_per_cpu_s": n_steps * size / whole},
    ]


def quality(case: Case) -> list[dict[str, Any]]:
    """One training of genesim's half of `quality`, of $SPEED_STEPS steps, in this process."""
    n_steps = int(os.environ["SPEED_STEPS"])
    plan = TrainPlan(n_steps=n_steps, minibatch_size=128, learning_rate=4e-3)
    config = ExpressionConfig(method="vae", kl_weight=1.0, loading_penalty=0.0, vae=plan)
    vae, _, cpu = trained(case, config)
    condition = conditions(case)[1]["test"]
    bound = log_likelihood_bound(vae, case.counts("test"), condition, rng.key(case.seed, "speed", "score"))
    row = {"fit_cpu_s": cpu, "negative_elbo": -float(bound.mean())}
    return [{"tool": "genesim", "setting": f"{n_steps} steps", **row}]


def sampling(case: Case) -> list[dict[str, Any]]:
    """genesim's half of `sampling`, in this process: a default network, trained briefly (its speed is the same)."""
    short = {"n_steps": 100}
    default = ExpressionConfig(method="vae", loading_penalty=0.0)
    config = default.model_copy(
        update={"vae": default.vae.model_copy(update=short), "flow": default.flow.model_copy(update=short)}
    )
    model = ExpressionModel.fit(case.train, labels_key=case.labels_key, config=config, seed=case.seed)
    model.sample(4096, seed=0)  # compiles
    start, cpu = time.perf_counter(), time.process_time()
    drawn = model.sample(N_DRAWN, seed=1)
    wall = time.perf_counter() - start
    assert drawn.shape[0] == N_DRAWN
    return [
        {
            "tool": "genesim",
            "setting": os.environ.get("SPEED_THREADS", ""),
            "cells_per_wall_s": N_DRAWN / wall,
            "cells_per_cpu_s": N_DRAWN / (time.process_time() - cpu),
        }
    ]


PARTS = {"training": training, "quality": quality, "sampling": sampling}


def in_process(part: str, asked: Any, seed: int, environment: dict[str, str]) -> list[dict[str, Any]]:
    """A part of genesim's in a process of its own."""
    command = [sys.executable, __file__, "--measure", part, "--seeds", str(seed), "--data", str(asked.data.resolve())]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)} | environment
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def scvi(part: str, case: Case, cache: Path) -> list[dict[str, Any]]:
    """scVI's half of a part; nothing where scVI is absent."""
    if part == "training":
        with tempfile.TemporaryDirectory() as fresh:  # a time of this very run
            found = fit_scvi(
                Path(fresh),
                case.counts("train"),
                case.labels("train"),
                seed=case.seed,
                max_epochs=N_EPOCHS,
                early_stopping=False,
            )
        if found is None:
            return []
        figures = found.figures
        n_cells = figures["train_cells_per_s"] * figures["fit_wall_s"]
        return [{"tool": "scVI", "setting": "", "cells_per_cpu_s": n_cells / figures["fit_cpu_s"]}]
    default = scvi_of_case(cache, case)
    if default is None:
        return []
    if part == "quality":
        halves = {"test": case.counts("test"), "test_labels": case.labels("test"), "seed": case.seed}
        train = case.counts("train"), case.labels("train")
        fits = [fit_scvi(cache, *train, **halves, max_epochs=n, early_stopping=False) for n in SCVI_EPOCHS]
        return [
            {
                "tool": "scVI",
                "setting": name,
                "fit_cpu_s": fit.figures["fit_cpu_s"],
                "negative_elbo": fit.figures["held_out_negative_elbo"],
            }
            for fit, name in zip([*fits, default], [*(f"{n} epochs" for n in SCVI_EPOCHS), "default"])
            if fit is not None
        ]
    figures = default.figures
    n = case.train.n_obs
    row = {f"cells_per_{unit}_s": n / figures[f"prior_sample_{unit}_s"] for unit in ("wall", "cpu")}
    return [{"tool": "scVI prior", "setting": "one thread", **row}]


def figure(table: pd.DataFrame, path: Path) -> None:
    """Learning curves of `quality`: mean over seeds, a line a tool; scVI's own choice marked."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = picture.subplots()
    part = table[table["part"] == "quality"]
    for i, (tool, rows) in enumerate(part.groupby("tool")):
        mean = rows.groupby("setting", sort=False)[["fit_cpu_s", "negative_elbo"]].mean().sort_values("fit_cpu_s")
        axis.plot(mean["fit_cpu_s"], mean["negative_elbo"], marker="o", ms=4, lw=1, color=f"C{i}", label=tool)
        if "default" in mean.index:
            axis.axhline(mean.loc["default", "negative_elbo"], color=f"C{i}", lw=0.8, ls="--")
    axis.set(xscale="log", xlabel="CPU seconds of training, compilation included")
    axis.set(ylabel="held-out negative ELBO, nats a cell", title="OneK1K, 3,906 cells x 1,000 genes")
    axis.legend(fontsize=8)
    picture.savefig(path, dpi=150)


def main() -> None:
    parser = arguments(__doc__, ["onek1k"])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--measure", choices=list(PARTS), help="one part of genesim's in this process, as JSON")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(PARTS[asked.measure](make("onek1k", asked.data, asked.seeds[0]))))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        case = make("onek1k", asked.data, seed)
        for part in asked.parts:
            runs = [ONE_THREAD | {"SPEED_THREADS": "one thread"}]
            if part == "quality":
                runs = [ONE_THREAD | {"SPEED_STEPS": str(n_steps)} for n_steps in LENGTHS]
            elif part == "sampling":
                runs.append({"SPEED_THREADS": f"{os.cpu_count()} cores"})
            found = [row for environment in runs for row in in_process(part, asked, seed, environment)]
            for row in found + scvi(part, case, asked.cache):
                rows.append({"part": part, "seed": seed, **row})
                print(rows[-1], flush=True)
        table = pd.DataFrame(rows)
        table.round(3).to_csv(asked.out / "speed.csv", index=False)
    if "quality" in asked.parts:
        figure(table, asked.out / "speed.png")
    write_record(asked.out / "speed.json", n_epochs=N_EPOCHS, lengths=LENGTHS, n_drawn=N_DRAWN)


if __name__ == "__main__":
    main()

"""Fit one genesim generator on a data set's training half, in a process of its own, and write what it draws.

    python fit_genesim.py settings.json output.npz output.json

`settings.json`: data, dataset, seed, config (changes to ExpressionConfig). One cell is drawn for each training cell, of
its label; the library size is the generator's own. Times leave out imports and reading; they hold compilation.
`peak_rss_mb` is the whole process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cases import make
from scipy import sparse

from genesim.config.model import ExpressionConfig
from genesim.estimators.expression import ExpressionModel


def main() -> None:
    settings_path, arrays_out, figures_out = map(Path, sys.argv[1:4])
    settings = json.loads(settings_path.read_text())
    case = make(settings["dataset"], Path(settings["data"]), settings["seed"])
    config = ExpressionConfig.model_validate(settings["config"])

    wall, cpu = time.perf_counter(), time.process_time()
    model = ExpressionModel.fit(case.train, labels_key=case.labels_key, config=config, seed=case.seed)
    figures = {"fit_wall_s": time.perf_counter() - wall, "fit_cpu_s": time.process_time() - cpu}
    wall, cpu = time.perf_counter(), time.process_time()
    drawn = model.sample(case.train.n_obs, obs=pd.DataFrame({case.labels_key: case.labels("train")}), seed=case.seed)
    figures |= {"sample_wall_s": time.perf_counter() - wall, "sample_cpu_s": time.process_time() - cpu}
    if config.method == "vae":
        figures["n_steps"] = model.config.vae.n_steps + model.config.flow.n_steps
        figures["held_out_negative_elbo"] = -float(model.score_cells(case.test, seed=case.seed).mean())
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sparse.save_npz(arrays_out, sparse.csr_matrix(drawn.X, dtype=np.int32))
    figures_out.write_text(json.dumps({"figures": figures, "config": model.config.model_dump(mode="json")}, indent=1))


if __name__ == "__main__":
    main()

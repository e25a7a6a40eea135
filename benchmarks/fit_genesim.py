"""Fit `ExpressionModel` on training cells and write what the benchmarks need: `peers/scvi_fit.py` for genesim.

    python fit_genesim.py input.npz settings.json output.npz output.json

`input.npz` and `settings.json` as `fits.fit_genesim` writes them. Times leave out imports, reading and writing; they
hold compilation. `peak_rss_mb` is the whole process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from fits import from_parts, to_parts
from scipy import sparse

from genesim.config.model import ExpressionConfig
from genesim.estimators.expression import ExpressionModel


def peak_rss_mb() -> float:
    """Peak resident memory of this process, MB (Linux). `ru_maxrss` would start at that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _cells(counts: sparse.csr_matrix, labels: np.ndarray) -> ad.AnnData:
    names = [[f"{kind}{i}" for i in range(n)] for kind, n in zip(("cell", "gene"), counts.shape)]
    obs = pd.DataFrame({"label": labels.astype(object)}, index=pd.Index(names[0], dtype=object))
    return ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=pd.Index(names[1], dtype=object)))


def main() -> None:
    source, settings_path, arrays_out, figures_out = map(Path, sys.argv[1:5])
    settings = json.loads(settings_path.read_text())
    with np.load(source) as found:
        arrays = dict(found)
    train = _cells(from_parts(arrays, "train"), arrays["train_labels"])
    test, asked = _cells(from_parts(arrays, "test"), arrays["test_labels"]), arrays["sample_labels"]
    config, seed = ExpressionConfig.model_validate(settings["config"]), settings["seed"]

    wall, cpu = time.perf_counter(), time.process_time()
    model = ExpressionModel.fit(train, labels_key="label", config=config, seed=seed)
    figures = {"fit_wall_s": time.perf_counter() - wall, "fit_cpu_s": time.process_time() - cpu}
    out: dict[str, np.ndarray] = {}
    if len(asked):
        wall, cpu = time.perf_counter(), time.process_time()
        drawn = model.sample(len(asked), obs=pd.DataFrame({"label": asked.astype(object)}), seed=seed)
        figures |= {"sample_wall_s": time.perf_counter() - wall, "sample_cpu_s": time.process_time() - cpu}
        out |= to_parts("drawn", sparse.csr_matrix(drawn.X))
    if model.config.method == "vae":
        figures["n_steps"] = model.config.vae.n_steps + model.config.flow.n_steps
        if test.n_obs:
            figures["held_out_negative_elbo"] = -float(model.score_cells(test, seed=seed).mean())
    if settings["rates"]:
        for name, own_counts in (("rates", True), ("latent_rates", False)):
            out[name] = np.asarray(model.denoise(train, library_size=1.0, own_counts=own_counts).X, np.float32)
    figures["peak_rss_mb"] = peak_rss_mb()
    np.savez(arrays_out, **out)
    described = {"figures": figures, "config": model.config.model_dump(mode="json"), "selection": model.selection}
    figures_out.write_text(json.dumps(described, indent=1))


if __name__ == "__main__":
    main()

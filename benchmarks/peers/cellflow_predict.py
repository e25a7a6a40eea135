"""CellFlow on one fold: `python cellflow_predict.py FOLDER`, in the environment of `cellflow.txt`.

Reads and writes what `scgen_predict.py` does, and `effect_<i>`: predicted minus given cells, both decoded from the
components, so that what 50 components lose of a mean is no part of the effect. OT flow matching in principal
components of the training cells, one-hot perturbations; a cell type is known by the mean of its controls' components,
which an unseen type has too. The network is far smaller than the default (70 million parameters, 1.5 s a step on one
core) and untuned.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path

import anndata as ad
import numpy as np
import optax
import pandas as pd
from cellflow.model import CellFlow

N_COMPONENTS, N_ITERATIONS, BATCH_SIZE, LEARNING_RATE, WIDTH = 50, 2000, 128, 1e-3, 256


def components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and loadings (component x gene)."""
    mean = x.mean(0)
    _, _, loadings = np.linalg.svd(x - mean, full_matrices=False)
    return mean, loadings[:N_COMPONENTS]


def main() -> None:
    folder = Path(sys.argv[1])
    warnings.filterwarnings("ignore")
    ask = json.loads((folder / "ask.json").read_text())
    with np.load(folder / "train.npz") as arrays:
        x, parts, context = (arrays[name] for name in ("x", "parts", "context"))
        given = [arrays[f"given_{i}"] for i in range(len(ask["conditions"]))]
    started = time.process_time()
    mean, loadings = components(x)
    scores = (x - mean) @ loadings.T
    is_control = parts == ask["control"]
    profiles = {c: scores[is_control & (context == c)].mean(0) for c in np.unique(context[is_control])}
    scale = np.std(list(profiles.values()))
    perturbations = sorted(set(parts[~is_control]))
    train = ad.AnnData(np.zeros((len(x), 1), np.float32))
    train.obs["condition"] = pd.Categorical(parts)
    train.obs["cell_type"] = pd.Categorical(context)
    train.obs["is_control"] = is_control
    train.obsm["pca"] = scores.astype(np.float32)
    # A context without perturbed cells teaches nothing, and CellFlow refuses controls that nothing is matched to.
    treated = np.isin(context, np.unique(context[~is_control]))
    train = train[treated].copy()
    onehot = dict(zip(perturbations, np.eye(len(perturbations), dtype=np.float32), strict=True))
    train.uns["conditions"] = onehot
    train.uns["types"] = {c: (p / scale).astype(np.float32) for c, p in profiles.items()}
    flow = CellFlow(train, solver="otfm")
    flow.prepare_data(
        sample_rep="pca",
        control_key="is_control",
        perturbation_covariates={"condition": ("condition",)},
        perturbation_covariate_reps={"condition": "conditions"},
        sample_covariates=["cell_type"],
        sample_covariate_reps={"cell_type": "types"},
        split_covariates=["cell_type"],
    )
    flow.prepare_model(
        pooling="mean",
        condition_embedding_dim=64,
        cond_output_dropout=0.1,
        time_freqs=64,
        time_encoder_dims=(WIDTH, WIDTH),
        hidden_dims=(WIDTH, WIDTH),
        decoder_dims=(WIDTH, WIDTH),
        optimizer=optax.adam(LEARNING_RATE),
        seed=ask["seed"],
    )
    flow.train(num_iterations=N_ITERATIONS, batch_size=BATCH_SIZE, valid_freq=N_ITERATIONS)
    found = {}
    for i, condition in enumerate(ask["conditions"]):
        (label,) = condition["parts"]
        controls = ad.AnnData(np.zeros((len(given[i]), 1), np.float32))
        controls.obsm["pca"] = ((given[i] - mean) @ loadings.T).astype(np.float32)
        controls.obs["condition"] = pd.Categorical([ask["control"]] * len(controls))
        controls.obs["cell_type"] = pd.Categorical([condition["context"]] * len(controls))
        controls.obs["is_control"] = True
        controls.uns = train.uns
        asked = pd.DataFrame({"condition": [label], "cell_type": [condition["context"]], "is_control": [False]})
        (predicted,) = flow.predict(controls, covariate_data=asked, sample_rep="pca").values()
        predicted = np.asarray(predicted)
        found[f"cells_{i}"] = (mean + predicted @ loadings).astype(np.float32)
        found[f"effect_{i}"] = (predicted - controls.obsm["pca"]).mean(0) @ loadings
    cpu = time.process_time() - started
    np.savez(folder / "predicted.npz", **found)
    settings = {
        "n_components": N_COMPONENTS,
        "n_iterations": N_ITERATIONS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "width": WIDTH,
    }
    versions = {name: metadata.version(name) for name in ("cellflow-tools", "ott-jax", "jax")}
    figures = {"cpu_s": cpu, "settings": settings, "versions": versions}
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

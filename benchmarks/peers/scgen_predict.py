"""scGen (pertpy) on one fold: `python scgen_predict.py FOLDER`, in the environment of `scgen.txt`.

Reads `train.npz` (x: log-normalised training cells, parts, context, given_<i>) and `ask.json`; writes `predicted.npz`
(cells_<i>) and `figures.json` (cpu_s, versions, settings). scGen moves the latents of the given controls by the
difference of latent means of stimulated and control cells, over balanced cell types.
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
import pandas as pd
import pertpy
import scvi

MAX_EPOCHS, BATCH_SIZE, PATIENCE = 100, 128, 25


def main() -> None:
    folder = Path(sys.argv[1])
    warnings.filterwarnings("ignore")
    ask = json.loads((folder / "ask.json").read_text())
    scvi.settings.seed = ask["seed"]
    with np.load(folder / "train.npz") as arrays:
        x, parts, context = (arrays[name] for name in ("x", "parts", "context"))
        given = [arrays[f"given_{i}"] for i in range(len(ask["conditions"]))]
    obs = pd.DataFrame({"condition": parts, "cell_type": context}, index=[f"c{i}" for i in range(len(x))])
    train = ad.AnnData(x, obs=obs.astype("category"))
    started = time.process_time()
    pertpy.tl.Scgen.setup_anndata(train, batch_key="condition", labels_key="cell_type")
    model = pertpy.tl.Scgen(train)
    model.train(max_epochs=MAX_EPOCHS, batch_size=BATCH_SIZE, early_stopping=True, early_stopping_patience=PATIENCE)
    found = {}
    for i, condition in enumerate(ask["conditions"]):
        label = ask["separator"].join(condition["parts"])
        cells = ad.AnnData(given[i])
        cells.obs["condition"] = pd.Categorical([ask["control"]] * len(cells), train.obs["condition"].cat.categories)
        kinds = train.obs["cell_type"].cat.categories
        cells.obs["cell_type"] = pd.Categorical([condition["context"]] * len(cells), kinds)
        predicted, _ = model.predict(ctrl_key=ask["control"], stim_key=label, adata_to_predict=cells)
        found[f"cells_{i}"] = np.asarray(predicted.X, np.float32)
    cpu = time.process_time() - started
    np.savez(folder / "predicted.npz", **found)
    settings = {"max_epochs": MAX_EPOCHS, "batch_size": BATCH_SIZE, "early_stopping_patience": PATIENCE}
    versions = {name: metadata.version(name) for name in ("pertpy", "scvi-tools", "jax")}
    figures = {"cpu_s": cpu, "settings": settings, "versions": versions}
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""Fit scVI on training cells and write what the benchmarks need. Runs inside the scVI environment, without genesim.

    python scvi_fit.py input.npz settings.json output.npz output.json

`input.npz`: CSR parts of `train` and `test` counts [cell, gene], `train_labels` and `test_labels`, and row numbers
of training cells: `pp_rows` (one posterior predictive cell each: latent of the cell, its label and library size)
and `prior_rows` (one prior cell each: label and library size of the cell, latent from N(0, I)).
`settings.json`: seed, gene_likelihood, early_stopping, max_epochs (null: scVI's heuristic), threads,
n_latent_draws (for scores and rates), rates (true: also normalised expression of the training cells, and each
gene's inverse dispersion `theta`).

The label is scVI's batch, so that the decoder is conditioned on it: scVI's `labels_key` does not condition samples.
Times leave out imports, reading and writing; `peak_rss_mb` is the whole process.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy import sparse

BLOCK = 512


def peak_rss_mb() -> float:
    """Peak resident memory of this process, MB (Linux). `ru_maxrss` would start at that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def read_counts(arrays: Any, name: str) -> sparse.csr_matrix:
    """CSR float32 counts [cell, gene] from their parts."""
    parts = (arrays[f"{name}_data"], arrays[f"{name}_indices"], arrays[f"{name}_indptr"])
    return sparse.csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]), dtype=np.float32)


def as_anndata(counts: sparse.csr_matrix, labels: np.ndarray) -> ad.AnnData:
    return ad.AnnData(counts, obs=pd.DataFrame({"label": labels}, index=[str(i) for i in range(len(labels))]))


@torch.inference_mode()
def draw_prior(model: Any, batch: np.ndarray, library: np.ndarray) -> sparse.csr_matrix:
    """Counts [cell, gene] from z ~ N(0, I) at the given scVI batch codes and library sizes."""
    blocks = []
    for start in range(0, len(batch), BLOCK):
        part = slice(start, start + BLOCK)
        z = torch.randn(len(batch[part]), model.module.n_latent)
        log_library = torch.log(torch.tensor(library[part], dtype=torch.float32))[:, None]
        px = model.module.generative(z, log_library, torch.tensor(batch[part])[:, None])["px"]
        blocks.append(sparse.csr_matrix(px.sample().numpy().astype(np.int32)))
    return sparse.vstack(blocks, "csr")


@torch.inference_mode()
def held_out(model: Any, counts: sparse.csr_matrix, batch: np.ndarray, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Reconstruction negative log-likelihood and negative ELBO of each cell, nats, at its observed library size.

    Means over `n_draws` posterior latents; the KL term is in closed form.
    """
    reconstruction, kl = [], []
    for start in range(0, counts.shape[0], BLOCK):
        x = torch.tensor(counts[start : start + BLOCK].toarray())
        code = torch.tensor(batch[start : start + BLOCK])[:, None]
        inferred = model.module.inference(x, code)
        total = torch.zeros(len(x))
        for _ in range(n_draws):
            z = inferred["qz"].sample()
            total -= model.module.generative(z, inferred["library"], code)["px"].log_prob(x).sum(dim=-1)
        standard = torch.distributions.Normal(0.0, 1.0)
        reconstruction.append((total / n_draws).numpy())
        kl.append(torch.distributions.kl_divergence(inferred["qz"], standard).sum(dim=-1).numpy())
    return np.concatenate(reconstruction), np.concatenate(reconstruction) + np.concatenate(kl)


def main() -> None:
    source, settings_path, arrays_out, figures_out = map(Path, sys.argv[1:5])
    settings = json.loads(settings_path.read_text())
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(settings["threads"])
    scvi.settings.seed = settings["seed"]
    with np.load(source) as arrays:
        train = as_anndata(read_counts(arrays, "train"), arrays["train_labels"])
        test, test_labels = read_counts(arrays, "test"), arrays["test_labels"]
        pp_rows, prior_rows = arrays["pp_rows"], arrays["prior_rows"]

    wall, cpu = time.perf_counter(), time.process_time()
    scvi.model.SCVI.setup_anndata(train, batch_key="label")
    model = scvi.model.SCVI(train, gene_likelihood=settings["gene_likelihood"])
    model.train(
        max_epochs=settings["max_epochs"],
        early_stopping=settings["early_stopping"],
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
    )
    figures: dict[str, float] = {"fit_wall_s": time.perf_counter() - wall, "fit_cpu_s": time.process_time() - cpu}
    n_epochs = len(model.history["elbo_train"])
    figures["n_epochs"], figures["n_steps"] = n_epochs, int(model.trainer.global_step)
    figures["train_cells_per_s"] = n_epochs * len(model.train_indices) / figures["fit_wall_s"]

    registry = model.adata_manager.get_state_registry(scvi.REGISTRY_KEYS.BATCH_KEY)
    code = pd.Series(np.arange(len(registry.categorical_mapping)), index=registry.categorical_mapping)
    library = np.asarray(train.X.sum(axis=1)).ravel()
    batch = code[train.obs["label"].to_numpy()].to_numpy()
    out: dict[str, np.ndarray] = {}

    def keep(name: str, counts: sparse.csr_matrix) -> None:
        for part in ("data", "indices", "indptr"):
            out[f"{name}_{part}"] = np.asarray(getattr(counts, part), np.int32)
        out[f"{name}_shape"] = np.asarray(counts.shape)

    wall, cpu = time.perf_counter(), time.process_time()
    drawn = model.posterior_predictive_sample(indices=pp_rows.tolist()) if len(pp_rows) else None
    figures["pp_sample_wall_s"] = time.perf_counter() - wall
    figures["pp_sample_cpu_s"] = time.process_time() - cpu
    if drawn is not None:
        keep("pp", sparse.csr_matrix(drawn.to_scipy_sparse()))
    wall, cpu = time.perf_counter(), time.process_time()
    if len(prior_rows):
        keep("prior", draw_prior(model, batch[prior_rows], library[prior_rows]))
    figures["prior_sample_wall_s"] = time.perf_counter() - wall
    figures["prior_sample_cpu_s"] = time.process_time() - cpu
    if test.shape[0]:
        nll, negative_elbo = held_out(model, test, code[test_labels].to_numpy(), settings["n_latent_draws"])
        out["held_out_nll"], out["held_out_negative_elbo"] = nll, negative_elbo
        figures["held_out_nll"], figures["held_out_negative_elbo"] = float(nll.mean()), float(negative_elbo.mean())
    if settings["rates"]:
        rates = model.get_normalized_expression(n_samples=settings["n_latent_draws"], return_numpy=True)
        out["rates"] = np.asarray(rates, np.float32)
        out["theta"] = np.exp(model.module.px_r.detach().numpy())
    figures["peak_rss_mb"] = peak_rss_mb()
    np.savez(arrays_out, **out)
    versions = {"scvi-tools": scvi.__version__, "torch": torch.__version__}
    figures_out.write_text(json.dumps({"figures": figures, "versions": versions, "settings": settings}, indent=1))


if __name__ == "__main__":
    main()

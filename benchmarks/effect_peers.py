"""The cis model beside susieR and tensorQTL on the same data; `effects.py` runs it.

- `planted`: 1 to 3 causal variants over the LD of 343 Europeans (GEUVADIS, chr22), h2 .1: genesim and susieR on the
  same arrays, L = 5. Agreement of PIPs and effects, coverage of 95 % credible sets, CPU seconds a gene.
- `egenes`: GEUVADIS genes at 5 % FDR by genesim's p-value and by tensorQTL's permutations, on real and on shuffled
  donors.

susieR needs `Rscript` (Debian: r-cran-susier); tensorQTL an environment of its own, whose Python `$TENSORQTL_PYTHON`
names. A peer that is not installed is left out, with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from effect_calibration import WINDOW, Panel, bulk_response, plant

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import log
from genesim.metrics.effects import benjamini_hochberg
from genesim.models.effects.baselines import susie_coefficients
from genesim.models.effects.credible import credible_sets
from genesim.models.effects.learning import learn_mixture
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.scan import batches, build_batch, fit_genes
from genesim.models.effects.susie import fit_susie, inclusion_probability

PEERS = Path(__file__).parent / "peers"
L = EffectConfig().n_effects
PLANTED_GENES, PERMUTATIONS = 60, 1000
Row = tuple[str, str, str, float]


def planted(panel: Panel, n_genes: int, seed: int) -> Iterator[Row]:
    if shutil.which("Rscript") is None:
        log.warning("susieR is left out: there is no Rscript")
        return
    draw = rng.generator(seed, "peers", "planted")
    rows = np.arange(panel.genotypes.n_donors)
    genes = draw.choice(len(panel.windows), n_genes, replace=False)
    effects, value = plant(panel, genes, 0.1, rows, draw)
    y = value + np.sqrt(0.9) * draw.normal(size=value.shape)
    basis = orthonormal_covariates(np.zeros((len(rows), 0)), np.ones(len(rows), bool))
    windows = [panel.windows[g] for g in genes]
    found: dict[str, list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]] = {"genesim": [], "susieR": []}
    causal: list[np.ndarray] = []
    seconds = {"genesim": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes = []
        planned = list(batches(windows, len(rows), 32))
        weight = np.ones(y.shape)
        prior = learn_mixture(
            lambda: (build_batch(b[0], b[1:], y, weight, basis, windows, panel.of(rows)) for b in planned)
        )
        for chosen, width, size in planned:
            problem = build_batch(chosen, (width, size), y, weight, basis, windows, panel.of(rows))
            jax.block_until_ready(fit_susie(problem, prior, n_effects=L))
            started = time.process_time()
            fit = jax.block_until_ready(fit_susie(problem, prior, n_effects=L))
            seconds["genesim"] += time.process_time() - started
            pip, coefficients = np.asarray(inclusion_probability(fit)), np.asarray(susie_coefficients(fit))
            for i, g in enumerate(chosen):
                n = len(windows[g])
                x = np.asarray(problem.genotype)[i, :, :n]
                sets = credible_sets(np.asarray(fit.alpha)[i, :, :n], np.asarray(fit.present)[i], x)
                found["genesim"].append((pip[i, :n], coefficients[i, :n], [s.variants for s in sets]))
                causal.append(np.flatnonzero(np.isin(windows[g], list(effects[g]))))
                x.T.astype(np.float32).tofile(folder / f"x{len(shapes)}.bin")  # column after column, as R reads it
                np.asarray(problem.response)[i].astype(np.float32).tofile(folder / f"y{len(shapes)}.bin")
                shapes.append((len(rows), n))
        pd.DataFrame(shapes, columns=["n", "p"]).to_csv(folder / "shapes.csv", index=False)
        subprocess.run(["Rscript", str(PEERS / "susie.R"), name, str(L)], check=True)
        for i in range(len(shapes)):
            table = pd.read_csv(folder / f"susie{i}.csv")
            number = table["set"].to_numpy()
            sets = [np.flatnonzero(number == k) for k in range(1, number.max() + 1)]
            found["susieR"].append((table["pip"].to_numpy(), table["effect"].to_numpy(), sets))
        seconds["susieR"] = n_genes * float((folder / "susie.txt").read_text().split()[0])
    mine, theirs = (np.concatenate([pip for pip, _, _ in found[who]]) for who in ("genesim", "susieR"))
    yield "planted", "both", "correlation of PIPs", float(np.corrcoef(mine, theirs)[0, 1])
    yield (
        "planted",
        "both",
        "PIPs that differ by more than .05, a gene",
        float((abs(mine - theirs) > 0.05).sum() / n_genes),
    )
    mine, theirs = (np.concatenate([effect for _, effect, _ in found[who]]) for who in ("genesim", "susieR"))
    yield "planted", "both", "correlation of effects", float(np.corrcoef(mine, theirs)[0, 1])
    for who, fits in found.items():
        hits = [bool(np.isin(s, c).any()) for (_, _, sets), c in zip(fits, causal, strict=True) for s in sets]
        caught = [any(v in s for s in sets) for (_, _, sets), c in zip(fits, causal, strict=True) for v in c]
        yield "planted", who, "credible sets", float(len(hits))
        yield "planted", who, "credible sets that hold a causal variant", float(np.mean(hits))
        yield "planted", who, "causal variants in a credible set", float(np.mean(caught))
        yield "planted", who, "CPU seconds a gene", seconds[who] / n_genes


def egenes(panel: Panel, n_permutations: int, seed: int) -> Iterator[Row]:
    draw = rng.generator(seed, "peers", "egenes")
    y, weight, basis = bulk_response(panel)
    everyone = np.arange(y.shape[1])
    python = os.environ.get("TENSORQTL_PYTHON")
    if python is None:
        log.warning("tensorQTL is left out: $TENSORQTL_PYTHON names no Python")
    for setting, rows in (("real", everyone), ("donors shuffled", draw.permutation(everyone))):
        dosage = panel.dosage[:, rows]
        started = time.process_time()
        fit = fit_genes(y, weight, basis, panel.windows, lambda index, d=dosage: d[index], EffectConfig())
        yield f"egenes, {setting}", "genesim", "CPU seconds a gene", (time.process_time() - started) / len(y)
        mine = benjamini_hochberg(fit.p_value) < 0.05
        yield f"egenes, {setting}", "genesim", "genes at 5 % FDR", float(mine.sum())
        if python is None:
            continue
        with tempfile.TemporaryDirectory() as name:
            np.savez(
                Path(name) / "tensorqtl.npz",
                dosage=dosage,
                y=y,
                start=panel.genotypes.variants["start"].to_numpy(),
                tss=panel.genes["tss"].to_numpy(),
                covariates=panel.expression.obsm["covariates"][:, :28],
                window=WINDOW,
            )
            subprocess.run([python, str(PEERS / "tensorqtl_cis.py"), name, str(n_permutations)], check=True)
            p = pd.read_csv(Path(name) / "tensorqtl.csv")["pval_beta"].to_numpy()
            cpu = float((Path(name) / "tensorqtl.txt").read_text().split()[0])
        theirs = benjamini_hochberg(p) < 0.05
        yield f"egenes, {setting}", "tensorQTL", "CPU seconds a gene", cpu
        yield f"egenes, {setting}", "tensorQTL", "genes at 5 % FDR", float(theirs.sum())
        yield f"egenes, {setting}", "both", "genes at 5 % FDR", float((mine & theirs).sum())


def measure(panel: Panel, seeds: list[int]) -> pd.DataFrame:
    """A row a part, seed, tool and metric."""
    rows = [(seed, *row) for seed in seeds for row in planted(panel, PLANTED_GENES, seed)]
    rows += [(seed, *row) for seed in seeds for row in egenes(panel, PERMUTATIONS, seed)]
    return pd.DataFrame(rows, columns=["seed", "part", "who", "metric", "value"])

"""Negative binomial pseudobulk over real genotypes: power and type I error of genesim, tensorQTL and jaxQTL.

`effects.py` runs it.

Counts of 343 Europeans' pseudobulk (genotypes of GEUVADIS, chr22; rates of OneK1K's genes; NB noise of donors with a
log2 SD near .5). Half of the genes have 1 to 3 causal variants that explain h2 = .15, half have none. Same covariates
(three genotype components); library size is jaxQTL's offset, and a covariate of the other two. tensorQTL takes log2
counts per million, gene by gene turned into normal quantiles. Calls are made at 5 % FDR (Benjamini-Hochberg).

The peers run in environments of their own (`peers/tensorqtl.txt`, `peers/jaxqtl.txt`), whose Pythons
`$TENSORQTL_PYTHON` and `$JAXQTL_PYTHON` name; one that is not named is left out, with the reason.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from effect_calibration import WINDOW, Panel, plant
from scipy.stats import norm, rankdata

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import log
from genesim.metrics.effects import benjamini_hochberg
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.response import count_response
from genesim.models.effects.scan import fit_genes

PEERS = Path(__file__).parent / "peers"
N_GENES, PERMUTATIONS = 40, 200
H2 = 0.15
DONOR_SD = 0.5
MOLECULES = 50 * 3000
"""Of a donor: 50 cells of 3,000 molecules."""


def peer(name: str, script: str, column: str, held: dict[str, np.ndarray], n: int) -> tuple[np.ndarray, float] | None:
    """p-values of a peer, and its CPU seconds a gene; None where its environment is not named."""
    python = os.environ.get(f"{name.upper()}_PYTHON")
    if python is None:
        log.warning("%s is left out: $%s_PYTHON names no Python", name, name.upper())
        return None
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / f"{name}.npz", **held)
        subprocess.run([python, str(PEERS / script), folder, str(n)], check=True)
        p = pd.read_csv(Path(folder) / f"{name}.csv")[column].to_numpy()
        return p, float((Path(folder) / f"{name}.txt").read_text().split()[0])


def one_seed(panel: Panel, share: np.ndarray, n_genes: int, n_perm: int, seed: int) -> Iterator[tuple[str, str, float]]:
    draw = rng.generator(seed, "peers", "counts")
    n = panel.genotypes.n_donors
    genes = np.sort(draw.choice(len(panel.windows), n_genes, replace=False))
    causal = np.zeros(n_genes, bool)
    causal[draw.choice(n_genes, n_genes // 2, replace=False)] = True
    _, value = plant(panel, genes, H2, np.arange(n), draw)
    phi = np.where(causal, 1 - H2, 1.0)[:, None] * (DONOR_SD * np.log(2)) ** 2
    noise = draw.gamma(1 / phi, phi, (n_genes, n))
    library = np.round(MOLECULES * np.exp(0.3 * draw.normal(size=n)))
    rate = draw.choice(share[share > np.median(share)], n_genes)
    counts = draw.poisson(rate[:, None] * library * noise * np.exp2(DONOR_SD * value * causal[:, None]))
    components = panel.expression.obsm["covariates"][:, :3]
    with_depth = np.column_stack([components, np.log(library)])
    present = np.ones(n, bool)

    started = time.process_time()
    y, weight = count_response(counts, library, present)
    windows = [panel.windows[g] for g in genes]
    basis = orthonormal_covariates(with_depth, present)
    fit = fit_genes(y, weight, basis, windows, panel.of(np.arange(n)), EffectConfig())
    found = {"genesim": (fit.p_value, (time.process_time() - started) / n_genes)}
    normal = norm.ppf((rankdata(np.log2(counts / library * 1e6 + 1), axis=1) - 0.5) / n)
    shared = {
        "dosage": panel.dosage,
        "start": panel.genotypes.variants["start"].to_numpy(),
        "tss": panel.genes["tss"].to_numpy()[genes],
        "window": np.array(WINDOW),
    }
    tensorqtl = shared | {"y": normal, "covariates": with_depth}
    jaxqtl = shared | {"counts": counts, "library": library, "covariates": components}
    for who, got in (
        ("tensorQTL", peer("tensorqtl", "tensorqtl_cis.py", "pval_beta", tensorqtl, n_perm)),
        ("jaxQTL", peer("jaxqtl", "jaxqtl_cis.py", "pvalue_adj", jaxqtl, n_perm)),
    ):
        if got is not None:
            found[who] = got
    called = {}
    for who, (p, cpu) in found.items():
        p = np.where(np.isfinite(p), p, 1.0)  # a gene that a tool does not test is not called
        called[who] = benjamini_hochberg(p) < 0.05
        yield who, "power at 5 % FDR", float(called[who][causal].mean())
        yield who, "share of calls that are false", float((called[who] & ~causal).sum() / max(called[who].sum(), 1))
        yield who, "null genes with p < .05", float((p[~causal] < 0.05).mean())
        yield who, "CPU seconds a gene, compilation included", cpu
        yield who, "calls shared with genesim", float((called[who] & called["genesim"]).sum())
        yield who, "calls", float(called[who].sum())


def measure(panel: Panel, share: np.ndarray, seeds: list[int]) -> pd.DataFrame:
    """A row a seed, tool and metric; `share` holds the genes' shares of a real cell type's counts."""
    rows = [("counts", s, *row) for s in seeds for row in one_seed(panel, share, N_GENES, PERMUTATIONS, s)]
    return pd.DataFrame(rows, columns=["part", "seed", "who", "metric", "value"])

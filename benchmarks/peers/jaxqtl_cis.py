"""jaxQTL's negative binomial cis scan on the data that `effect_peers.py` wrote (run in jaxQTL's own environment).

python jaxqtl_cis.py FOLDER N_PERMUTATIONS

Score test, library size as offset, Beta approximation of the permutations: the settings that its authors recommend.
"""

import sys
import time
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxqtl.distribution import NegativeBinomial
from jaxqtl.hypothesis import BetaPermutation, ScoreTest
from jaxqtl.infer import GeneralizedLinearModel
from jaxqtl.map import map_cis
from jaxqtl.map.data import CisData

jax.config.update("jax_enable_x64", True)


class Windows:
    """What `map_cis` asks of its data: one gene after another. Arrays in place of a VCF."""

    def __init__(self, held) -> None:
        self.held = held
        n = held["dosage"].shape[1]
        self.covariates = jnp.asarray(np.column_stack([held["covariates"], np.ones(n)]))
        self.offset = jnp.asarray(np.log(held["library"]))

    def iter_cis(self, window: int, *, tss_centered: bool = False, host_genotypes: bool = False):
        held = self.held
        frequency = held["dosage"].mean(1) / 2
        common = np.minimum(frequency, 1 - frequency) >= 0.05
        for i, tss in enumerate(held["tss"]):
            rows = np.flatnonzero(common & (abs(held["start"] - tss) <= window))
            places = pl.DataFrame(
                {
                    "chrom": ["22"] * len(rows),
                    "snp": [f"v{r}" for r in rows],
                    "pos": held["start"][rows] + 1,
                    "a0": ["A"] * len(rows),
                    "a1": ["C"] * len(rows),
                }
            )
            x = np.ascontiguousarray(held["dosage"][rows].T.astype(np.float32))
            y = jnp.asarray(held["counts"][i].astype(float))
            start, end = int(tss) - window, int(tss) + window
            yield CisData(self.covariates, x, y, self.offset, f"g{i}", "22", int(tss), int(tss), places, start, end)


folder, n_permutations = Path(sys.argv[1]), int(sys.argv[2])
held = dict(np.load(folder / "jaxqtl.npz"))
started = time.process_time()
test = ScoreTest(GeneralizedLinearModel(family=NegativeBinomial()))
chunks = map_cis(
    Windows(held), test, BetaPermutation(n_permutations), window=int(held["window"]), seed=0, verbose=False
)
found = pl.concat(list(chunks))
cpu = time.process_time() - started
genes = pl.DataFrame({"phenotype_id": [f"g{i}" for i in range(len(held["tss"]))]})
genes.join(found, on="phenotype_id", how="left").select("phenotype_id", "pvalue_adj", "snp", "beta").write_csv(
    folder / "jaxqtl.csv"
)
(folder / "jaxqtl.txt").write_text(f"{cpu / len(held['tss']):.6f}\n{version('jaxqtl')}\n")

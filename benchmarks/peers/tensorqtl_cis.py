"""tensorQTL's cis permutation pass on the data that `effect_peers.py` wrote (run in tensorQTL's own environment).

python tensorqtl_cis.py FOLDER N_PERMUTATIONS
"""

import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from tensorqtl import cis

folder, n_permutations = Path(sys.argv[1]), int(sys.argv[2])
held = np.load(folder / "tensorqtl.npz")
donors = [f"D{i}" for i in range(held["dosage"].shape[1])]
variants = [f"v{i}" for i in range(held["dosage"].shape[0])]
genes = [f"g{i}" for i in range(held["y"].shape[0])]
genotype = pd.DataFrame(held["dosage"], index=variants, columns=donors)
places = pd.DataFrame({"chrom": "22", "pos": held["start"] + 1}, index=variants)
phenotype = pd.DataFrame(held["y"], index=genes, columns=donors)
tss = pd.DataFrame({"chr": "22", "pos": held["tss"] + 1}, index=genes)
covariates = pd.DataFrame(held["covariates"], index=donors)
started = time.process_time()
found = cis.map_cis(
    genotype,
    places,
    phenotype,
    tss,
    covariates_df=covariates,
    nperm=n_permutations,
    window=int(held["window"]),
    maf_threshold=0.05,
    seed=0,
    verbose=False,
)
cpu = time.process_time() - started
found.reindex(genes)[["pval_beta", "pval_perm"]].to_csv(folder / "tensorqtl.csv")
(folder / "tensorqtl.txt").write_text(f"{cpu / len(genes):.6f}\n{version('tensorqtl')}\n")

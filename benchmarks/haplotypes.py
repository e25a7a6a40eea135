"""Haplotype models on the 10,000-SNP benchmark of 1000 Genomes (chr15), beside the floor and the nulls.

    python benchmarks/haplotypes.py --data ../shared/data --seeds 0 1 2

Trains on one half of the haplotypes, draws as many synthetic ones with the same ancestries, and compares
them with the training half. The row `floor` puts the held-out real half in the place of the synthetic one.
Writes `haplotypes.csv` and, beside it, `haplotypes.json` with the command, settings and versions.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record import write_record

from genesim import rng
from genesim.config.inputs import GenotypePolicy
from genesim.config.model import HaplotypeConfig
from genesim.console import setup
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.metrics import haplotype_privacy as privacy
from genesim.metrics import haplotypes as fidelity
from genesim.models.catalog import methods
from genesim.provenance.atomic import atomic_file

METHODS = methods("haplotypes")
N_TYPED = 350  # variants left in the imputation task
N_IMPUTED = 400  # held-out donors' haplotypes in the imputation task
BINS = (0, 10_000, 100_000, 500_000)


def compare(
    train: np.ndarray, held_out: np.ndarray, synthetic: np.ndarray, positions: np.ndarray, seed: int
) -> dict[str, float]:
    """Every metric of `synthetic` against `train`."""
    common = np.flatnonzero(np.minimum(train.mean(0), 1 - train.mean(0)) >= 0.05)
    decay = fidelity.ld_decay(synthetic, positions, bins=BINS, common=common)
    distances = fidelity.pc_wasserstein(train, synthetic)
    adversarial = privacy.adversarial_accuracy(train, synthetic)
    tracts = privacy.longest_shared_tract_each(synthetic, train, positions) / 1000
    is_floor = synthetic is held_out
    nothing = float("nan")
    return {
        "af_rmse": fidelity.allele_frequency_rmse(train, synthetic),
        "af_r": fidelity.allele_frequency_r(train, synthetic),
        "ld_rmse": fidelity.ld_rmse(train, synthetic, positions),
        "r2_10_100kb": float(decay[1]),
        "r2_100_500kb": float(decay[2]),
        "three_point_r": fidelity.three_point_correlation(train, synthetic, rng.generator(seed, "triples")),
        "pc1_w": float(distances[0]),
        "pc2_w": float(distances[1]),
        "aa_t": adversarial.real,
        "aa_s": adversarial.synthetic,
        "privacy_loss": nothing if is_floor else privacy.privacy_loss(train, held_out, synthetic),
        "membership_auc": nothing if is_floor else privacy.membership_auc(train, held_out, synthetic),
        "exact_copies": privacy.exact_copies(train, synthetic),
        "tract_kb_median": float(np.median(tracts)),
        "tract_kb_q95": float(np.quantile(tracts, 0.95)),
    }


def imputation_r2(model: HaplotypeModel, held_out: Genotypes, ancestry: pd.Series, seed: int) -> dict[str, float]:
    """Mean squared correlation a variant of the posterior with the truth, from `N_TYPED` typed variants."""
    (part,) = model.contigs
    donors = np.sort(rng.generator(seed, "imputed").permutation(held_out.n_donors)[: N_IMPUTED // 2])
    chosen = held_out.subset(donors=donors)
    truth = chosen.haplotypes()
    frequency = held_out.haplotypes().mean(0)
    maf = np.minimum(frequency, 1 - frequency)
    candidates = np.flatnonzero(maf >= 0.05)
    typed = candidates[np.linspace(0, len(candidates) - 1, N_TYPED).astype(int)]
    hidden = np.full_like(truth, -1)
    hidden[:, typed] = truth[:, typed]
    labels = ancestry.reindex(chosen.donors).astype(str).map({a: i for i, a in enumerate(model.ancestries)})
    posterior = part.chain.impute(hidden, np.repeat(labels.to_numpy(), 2))
    x, y = posterior - posterior.mean(0), truth - truth.mean(0)
    norm = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    r2 = np.divide((x * y).sum(0), norm, out=np.zeros_like(norm), where=norm > 1e-9) ** 2
    untyped = np.ones(len(maf), bool)
    untyped[typed] = False
    vary = truth.std(0) > 0
    return {
        "impute_r2_common": float(r2[untyped & vary & (maf >= 0.05)].mean()),
        "impute_r2_rare": float(r2[untyped & vary & (maf >= 0.002) & (maf < 0.01)].mean()),
    }


def run(method: str, seed: int, data: dict[str, Any], config: HaplotypeConfig) -> dict[str, Any]:
    """Fit, draw and score one method."""
    train, held_out, ancestry = data["train"], data["test"], data["ancestry"]
    clock = time.perf_counter()
    model = HaplotypeModel.fit(train, ancestry["train"], config=config.model_copy(update={"method": method}), seed=seed)
    fitted = time.perf_counter()
    counts = ancestry["train"].reindex(train.donors).value_counts().to_dict()
    synthetic = model.sample(train.n_donors, counts, seed=seed).haplotypes()
    drawn = time.perf_counter()
    row = compare(train.haplotypes(), held_out.haplotypes(), synthetic, data["positions"], seed)
    likelihood = (
        float("nan")
        if method == "mosaic"  # needs haplotypes x panel x variants operations
        else float(model.log_likelihood(held_out, ancestry["test"]).sum() / (2 * held_out.n_donors))
    )
    return {
        "method": method,
        "seed": seed,
        "test_log_likelihood": likelihood,
        **row,
        **imputation_r2(model, held_out, ancestry["test"], seed),
        "fit_seconds": fitted - clock,
        "sample_seconds": drawn - fitted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("haplotypes.csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--states", type=int, default=HaplotypeConfig().n_states)
    parser.add_argument("--passes", type=int, default=HaplotypeConfig().n_passes)
    arguments = parser.parse_args()
    setup()
    folder = arguments.data / "genotypes"
    panel = pd.read_csv(folder / "1000g_chr15_10k.panel.tsv", sep="\t").set_index("donor")
    policy = GenotypePolicy(min_allele_count=0)  # a variant may vary in one half only
    data: dict[str, Any] = {
        name: read_genotypes(folder / f"1000g_chr15_10k_{name}.vcf.gz", policy=policy) for name in ("train", "test")
    }
    data["ancestry"] = {name: panel.loc[panel["split"] == name, "ancestry"] for name in ("train", "test")}
    data["positions"] = data["train"].variants["start"].to_numpy()
    config = HaplotypeConfig(n_states=arguments.states, n_passes=arguments.passes)

    held_out = data["test"].haplotypes()
    floor = compare(data["train"].haplotypes(), held_out, held_out, data["positions"], arguments.seeds[0])
    rows: list[dict[str, Any]] = [{"method": "floor", "seed": arguments.seeds[0], **floor}]
    for seed in arguments.seeds:
        for method in arguments.methods:
            rows.append(run(method, seed, data, config))
            print(json.dumps(rows[-1]), flush=True)
            with atomic_file(arguments.out) as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")
    write_record(
        arguments.out.with_suffix(".json"),
        config=config.model_dump(mode="json"),
        data="1000g_chr15_10k, 2 x 2,504 haplotypes, 10,000 SNPs",
        peak_memory_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    )


if __name__ == "__main__":
    main()

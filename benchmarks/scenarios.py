"""Are declared scenarios met in the simulated cohorts? Declared against realised, by seed, beside what a null gives.

Any trained `models/` directory will do. All checks are made from the truth and the donors' own genotypes:

- `h2`: realised share of genetic variance over the simulated donors at genes with an effect (linkage and the donors'
  ancestries differ from the training frequencies in linkage equilibrium that h2 is declared for).
- `prevalence`: share of cases among donors as they come, declared 0.1 and 0.02.
- `risk_of_cases`: mean risk of cases minus that of controls under 50/50 sampling, in SDs of liability, beside the
  normal theory h2 z / K + h2 z / (1 - K) (z: the normal density at the threshold). Null: cases drawn by chance, 0.
- `candidates`: people drawn for the sample (beside 100 / K), and `seconds` for it.

Usage: python benchmarks/scenarios.py --models results/demo/models [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from record import write_record
from scipy import stats

from genesim.config.base import parse
from genesim.config.scenario import Scenario
from genesim.pipeline.cohort import simulate_cohort
from genesim.pipeline.simulate import Models, simulate

HERE = Path(__file__).parent
Row = tuple[str, str, int, float, float, float]


def h2_rows(models: Models, seed: int) -> list[Row]:
    """Realised h2 by number of causal variants."""
    rows: list[Row] = []
    for n_causal in (1, 3):
        blocks = {
            "population": {"n_donors": 300},
            "cells": {"n_cells": 300},
            "donor_effects": {"donor_sd_log2": 0.3},
            "effects": {"random": {"h2": 0.3, "n_causal": n_causal, "share_of_genes": 1, "shared": 1}},
        }
        genes = simulate(parse(Scenario, blocks), models, seed).genes
        variance = genes.loc[genes["has_effect"], "genetic_variance_donors"]
        realised = variance / (variance + 0.3**2)
        spread = float(realised.std() / np.sqrt(len(realised)))
        rows.append((f"h2, {n_causal} causal", "declared 0.3", seed, 0.3, float(realised.mean()), spread))
    return rows


def disease_rows(models: Models, seed: int) -> list[Row]:
    """Prevalence, and what case/control sampling selects."""
    rows: list[Row] = []
    n = 1000
    for prevalence in (0.1, 0.02):
        blocks = {
            "population": {"n_donors": n},
            "disease": {"prevalence": prevalence, "h2_liability": 0.5},
        }
        donors = simulate_cohort(parse(Scenario, blocks), models, (), seed).donors
        found = float(donors["case"].mean())
        rows.append(
            ("prevalence", f"K {prevalence:g}", seed, prevalence, found, float(np.sqrt(found * (1 - found) / n)))
        )
        height = stats.norm.pdf(stats.norm.isf(prevalence))
        expected = 0.5 * height * (1 / prevalence + 1 / (1 - prevalence))
        sampled = {
            "population": {"n_donors": 200},
            "disease": {"prevalence": prevalence, "h2_liability": 0.5, "n_cases": 100},
        }
        begin = time.perf_counter()
        donors = simulate_cohort(parse(Scenario, sampled), models, (), seed).donors
        seconds = time.perf_counter() - begin
        risk, case = donors["risk"].to_numpy(), donors["case"].to_numpy()
        error = float(np.sqrt(risk[case].var() / case.sum() + risk[~case].var() / (~case).sum()))
        gap = float(risk[case].mean() - risk[~case].mean())
        rows.append(("risk_of_cases", f"K {prevalence:g}", seed, float(expected), gap, error))
        shuffled = np.random.default_rng(seed).permutation(case)
        null = float(risk[shuffled].mean() - risk[~shuffled].mean())
        rows.append(("risk_of_cases, shuffled", f"K {prevalence:g}", seed, 0.0, null, error))
        last = int(donors["candidate"].str.extract(r"(\d+)$")[0].astype(int).max())
        rows.append(("candidates", f"K {prevalence:g}", seed, 100 / prevalence, float(last), float("nan")))
        rows.append(("seconds", f"K {prevalence:g}", seed, float("nan"), seconds, float("nan")))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    models = Models.load(asked.models)
    rows = [row for seed in range(asked.seeds) for row in (*h2_rows(models, seed), *disease_rows(models, seed))]
    table = pd.DataFrame(rows, columns=["check", "setting", "seed", "declared", "found", "standard_error"])
    write_record(HERE / "scenarios.json", seeds=asked.seeds)  # first: it tells whether the tree is clean
    table.to_csv(HERE / "scenarios.csv", index=False, float_format="%.4g")
    print(table.to_string())


if __name__ == "__main__":
    main()

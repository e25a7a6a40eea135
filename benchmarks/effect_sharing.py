"""Are effects that cell types share found better together than apart, and are those of one type kept there?

    python benchmarks/effect_sharing.py --data ../shared/data --seeds 0 1 2

Four types, whose noise correlates over donors (.4), at the genotypes of 343 Europeans (GEUVADIS, chr22): half of the
genes have one or two causal variants, equal in all types (`shared`), in one type (`specific`), or either (`mixed`);
`null` has none. The last type has a third of the donors. Each setting is fitted `joint`, `apart`, and, as a wrong
model, `joint, noise taken as independent`. A fifth of the donors is held out for R2.

Per gene and type: credible sets, whether they hold a causal variant, power, sets where there is no effect, local false
sign rates below .05 in types without effect, slope and 90 % interval of the effect at causal variants in sets.

Writes `effect_sharing.csv` (setting, seed, who, metric, value, n) and `.json`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from effect_calibration import Panel, read_panel
from record import write_record

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import setup
from genesim.metrics.effects import held_out_r2
from genesim.models.effects.posterior import EffectPosterior, genetic_values, local_false_sign_rates
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.scan import fit_types
from genesim.provenance.atomic import atomic_file

N_TYPES, CORRELATION = 4, 0.4
Row = tuple[str, str, str, float, int]


def plant(
    panel: Panel, genes: np.ndarray, setting: str, h2: float, draw: np.random.Generator
) -> tuple[list[dict[int, np.ndarray]], np.ndarray, np.ndarray]:
    """Effects (variant: size in each type), genetic values and expression, [type, gene, donor]."""
    n = panel.genotypes.n_donors
    effects: list[dict[int, np.ndarray]] = []
    value = np.zeros((N_TYPES, len(genes), n))
    for i, gene in enumerate(genes):
        effects.append({})
        if setting == "null" or i % 2:
            continue
        for variant in draw.choice(panel.windows[gene], int(draw.integers(1, 3)), replace=False):
            shared = setting == "shared" or (setting == "mixed" and draw.random() < 0.5)
            acts = np.ones(N_TYPES) if shared else np.eye(N_TYPES)[draw.integers(N_TYPES)]
            x = panel.dosage[variant].astype(float)
            size = draw.choice([-1.0, 1.0]) * np.sqrt(h2 * draw.gamma(2.0, 0.5)) / max(x.std(), 1e-6)
            effects[i][int(variant)] = size * acts
            value[:, i] += (size * acts)[:, None] * (x - x.mean())
    noise = np.sqrt(1 - CORRELATION) * draw.normal(size=value.shape)
    noise += np.sqrt(CORRELATION) * draw.normal(size=value.shape[1:])
    return effects, value, value + noise


def fits(
    panel: Panel, genes: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> Iterator[tuple[str, list[EffectPosterior]]]:
    basis = [orthonormal_covariates(np.zeros((y.shape[2], 0)), w[0] > 0) for w in weight]
    windows = [panel.windows[g] for g in genes]
    everyone = panel.of(np.arange(y.shape[2]))
    covariates = np.stack(basis)
    yield "joint", fit_types(y, weight, covariates, windows, everyone, EffectConfig(), "joint")[0]
    one_each = (slice(c, c + 1) for c in range(N_TYPES))
    yield (
        "apart",
        [fit_types(y[c], weight[c], covariates[c], windows, everyone, EffectConfig(), "apart")[0][0] for c in one_each],
    )
    forgetful, _ = fit_types(
        y, weight, covariates, windows, everyone, EffectConfig(), "independent", correlated_noise=False
    )
    yield "joint, noise taken as independent", forgetful


def scored(
    who: str, found: list[EffectPosterior], effects: list[dict[int, np.ndarray]], value: np.ndarray
) -> Iterator[tuple[str, str, float, int]]:
    sets = hits = false_sets = n_caught = n_causal = sign_errors = n_absent = n_signs = 0
    estimates, truths, inside = [], [], []
    for c, p in enumerate(found):
        lfsr = local_false_sign_rates(p)
        for g, k in zip(p.set_gene, p.set_number, strict=True):
            rows = np.flatnonzero((p.gene == g) & (p.credible_set == k))
            at = [v for v in p.variant[rows].tolist() if effects[g].get(v, np.zeros(N_TYPES))[c] != 0]
            sets, hits, false_sets = (
                sets + 1,
                hits + bool(at),
                false_sets + (not any(b[c] for b in effects[g].values())),
            )
            for v in at:
                row = rows[p.variant[rows] == v][0]
                estimates.append(p.mean[row])
                truths.append(effects[g][v][c])
                inside.append(abs(p.mean[row] - truths[-1]) <= 1.645 * p.sd[row])
                sign_errors += np.sign(p.mean[row]) != np.sign(truths[-1])
        for g, chosen in enumerate(effects):
            mine = p.gene == g
            caught = set(p.variant[mine & (p.credible_set > 0)].tolist())
            here = [v for v, b in chosen.items() if b[c] != 0]
            n_causal, n_caught = n_causal + len(here), n_caught + sum(v in caught for v in here)
            if not here:
                n_absent += 1
                n_signs += bool((lfsr[mine] < 0.05).any())
    e, t = np.array(estimates), np.array(truths)
    yield who, "credible sets", float(sets), len(effects)
    if sets:
        yield who, "credible sets that hold a causal variant", hits / sets, sets
    yield who, "credible sets in genes and types without effect", false_sets / max(n_absent, 1), n_absent
    yield who, "lfsr < .05 in genes and types without effect", n_signs / max(n_absent, 1), n_absent
    if n_causal:
        yield who, "causal variants in a credible set", n_caught / n_causal, n_causal
    if len(e):
        yield who, "wrong signs at causal variants in sets", sign_errors / len(e), len(e)
        yield who, "slope of truth on estimate at causal variants in sets", float((e * t).sum() / (e**2).sum()), len(e)
        yield who, "90 % intervals of effects", float(np.mean(inside)), len(e)


def run(panel: Panel, n_genes: int, h2: float, seed: int, settings: list[str]) -> Iterator[Row]:
    n = panel.genotypes.n_donors
    for setting in settings:
        draw = rng.generator(seed, "sharing", setting)
        genes = draw.choice(len(panel.windows), n_genes, replace=False)
        effects, value, y = plant(panel, genes, setting, h2, draw)
        train = draw.permutation(n) >= n // 5
        weight = np.tile(train.astype(float), (N_TYPES, n_genes, 1))
        weight[-1, :, draw.permutation(n)[: 2 * n // 3]] = 0
        centre = panel.dosage[:, train].mean(1)
        for who, found in fits(panel, genes, y, weight):
            for row in scored(who, found, effects, value):
                yield (setting, *row)
            if setting == "null":
                continue
            with_effect = np.array([bool(e) for e in effects])
            for name, types in (("all types", range(N_TYPES)), ("the type of few donors", [N_TYPES - 1])):
                r2 = []
                for c in types:
                    guess, _ = genetic_values(found[c], panel.dosage[:, ~train], centre)
                    r2.append(held_out_r2(y[c][with_effect][:, ~train], guess[with_effect]))
                yield setting, who, f"held-out R2, {name}", float(np.mean(r2)), int(with_effect.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--genes", type=int, default=80, help="of a setting")
    parser.add_argument("--h2", type=float, default=0.08, help="mean share of one causal variant")
    parser.add_argument("--settings", nargs="+", default=["null", "shared", "specific", "mixed"])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    setup()
    panel = read_panel(given.data)
    rows = [(seed, *r) for seed in given.seeds for r in run(panel, given.genes, given.h2, seed, given.settings)]
    table = pd.DataFrame(rows, columns=["seed", "setting", "who", "metric", "value", "n"])
    with atomic_file(given.out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g")
    settings = {k: str(v) for k, v in vars(given).items() if k not in ("data", "out")}
    write_record(given.out.with_suffix(".json"), settings=settings)
    shown = table.pivot_table("value", ["setting", "metric"], "who", aggfunc="mean", sort=False)
    sys.stdout.write(shown.round(4).to_string() + "\n")


if __name__ == "__main__":
    main()

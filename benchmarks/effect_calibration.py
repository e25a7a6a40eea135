"""Are the cis effects calibrated? Planted effects over real LD, shuffled donors, power, and eGenes by permutation.

    python benchmarks/effect_calibration.py --data ../shared/data --seeds 0 1 2

Genotypes are those of 343 Europeans (GEUVADIS, chr22); windows are +-500 kb about real genes.

- `planted`: log2 expression with 1 to 3 causal variants that explain h2 of its variance, anywhere in the window or
  near the TSS, and genes without any. Priors, that of distances too, are learned as `EffectModel` learns them.
  Coverage of 95 % credible sets, 90 % intervals of the effect (in sets that hold a causal variant, at that
  variant), of the table's total effect at every variant of a set, and of donors' genetic values, PIPs in ten bins,
  slopes. `naive` takes the top variant for the causal one
  and its least-squares interval for the truth: what a wrong model looks like on the same scale.
- `type_one`: p-values of genes whose donors were shuffled, on real bulk expression and on OneK1K's cells (40
  donors, each given the genotypes of a random European, genes put at random chr22 positions).
- `power`: pseudobulk counts (NB, rates of OneK1K's genes) over donors, cells, depth, h2 and cell types.
- `egenes`: real expression, genes at 5 % FDR by the model's p-value and by 1,000 permutations of the donors.

Writes `effect_calibration.csv` (part, setting, seed, metric, value, n), `.png` and `.json`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from record import write_record

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import setup
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.effect_inputs import allele_means, cis_windows, dosages, match_genes, mean_imputed
from genesim.estimators.effects import EffectModel
from genesim.evaluate.effects import marginal_effects
from genesim.metrics.effects import benjamini_hochberg, pip_calibration, recovery_slope
from genesim.models.effects.marginal import tss_curve_of
from genesim.models.effects.posterior import EffectPosterior, genetic_values
from genesim.models.effects.posterior import marginal_effects as posterior_effects
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.response import count_response, linear_response
from genesim.models.effects.scan import fit_genes
from genesim.provenance.atomic import atomic_file

WINDOW = 500_000
DECAY = 60_000
Row = tuple[str, str, str, float, int]


@dataclass(frozen=True)
class Panel:
    """Real genotypes and expression of the same donors, and the windows of the genes."""

    genotypes: Genotypes
    expression: ad.AnnData
    dosage: np.ndarray
    genes: pd.DataFrame
    windows: list[np.ndarray]

    def distance(self, gene: int) -> np.ndarray:
        """bp from the TSS to each variant of the window."""
        start = self.genotypes.variants["start"].to_numpy(np.int64)
        return start[self.windows[gene]] - int(self.genes["tss"].iloc[gene])

    def of(self, rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Dosages of some donors, as the scan asks for them."""
        return lambda index: self.dosage[np.ix_(index, rows)]


def read_panel(data: Path) -> Panel:
    expression = ad.read_h5ad(data / "paired" / "geuvadis_chr22.h5ad")
    genotypes = read_genotypes(data / "paired" / "geuvadis_chr22.vcf.gz")
    expression = expression[genotypes.donors.astype(str)].copy()
    mean = allele_means(genotypes, np.arange(genotypes.n_donors))
    dosage = mean_imputed(dosages(genotypes.alleles), mean)
    genes = match_genes(None, expression.var, list(genotypes.variants["contig"].unique()))
    usable = np.minimum(mean, 2 - mean) / 2 >= EffectConfig().min_maf
    windows = cis_windows(genes, genotypes.variants, usable, WINDOW)
    kept = np.flatnonzero([len(w) >= 50 for w in windows])
    return Panel(genotypes, expression, dosage, genes.iloc[kept], [windows[i] for i in kept])


def _fit(panel: Panel, y: np.ndarray, weight: np.ndarray, genes: np.ndarray, rows: np.ndarray) -> EffectPosterior:
    """As `EffectModel.fit`: distances to the TSS are learned, whether or not anything was planted by them."""
    basis = orthonormal_covariates(np.zeros((len(rows), 0)), np.ones(len(rows), bool))
    windows, distance = [panel.windows[g] for g in genes], [panel.distance(g) for g in genes]
    config, dosage_of = EffectConfig(), panel.of(rows)
    curve, _ = tss_curve_of(y, weight, basis, windows, distance, dosage_of, config)
    return fit_genes(y, weight, basis, windows, dosage_of, config, "planted", prior_of=curve.prior_of(distance))


def plant(
    panel: Panel, genes: np.ndarray, h2: float, rows: np.ndarray, draw: np.random.Generator, decay: float = np.inf
) -> tuple[list[dict[int, float]], np.ndarray]:
    """Causal effects (variant: slope) of each gene, and its donors' genetic values of variance h2.

    A variant is causal with a probability that falls by e every `decay` bp from the TSS.
    """
    effects, values = [], np.zeros((len(genes), len(rows)))
    for i, gene in enumerate(genes):
        n_causal, p = int(draw.integers(1, 4)), np.exp(-np.abs(panel.distance(gene)) / decay)
        p = None if np.isinf(decay) else p / p.sum()
        chosen = draw.choice(panel.windows[gene], n_causal, replace=False, p=p)
        x = panel.dosage[np.ix_(chosen, rows)].astype(float)
        x -= x.mean(1, keepdims=True)
        size = draw.normal(size=len(chosen)) / np.maximum(x.std(1), 1e-6)
        value = size @ x
        scale = np.sqrt(h2) / max(value.std(), 1e-9)
        effects.append(dict(zip(chosen.tolist(), (scale * size).tolist(), strict=True)))
        values[i] = scale * value
    return effects, values


def _inside(low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return (low <= truth) & (truth <= high)


def planted(panel: Panel, n_genes: int, seed: int) -> Iterator[Row]:
    draw = rng.generator(seed, "calibration", "planted")
    rows = np.arange(panel.genotypes.n_donors)
    everything: list[pd.DataFrame] = []
    for h2, decay in ((0.0, np.inf), (0.05, np.inf), (0.1, np.inf), (0.2, np.inf), (0.4, np.inf), (0.1, DECAY)):
        genes = draw.choice(len(panel.windows), n_genes, replace=False)
        effects, value = plant(panel, genes, h2, rows, draw, decay)
        y = value + np.sqrt(1 - h2) * draw.normal(size=value.shape)
        fit = _fit(panel, y, np.ones(y.shape), genes, rows)
        setting = f"h2 = {h2:g}" + ("" if np.isinf(decay) else ", near the TSS")
        has_set = np.isin(np.arange(n_genes), fit.set_gene)
        if h2 == 0:
            yield "planted", setting, "genes with a credible set", float(has_set.mean()), n_genes
            continue
        found = posterior_effects(fit)
        causal = [(g, v) for g, chosen in enumerate(effects) for v in chosen]
        tested = pd.DataFrame({"gene": found["gene"], "variant": found["variant"], "pip": found["pip"]})
        every = pd.DataFrame(
            [(g, v) for g in range(n_genes) for v in panel.windows[genes[g]]], columns=["gene", "variant"]
        ).merge(tested, how="left", on=["gene", "variant"])
        every["pip"] = every["pip"].fillna(0.0)
        every["causal"] = pd.MultiIndex.from_frame(every[["gene", "variant"]]).isin(causal)
        everything.append(every)
        sets = [
            (g, fit.variant[(fit.gene == g) & (fit.credible_set == k)])
            for g, k in zip(fit.set_gene, fit.set_number, strict=True)
        ]
        covering = [bool(set(members.tolist()) & set(effects[g])) for g, members in sets]
        yield "planted", setting, "credible sets that hold a causal variant", float(np.mean(covering)), len(sets)
        at = np.isin(fit.gene.astype(np.int64) << 32 | fit.variant, [g << 32 | v for g, v in causal])
        at &= fit.credible_set > 0
        truth = np.array([effects[g][v] for g, v in zip(fit.gene[at], fit.variant[at], strict=True)])
        half = 1.645 * fit.spread[at]
        inside = _inside(fit.mean[at] - half, fit.mean[at] + half, truth)
        yield "planted", setting, "90 % intervals of effects", float(inside.mean()), int(at.sum())
        # Two effects in one stretch of LD can come out as one, of both sizes.
        alone = np.array([len(effects[g]) == 1 for g in fit.gene[at]])
        yield "planted", setting, "90 % intervals of lone effects", float(inside[alone].mean()), int(alone.sum())
        # What `EffectModel.table` says of every variant of a credible set, most of which have no effect.
        told = found["credible_set"] > 0
        truth = np.array([effects[g].get(v, 0.0) for g, v in zip(found["gene"][told], found["variant"][told])])
        inside = abs(found["mean"][told] - truth) <= 1.645 * found["sd"][told]
        yield "planted", setting, "90 % intervals of the table", float(inside.mean()), int(told.sum())
        mean, sd = genetic_values(fit, panel.dosage[:, rows], panel.dosage[:, rows].mean(1))
        inside = _inside(mean - 1.645 * sd, mean + 1.645 * sd, value)[has_set]
        yield "planted", setting, "90 % intervals of genetic values", float(inside.mean()), inside.size
        held = np.mean([np.corrcoef(m, v)[0, 1] for m, v in zip(mean[has_set], value[has_set], strict=True)])
        yield "planted", setting, "correlation with the genetic value", float(held), int(has_set.sum())
        estimates, truths, top, naive = [], [], [], []
        for g, chosen in enumerate(effects):
            window = panel.windows[genes[g]]
            x = panel.dosage[window].T
            column = {v: i for i, v in enumerate(window.tolist())}
            beta, estimate = np.zeros(len(window)), np.zeros(len(window))
            beta[[column[v] for v in chosen]] = list(chosen.values())
            mine = found["gene"] == g
            estimate[[column[v] for v in found["variant"][mine].tolist()]] = found["mean"][mine]
            where = np.array([column[v] for v in chosen])
            truths.append(marginal_effects(x, beta, where))
            estimates.append(marginal_effects(x, estimate, where))
            if has_set[g]:
                lead = int(fit.top_variant[g])
                top.append(lead in chosen)
                error = np.sqrt(max(1 - h2, 1e-3) / (len(rows) * x[:, column[lead]].var()))
                naive.append(abs(fit.top_slope[g] - beta[column[lead]]) <= 1.645 * error)
        estimate, truth = np.concatenate(estimates), np.concatenate(truths)
        yield "planted", setting, "slope of estimate on truth", recovery_slope(estimate, truth).slope, len(truth)
        back = float((estimate * truth).sum() / max((estimate**2).sum(), 1e-12))
        yield "planted", setting, "slope of truth on estimate", back, len(truth)
        yield "planted", setting, "genes with a credible set", float(has_set.mean()), n_genes
        yield "planted", setting, "naive: top variant is causal", float(np.mean(top)), len(top)
        yield "planted", setting, "naive: 90 % interval of the top variant's effect", float(np.mean(naive)), len(naive)
    table = pd.concat(everything)
    for each in pip_calibration(table["pip"].to_numpy(), table["causal"].to_numpy()):
        setting = f"PIP {each.low:.1f}-{each.high:.1f}"
        yield "pip", setting, "mean PIP", each.mean_pip, each.n
        yield "pip", setting, "share causal", each.observed, each.n


def _rates(part: str, setting: str, p: np.ndarray) -> Iterator[Row]:
    p = p[np.isfinite(p)]
    for level in (0.05, 0.001):
        yield part, setting, f"p < {level:g}", float((p < level).mean()), len(p)
    yield part, setting, "genes at 5 % FDR", float((benjamini_hochberg(p) < 0.05).sum()), len(p)


def type_one(panel: Panel, cells: ad.AnnData, n_shuffles: int, seed: int) -> Iterator[Row]:
    draw = rng.generator(seed, "calibration", "shuffled")
    n = panel.genotypes.n_donors
    y, weight, basis = bulk_response(panel)
    p = []
    for _ in range(n_shuffles):
        fit = fit_genes(y, weight, basis, panel.windows, panel.of(draw.permutation(n)), EffectConfig(n_effects=1))
        p.append(fit.p_value)
    yield from _rates("type_one", "GEUVADIS, donors shuffled", np.concatenate(p))
    found: dict[str, list[np.ndarray]] = {}
    donors = cells.obs["indiv"].astype(str).unique()
    for _ in range(n_shuffles):
        chosen = draw.choice(n, len(donors), replace=False)
        given = panel.genotypes.subset(donors=list(panel.genotypes.donors[chosen]))
        given = Genotypes(given.alleles, given.phased, given.variants, pd.Index(donors, dtype=object))
        at = draw.choice(len(panel.genes), cells.n_vars)
        genes = panel.genes.iloc[at].set_axis(cells.var_names)
        config = EffectConfig(window=WINDOW, n_effects=1)
        model = EffectModel.fit(cells, given, genes, donor_key="indiv", labels_key="cell_type", config=config)
        for cell_type, posterior in model.posteriors.items():
            found.setdefault(cell_type, []).append(posterior.p_value)
    for cell_type, values in found.items():
        yield from _rates("type_one", f"OneK1K, {cell_type}", np.concatenate(values))


def power(panel: Panel, cells: ad.AnnData, n_genes: int, seed: int) -> Iterator[Row]:
    """One factor at a time about 200 donors, 50 cells a donor, learned depth, genetic share .15 of a log2 SD of .5.

    Cell types differ in their cells a donor, their depth and their genes' rates, all as OneK1K has them.
    """
    everything = CellKind.of(cells)
    base = {"donors": 200, "cells": 50, "depth": 1.0, "h2": 0.15}
    grid = {
        "donors": (50, 100, 200, 343),
        "cells": (5, 20, 50, 200),
        "depth": (0.3, 1.0, 3.0),
        "h2": (0.0, 0.05, 0.15, 0.3),
    }
    for factor, levels in grid.items():
        for level in levels:
            draw = rng.generator(seed, "calibration", "power", factor, str(level))
            yield from _power(panel, everything, base | {factor: level}, f"{factor} = {level:g}", n_genes, draw)
    for name in sorted(cells.obs["cell_type"].astype(str).unique()):
        kind = CellKind.of(cells[(cells.obs["cell_type"].astype(str) == name).to_numpy()])
        draw = rng.generator(seed, "calibration", "power", "cell type", name)
        asked = base | {"cells": kind.cells_per_donor}
        yield from _power(panel, kind, asked, f"cell type = {name}", n_genes, draw)


@dataclass(frozen=True)
class CellKind:
    """What decides power in a type of cell: its genes' shares of the molecules, molecules a cell, cells a donor."""

    share: np.ndarray
    depth: float
    cells_per_donor: float

    @classmethod
    def of(cls, cells: ad.AnnData) -> CellKind:
        total = np.asarray(cells.X.sum(1)).ravel()
        per_donor = cells.n_obs / cells.obs["indiv"].nunique()
        return cls(np.asarray(cells.X.sum(0)).ravel() / total.sum(), float(np.median(total)), per_donor)


def _power(
    panel: Panel, kind: CellKind, asked: dict[str, float], setting: str, n_genes: int, draw: np.random.Generator
) -> Iterator[Row]:
    rows = draw.choice(panel.genotypes.n_donors, int(asked["donors"]), replace=False)
    genes = draw.choice(len(panel.windows), n_genes, replace=False)
    rate = draw.choice(kind.share[kind.share > np.median(kind.share)], n_genes)
    effects, value = plant(panel, genes, asked["h2"], rows, draw)
    log2 = 0.5 * (value + np.sqrt(1 - asked["h2"]) * draw.normal(size=value.shape))
    n_cells = 1 + draw.poisson(asked["cells"] - 1, len(rows))
    library = n_cells * kind.depth * asked["depth"] * np.exp(0.3 * draw.normal(size=len(rows)))
    counts = draw.poisson(rate[:, None] * library * np.exp2(log2))
    y, weight = count_response(counts, np.round(library), np.ones(len(rows), bool))
    fit = _fit(panel, y, weight, genes, rows)
    called = benjamini_hochberg(fit.p_value) < 0.05
    hit = np.zeros(n_genes, bool)
    for g, k in zip(fit.set_gene, fit.set_number, strict=True):
        hit[g] |= bool(set(fit.variant[(fit.gene == g) & (fit.credible_set == k)].tolist()) & set(effects[g]))
    if asked["h2"] == 0:
        yield "power", setting, "genes with a credible set", float((fit.n_sets > 0).mean()), n_genes
    else:
        yield "power", setting, "genes with a set that holds a causal variant", float(hit.mean()), n_genes
    yield "power", setting, "genes at 5 % FDR", float(called.mean()), n_genes


def bulk_response(panel: Panel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Response, weight and basis (3 genotype and 25 expression components) of the real expression."""
    present = np.ones(panel.genotypes.n_donors, bool)
    values = np.asarray(panel.expression[:, panel.genes.index].X, float).T
    y, weight = linear_response(values, present)
    return y, weight, orthonormal_covariates(panel.expression.obsm["covariates"][:, :28], present)


def permutation_p(y: np.ndarray, basis: np.ndarray, panel: Panel, n: int, draw: np.random.Generator) -> np.ndarray:
    """Share of n permutations of the donors whose largest squared correlation reaches the observed one, exact."""
    order = np.stack([np.arange(y.shape[1]), *(draw.permutation(y.shape[1]) for _ in range(n))])
    p = np.zeros(len(y))
    for g, window in enumerate(panel.windows):
        x = panel.dosage[window].T.astype(np.float32)
        x = x - basis @ (basis.T @ x)
        x /= np.maximum(np.linalg.norm(x, axis=0), 1e-6)
        left = y[g] - basis @ (basis.T @ y[g])
        best = np.abs(left[order].astype(np.float32) @ x).max(1)
        p[g] = (1 + (best[1:] >= best[0]).sum()) / (n + 1)
    return p


def egenes(panel: Panel, n_permutations: int, seed: int) -> Iterator[Row]:
    draw = rng.generator(seed, "calibration", "permutation")
    y, weight, basis = bulk_response(panel)
    everyone = np.arange(y.shape[1])
    for setting, rows in (("real", everyone), ("donors shuffled", draw.permutation(everyone))):
        shown = Panel(panel.genotypes, panel.expression, panel.dosage[:, rows], panel.genes, panel.windows)
        fit = fit_genes(y, weight, basis, panel.windows, shown.of(everyone), EffectConfig())
        mine = benjamini_hochberg(fit.p_value) < 0.05
        exact = benjamini_hochberg(permutation_p(y, basis, shown, n_permutations, draw)) < 0.05
        yield "egenes", setting, "genesim", float(mine.sum()), len(y)
        yield "egenes", setting, f"{n_permutations} permutations", float(exact.sum()), len(y)
        yield "egenes", setting, "both", float((mine & exact).sum()), len(y)
        yield "egenes", setting, "genes with a credible set", float((fit.n_sets > 0).sum()), len(y)


def figure(table: pd.DataFrame, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    mean = table.groupby(["part", "setting", "metric"], sort=False)["value"].mean()
    shown, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    pip = mean.loc["pip"].unstack().sort_values("mean PIP")
    axes[0].plot([0, 1], [0, 1], color="0.7")
    axes[0].plot(pip["mean PIP"], pip["share causal"], "o-")
    axes[0].set(title="PIPs", xlabel="mean PIP", ylabel="share causal")
    wanted = {
        "credible sets that hold a causal variant": 0.95,
        "90 % intervals of effects": 0.9,
        "90 % intervals of genetic values": 0.9,
        "naive: 90 % interval of the top variant's effect": 0.9,
    }
    planted_rows = mean.loc["planted"].unstack()
    planted_rows = planted_rows[~planted_rows.index.str.contains(",")]  # effects anywhere in the window
    h2 = planted_rows.index.str.removeprefix("h2 = ").astype(float)
    for name, nominal in wanted.items():
        (line,) = axes[1].plot(h2, planted_rows[name], "o-", label=name)
        axes[1].axhline(nominal, color=line.get_color(), lw=0.6, ls=":")
    axes[1].set(title="coverage", xlabel="h2", ylim=(0, 1.02))
    axes[1].legend(fontsize=6, loc="lower right")
    for name in ("slope of estimate on truth", "slope of truth on estimate", "correlation with the genetic value"):
        axes[2].plot(h2, planted_rows[name], "o-", label=name)
    axes[2].axhline(1, color="0.7", lw=0.6)
    axes[2].set(title="effects", xlabel="h2", ylim=(0, 1.2))
    axes[2].legend(fontsize=6, loc="lower right")
    curve = mean.loc["power"]
    for factor in ("donors", "cells", "depth", "h2", "cell type"):
        rows = curve[curve.index.get_level_values("setting").str.startswith(f"{factor} =")]
        rows = rows.xs("genes at 5 % FDR", level="metric")
        levels = rows.index.str.split(" = ").str[1]
        axes[3].plot(np.arange(len(levels)), rows, "o-", label=f"{factor}: {', '.join(levels)}")
    axes[3].set(title="power (5 % FDR)", xlabel="level", ylim=(0, 1), xticks=[])
    axes[3].legend(fontsize=6)
    with atomic_file(path) as temporary:
        shown.savefig(temporary, format="png", dpi=110)
    plt.close(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--genes", type=int, default=150, help="of a setting")
    parser.add_argument("--shuffles", type=int, default=4, help="of the donors, a seed")
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--parts", nargs="+", default=["planted", "type_one", "power", "egenes"])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    setup()
    panel = read_panel(given.data)
    cells = ad.read_h5ad(given.data / "expression" / "onek1k_40donors.h5ad")
    parts: dict[str, Callable[[int], Iterator[Row]]] = {
        "planted": lambda seed: planted(panel, given.genes, seed),
        "type_one": lambda seed: type_one(panel, cells, given.shuffles, seed),
        "power": lambda seed: power(panel, cells, given.genes, seed),
        "egenes": lambda seed: egenes(panel, given.permutations, seed),
    }
    rows = [(seed, *row) for seed in given.seeds for name in given.parts for row in parts[name](seed)]
    table = pd.DataFrame(rows, columns=["seed", "part", "setting", "metric", "value", "n"])
    with atomic_file(given.out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g")
    if {"planted", "power"} <= set(given.parts):
        figure(table, given.out.with_suffix(".png"))
    write_record(
        given.out.with_suffix(".json"), settings={k: str(v) for k, v in vars(given).items() if k not in ("data", "out")}
    )
    mean = table.groupby(["part", "setting", "metric"], sort=False)["value"].agg(["mean", "std"])
    sys.stdout.write(mean.round(4).to_string() + "\n")


if __name__ == "__main__":
    main()

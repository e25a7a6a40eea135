"""Does an eQTL mapper find on simulated donors what it finds on real ones? Bulk: GEUVADIS, chr22.

`effects.py` runs it.

Half of the donors teach; expression of the other half's genotypes is compared, by one mapper (`EffectModel.fit`).
- `real`: the other half's own expression, which the simulators should meet. `floor`: the half that taught.
- `genesim`: a posterior draw of the effects of the teaching half (as allelic fold changes), and normal residuals with
  the covariance of the teaching half's (mappers take hidden factors out of real expression), of the variance a gene has
  beside its drawn genetic value. `genesim_credible` draws only effects with a credible set.
- `splatPop`: its recipe (`splatpop.py`) with means, CVs, effects and share of eGenes of the teaching half.
- `null`: `real` with genotypes given to other donors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
from effect_calibration import WINDOW, Panel
from splatpop import SplatPop

from genesim import rng
from genesim.config.base import parse
from genesim.config.effects import EffectsScenario
from genesim.config.model import EffectConfig
from genesim.data.genotypes import Genotypes
from genesim.estimators.effects import EffectModel
from genesim.metrics.eqtl import storey_pi1, weighted_quantiles
from genesim.simulate.effects import log2_fold_changes, plant_effects

N_GENES = 600
Row = tuple[str, str, float]
LEVELS = np.array([0.25, 0.5, 0.75, 0.9])


def fit(values: np.ndarray, geno: Genotypes, genes: pd.DataFrame) -> EffectModel:
    cells = ad.AnnData(values.T.astype(float), pd.DataFrame(index=geno.donors.astype(str)), genes[["contig", "tss"]])
    return EffectModel.fit(cells, geno, genes, bulk=True, scale="linear", config=EffectConfig(window=WINDOW))


def summary(name: str, model: EffectModel, values: np.ndarray) -> Iterator[Row]:
    calls, table = model.egenes(), model.table()
    yield name, "pi1", storey_pi1(calls["p_value"].to_numpy())
    yield name, "share of genes at 5 % FDR", float(calls["is_egene"].mean())
    held = table[table["credible_set"] > 0]
    distance = np.abs(held["position"].to_numpy() - 1 - model.genes["tss"].reindex(held["gene"]).to_numpy())
    pip = held["pip"].to_numpy()
    size = np.abs(held["log2_afc"].to_numpy()) / np.maximum(pip, 1e-6)
    for level, value in zip(LEVELS, weighted_quantiles(size, pip, LEVELS), strict=True):
        yield name, f"|log2 aFC| of credible effects, quantile {level:g}", float(value)
    for limit in (20_000, 60_000, 150_000):
        near = float((pip * (distance <= limit)).sum() / max(pip.sum(), 1e-9))
        yield name, f"credible effects within {limit // 1000} kb of the TSS", near
    sd = np.log2(values + 0.1 * values.mean(1, keepdims=True)).std(1)
    for level in (0.25, 0.5, 0.75):
        yield name, f"SD over donors of log2 expression, quantile {level:g}", float(np.quantile(sd, level))


def one_seed(panel: Panel, n_genes: int, seed: int) -> Iterator[Row]:
    draw = rng.generator(seed, "realism")
    n = panel.genotypes.n_donors
    order = draw.permutation(n)
    one, two = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    chosen = np.sort(draw.choice(len(panel.windows), n_genes, replace=False))
    genes, windows = panel.genes.iloc[chosen], [panel.windows[g] for g in chosen]
    values = np.asarray(panel.expression[:, genes.index].X, float).T
    taught, tested = (panel.genotypes.subset(donors=list(panel.genotypes.donors[rows])) for rows in (one, two))
    learned = fit(values[:, one], taught, genes)
    yield from summary("floor", learned, values[:, one])
    yield from summary("real", fit(values[:, two], tested, genes), values[:, two])
    shuffled = replace(tested, donors=tested.donors[draw.permutation(len(two))])
    # Given by id: the rows of the expression keep theirs.
    back = shuffled.subset(donors=list(tested.donors))
    yield from summary("null", fit(values[:, two], back, genes), values[:, two])

    log2 = np.log2(values[:, one] + 0.1 * values[:, one].mean(1, keepdims=True))
    left = log2 - learned.predict(taught).mean.reindex(columns=genes.index, fill_value=0.0).to_numpy().T
    left = left - left.mean(1, keepdims=True)
    frequency = panel.dosage[:, one].mean(1) / 2
    variants = panel.genotypes.variants.assign(frequency=frequency)
    scenario = parse(EffectsScenario, {"learned": True})

    def genetic(truth: pd.DataFrame, donors: Genotypes) -> np.ndarray:
        fold, affected = log2_fold_changes(truth, donors, ["all"])
        value = np.zeros((n_genes, donors.n_donors))
        value[genes.index.get_indexer(affected)] = fold[:, 0].T
        return value

    for name, credible_only in (("genesim", False), ("genesim_credible", True)):
        truth = plant_effects(scenario, genes, variants, [], seed, learned.sample(seed, credible_only))
        variance = np.maximum(log2.var(1) - genetic(truth, taught).var(1), 0.05 * log2.var(1))
        noise = left @ draw.normal(size=(len(one), len(two))) / np.sqrt(len(one) - 1)
        noise *= np.sqrt(variance / np.maximum(left.var(1), 1e-9))[:, None]
        made = np.exp2(log2.mean(1)[:, None] + noise + genetic(truth, tested))
        yield from summary(name, fit(made, tested, genes), made)

    calls = learned.egenes().set_index("gene")["is_egene"].reindex(genes.index).fillna(False).to_numpy(bool)
    top = learned.posteriors["all"]
    lead = [panel.genotypes.variants.index.get_loc(learned.variants.index[v]) for v in top.top_variant[calls]]
    slopes = [
        np.polyfit(panel.dosage[v, one], values[g, one] / values[g, one].mean(), 1)[0]
        for g, v in zip(np.flatnonzero(calls), lead, strict=True)
    ]
    laws = SplatPop.estimate(values[:, one], np.array(slopes), float(calls.mean()))
    made, _ = laws.means(panel.dosage[:, two], windows, draw)
    yield from summary("splatPop", fit(made, tested, genes), made)


def measure(panel: Panel, seeds: list[int]) -> pd.DataFrame:
    """A row a seed, cohort and metric."""
    rows = [("realism", seed, *row) for seed in seeds for row in one_seed(panel, N_GENES, seed)]
    return pd.DataFrame(rows, columns=["part", "seed", "who", "metric", "value"])

"""Tables made from fitted effects: per variant, per gene, and one posterior draw."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim import rng
from genesim.estimators.effect_inputs import ALL
from genesim.metrics.effects import benjamini_hochberg
from genesim.models.effects.draws import SharedPrior, draw_effects, draw_shared, under_null
from genesim.models.effects.posterior import EffectPosterior, local_false_sign_rates, marginal_effects
from genesim.models.effects.units import afc_from_slope

EVERY_TYPE = "*"


def effect_table(
    genes: pd.DataFrame, variants: pd.DataFrame, posteriors: dict[str, EffectPosterior], min_pip: float
) -> pd.DataFrame:
    """Effects of variants with a PIP of at least `min_pip` or in a credible set.

    Columns: gene, variant, contig, position (1-based), ref, alt, cell_type, pip; effect, sd, low, high
    (posterior mean, standard deviation and mean +- 1.96 sd of the log2 fold change per alternate copy);
    credible_set (number within gene and cell type, 0 for none; cell types that were fitted together share
    theirs); lfsr (local false sign rate in this cell type of the single effect that likeliest sits there: the
    probability that it is absent here or has the other sign); log2_afc (the allelic fold change that `effect`
    implies, `models.effects.units`).
    """
    parts = []
    for cell_type, posterior in posteriors.items():
        m = marginal_effects(posterior)
        kept = (m["pip"] >= min_pip) | (m["credible_set"] > 0)
        variant = variants.iloc[m["variant"][kept]]
        mean, sd = m["mean"][kept], m["sd"][kept]
        parts.append(
            pd.DataFrame(
                {
                    "gene": genes.index[m["gene"][kept]],
                    "variant": variant.index,
                    "contig": variant["contig"].to_numpy(),
                    "position": variant["start"].to_numpy() + 1,
                    "ref": variant["ref"].to_numpy(),
                    "alt": variant["alt"].to_numpy(),
                    "cell_type": cell_type,
                    "pip": m["pip"][kept],
                    "effect": mean,
                    "sd": sd,
                    "low": mean - 1.96 * sd,
                    "high": mean + 1.96 * sd,
                    "credible_set": m["credible_set"][kept],
                    "lfsr": m["lfsr"][kept],
                    "log2_afc": afc_from_slope(mean, variant["frequency"].to_numpy()),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def egene_table(
    genes: pd.DataFrame, variants: pd.DataFrame, posteriors: dict[str, EffectPosterior], fdr: float
) -> pd.DataFrame:
    """One row a gene and cell type: is there any cis effect?

    Columns: gene, cell_type, n_donors, n_variants, p_value (largest correlation against permuted donors), q_value
    (Benjamini-Hochberg within the cell type), is_egene (q <= fdr), top_variant, top_slope, n_credible_sets (common
    to cell types that were fitted together), lfsr (the smallest local false sign rate of the gene's single effects
    in this cell type; 1 without any).
    """
    parts = []
    for cell_type, p in posteriors.items():
        tested = np.flatnonzero(p.n_variants > 0)
        q = benjamini_hochberg(p.p_value[tested])
        lfsr = np.ones(len(p.p_value))
        np.minimum.at(lfsr, p.gene, local_false_sign_rates(p))
        parts.append(
            pd.DataFrame(
                {
                    "gene": genes.index[tested],
                    "cell_type": cell_type,
                    "n_donors": p.n_donors[tested],
                    "n_variants": p.n_variants[tested],
                    "p_value": p.p_value[tested],
                    "q_value": q,
                    "is_egene": q <= fdr,
                    "top_variant": variants.index[p.top_variant[tested]],
                    "top_slope": p.top_slope[tested],
                    "n_credible_sets": p.n_sets[tested],
                    "lfsr": lfsr[tested],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def sample_table(
    genes: pd.DataFrame,
    variants: pd.DataFrame,
    posteriors: dict[str, EffectPosterior],
    labels: list[str],
    n_effects: int,
    seed: int,
    credible_only: bool,
    shared: list[tuple[list[str], SharedPrior]] | None = None,
    null: float | None = None,
) -> pd.DataFrame:
    """One posterior draw of all effects: gene, variant, cell_type, log2_afc, lfsr (see `effect_table`).

    Each single effect exists or not, and if so gets one variant (alpha) and one size; in cell types that were fitted
    together (`shared`) one variant, and sizes that are drawn together. A gene's draws come from its own stream, and
    its cell types share the draw of positions. Without labels, cell_type is "*" (every cell type); with labels, a
    type that had too few donors takes the draw of "all". With `credible_only`, single effects without a
    credible set in that fit are left out: what remains are effects that the data show. With `null`, whether effects
    exist is judged under that prior instead of the fit's (`draws.under_null`).
    """
    if null is not None:
        fitted_null = {name: float(prior.null) for names, prior in shared or [] for name in names}
        posteriors = {n: under_null(p, fitted_null[n], null) if n in fitted_null else p for n, p in posteriors.items()}

    def numbers(*names: str) -> list[np.random.Generator]:
        return [rng.generator(seed, "effects", *names, str(gene)) for gene in genes.index]

    position = np.stack([g.random(n_effects) for g in numbers("position")])
    drawn: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def normal(name: str) -> np.ndarray:
        return np.stack([g.normal(size=n_effects) for g in numbers("size", name)])

    source = {name: name if name in posteriors else ALL for name in labels} or {EVERY_TYPE: ALL}
    wanted = set(source.values()) & set(posteriors)
    for names, prior in shared or []:
        if wanted & set(names):
            component = np.stack([g.random(n_effects) for g in numbers("component", *names)])
            each = np.stack([normal(name) for name in names])
            fitted = [posteriors[name] for name in names]
            gene, variant, size = draw_shared(fitted, prior, position, component, each, credible_only)
            drawn |= {name: (gene, variant, one) for name, one in zip(names, size, strict=True)}
    drawn |= {n: draw_effects(posteriors[n], position, normal(n), credible_only) for n in wanted - set(drawn)}
    parts = []
    for cell_type, fitted_as in source.items():
        if fitted_as not in drawn:
            continue
        gene, variant, size = drawn[fitted_as]
        p = posteriors[fitted_as]
        sums = pd.DataFrame({"g": gene, "v": variant, "slope": size})
        sums = sums[sums["slope"] != 0].groupby(["g", "v"])["slope"].sum().reset_index()
        rates = pd.DataFrame({"g": p.gene, "v": p.variant, "lfsr": local_false_sign_rates(p)})
        sums = sums.merge(rates.groupby(["g", "v"])["lfsr"].min().reset_index(), how="left", on=["g", "v"])
        at = variants.iloc[sums["v"]]
        parts.append(
            pd.DataFrame(
                {
                    "gene": genes.index[sums["g"]],
                    "variant": at.index,
                    "cell_type": cell_type,
                    "log2_afc": afc_from_slope(sums["slope"].to_numpy(), at["frequency"].to_numpy()),
                    "lfsr": sums["lfsr"].to_numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)

"""Scores of eQTL calls: of variants that change expression, and of those whose effect changes along a state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from genesim.metrics.effects import benjamini_hochberg, pip_calibration, recovery_slope

Truth = Mapping[str, pd.DataFrame]
Values = dict[str, float]
_LEVEL = 0.05
_FEWEST = 3  # pairs of which a correlation says something


def _wrong_genes(calls: pd.DataFrame, effects: pd.DataFrame, keys: list[str]) -> float:
    """Share of the called genes (in their cell type, where `keys` has it) without any planted effect."""
    called = calls[keys].drop_duplicates()
    known = effects[keys].drop_duplicates().assign(known=True)
    return float(called.merge(known, on=keys, how="left")["known"].isna().mean()) if len(called) else 0.0


def score_eqtl(answer: pd.DataFrame, truth: Truth) -> Values:
    """Of calls and PIPs, where a variant linked to the causal one counts as it.

    Args:
        answer: `gene`, `variant`, perhaps `cell_type`, `q_value`; `pip` and `log2_afc` where given.
        truth: `effects` and `linked`, as `simulate.benchmarks.eqtl` makes them.
    """
    keys = [name for name in ("gene", "variant", "cell_type") if name in answer]
    effects, linked = truth["effects"], truth["linked"]
    # One row for each row of the answer and each causal variant that it tags.
    matched = linked.merge(answer.assign(row=np.arange(len(answer))), on=keys)
    calls = answer[answer["q_value"] <= _LEVEL]
    n_calls = len(calls)
    true_calls = matched[matched["q_value"] <= _LEVEL]
    best = true_calls.sort_values(["q_value", "r2"], ascending=[True, False], kind="stable")
    best = best.drop_duplicates(["gene", "causal", "cell_type"])
    values = {
        "power": len(best) / len(effects),
        "false_discovery_rate": 1 - true_calls["row"].nunique() / n_calls if n_calls else 0.0,
        "gene_false_discovery_rate": _wrong_genes(calls, effects, [name for name in keys if name != "variant"]),
    }
    if "pip" in answer:
        rows = answer[answer["pip"].notna()]
        is_causal = rows.merge(effects.assign(hit=True), on=keys, how="left")["hit"].notna().to_numpy()
        bins = pip_calibration(rows["pip"].to_numpy(), is_causal)
        total = sum(b.n for b in bins)
        values["pip_calibration_error"] = (
            sum(b.n * abs(b.mean_pip - b.observed) for b in bins) / total if total else float("nan")
        )
    if "log2_afc" in answer:
        found = best[["gene", "causal", "cell_type", "log2_afc", "transfer"]]
        found = found.rename(columns={"causal": "variant", "log2_afc": "estimate"})
        both = effects.merge(found, on=["gene", "variant", "cell_type"], how="left")
        expected = both["log2_afc"] * both["transfer"].fillna(1.0)
        values["effect_slope"] = recovery_slope(both["estimate"].fillna(0.0).to_numpy(), expected.to_numpy()).slope
    return values


def leads(answer: pd.DataFrame) -> pd.DataFrame:
    """Each gene's row of smallest p-value, which is multiplied by the number of its rows (Bonferroni)."""
    lead = answer.sort_values("p_value", kind="stable").drop_duplicates("gene")
    tried = answer.groupby("gene")["variant"].size().reindex(lead["gene"]).to_numpy()
    return lead.assign(p_value=np.minimum(lead["p_value"].to_numpy() * tried, 1.0)).reset_index(drop=True)


def score_dynamic(answer: pd.DataFrame, truth: Truth) -> Values:
    """Of one call a gene, its variant of smallest p-value, where a variant linked to the causal one counts as it.

    A gene's smallest p-value times its number of rows (Bonferroni) is the gene's; Benjamini-Hochberg runs over genes.

    Args:
        answer: `gene`, `variant`, `p_value`; `log2_afc_slope` where given.
        truth: `effects` and `linked`, as `simulate.benchmarks.eqtl_dynamic` makes them; effects with a slope count.
    """
    effects = truth["effects"][truth["effects"]["log2_afc_slope"] != 0]
    lead = leads(answer)
    lead = lead.assign(q_value=benjamini_hochberg(lead["p_value"].to_numpy()))
    calls = lead[lead["q_value"] <= _LEVEL]
    causal = effects[["gene", "variant", "log2_afc_slope"]]
    causal = causal.rename(columns={"variant": "causal", "log2_afc_slope": "planted"})
    near = truth["linked"][["gene", "causal", "variant", "transfer"]].merge(causal, on=["gene", "causal"])
    hits = calls.merge(near, on=["gene", "variant"])
    n_hits = hits["gene"].nunique()
    values = {
        "power": len(hits.drop_duplicates(["gene", "causal"])) / len(effects),
        "false_discovery_rate": 1 - n_hits / len(calls) if len(calls) else 0.0,
        "gene_false_discovery_rate": _wrong_genes(calls, effects, ["gene"]),
    }
    if "log2_afc_slope" in answer:
        estimate, planted = hits["log2_afc_slope"].to_numpy(), (hits["planted"] * hits["transfer"]).to_numpy()
        enough = len(hits) >= _FEWEST and np.ptp(estimate) > 0
        values["slope_correlation"] = recovery_slope(estimate, planted).correlation if enough else float("nan")
    return values

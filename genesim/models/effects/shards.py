"""Posteriors of shards of the genes, put together: what one fit of all genes would have given, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from genesim.models.effects.draws import SharedPrior
from genesim.models.effects.posterior import EffectPosterior

_GENES = ("p_value", "top_variant", "top_slope", "residual_sd", "n_donors", "n_variants", "n_sets")
_OF_SHARED_GENES = ("unit", "precision", "inverse")


def _owned(genes: Sequence[Int[np.ndarray, " fitted"]], parts: Sequence[np.ndarray]) -> np.ndarray:
    """One array by gene, each gene taken from the part that fitted it."""
    whole = parts[0].copy()
    for mine, part in zip(genes, parts, strict=True):
        whole[mine] = part[mine]
    return whole


def merge_posteriors(genes: Sequence[Int[np.ndarray, " fitted"]], parts: Sequence[EffectPosterior]) -> EffectPosterior:
    """One type's posterior over all genes.

    Args:
        genes: Genes that each part has fitted; no gene stands in two.
        parts: As `scan.fit_shard` gives them.
    """
    found: dict[str, Any] = {name: _owned(genes, [getattr(p, name) for p in parts]) for name in _GENES}
    rows = np.argsort(np.concatenate([p.gene for p in parts]), kind="stable")
    sets = np.lexsort([np.concatenate([getattr(p, name) for p in parts]) for name in ("set_number", "set_gene")])
    for name in (f.name for f in fields(EffectPosterior) if f.name not in _GENES):
        joined = np.concatenate([getattr(p, name) for p in parts])
        found[name] = joined[sets if name.startswith("set_") else rows]
    return EffectPosterior(**found)


def merge_shared(genes: Sequence[Int[np.ndarray, " fitted"]], parts: Sequence[SharedPrior]) -> SharedPrior:
    """What types that were fitted together have in common, over all genes; the learned prior is every part's."""
    return replace(parts[0], **{name: _owned(genes, [getattr(p, name) for p in parts]) for name in _OF_SHARED_GENES})

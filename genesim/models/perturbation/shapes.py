"""Dispersions of perturbed cells, learned by condition and handed to perturbations that were not measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from genesim.models.perturbation.library import EffectLibrary, same_components


@dataclass(frozen=True)
class Dispersions:
    """Dispersions of each gene in each condition's perturbed cells, rows as in the effect library.

    Attributes:
        log_phi: Natural log, condition x gene.
        weight: mean count / (1 + mean count) of the gene there: what a few molecules say of it counts little.
    """

    log_phi: Float[np.ndarray, "condition gene"]
    weight: Float[np.ndarray, "condition gene"]

    def of(
        self, library: EffectLibrary, dose: Float[np.ndarray, " component"], usable: Bool[np.ndarray, " condition"]
    ) -> Float[np.ndarray, " gene"] | None:
        """Weighted geometric mean over the nearest usable conditions; None without any.

        Nearest: the same components in any context, else those that share a component, else all.
        """
        n = library.n_conditions
        same = same_components(library, dose) & usable
        sharing = ((library.dose > 0) & (dose > 0)).any(1) & usable
        rows = next((rows for rows in (same, sharing, usable & np.ones(n, bool)) if rows.any()), None)
        if rows is None:
            return None
        weight = self.weight[rows] + 1e-3
        return np.exp((weight * self.log_phi[rows]).sum(0) / weight.sum(0))

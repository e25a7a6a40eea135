"""Effects on the composition of a donor's cells: genotype, age, sex and disease shift the log-odds of cell types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim import rng
from genesim.config.effects import CompositionEffect
from genesim.data.genotypes import Genotypes
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.dosage import centred_dosage, common_variants

COLUMNS = ["cell_type", "of", "variant", "log_odds", "training_frequency"]
MIN_MAF = 0.1
"""Of variants that are drawn for an effect without one."""


def _variant(effect: CompositionEffect, number: int, variants: pd.DataFrame, seed: int) -> str:
    if effect.variant is not None:
        if effect.variant not in variants.index:
            raise ConditionError(
                f"composition effect names unknown variant {effect.variant!r}",
                where="scenario.composition_effects",
                remedy="use a variant of the trained models",
            )
        return effect.variant
    common = common_variants(variants, MIN_MAF)
    if not len(common):
        raise ConfigError(
            f"no variant has a MAF of {MIN_MAF:g} or more",
            where="scenario.composition_effects",
            remedy="name the variant of the effect",
        )
    stream = rng.generator(seed, "composition effects", number)
    return str(stream.choice(np.array(sorted(common), object)))


def plant_composition(
    effects: Sequence[CompositionEffect], variants: pd.DataFrame, cell_types: Sequence[str], seed: int
) -> pd.DataFrame:
    """The truth table of composition effects: columns `COLUMNS`; `variant` is "" unless of a genotype.

    Args:
        variants: Index variant id; `frequency` of ALT in training.

    Raises:
        ConditionError: An unknown cell type or variant.
        ConfigError: No variant is common enough to be drawn.
    """
    rows = []
    for number, effect in enumerate(effects):
        if effect.cell_type not in cell_types:
            raise ConditionError(
                f"composition effect names unknown cell type {effect.cell_type!r}",
                where="scenario.composition_effects",
                remedy=f"use one of {', '.join(cell_types)}",
            )
        variant = _variant(effect, number, variants, seed) if effect.of == "genotype" else ""
        frequency = float(variants["frequency"].loc[variant]) if variant else np.nan
        rows.append((effect.cell_type, effect.of, variant, effect.log_odds, frequency))
    return pd.DataFrame(rows, columns=COLUMNS)


def composition_shift(
    truth: pd.DataFrame,
    cell_types: Sequence[str],
    genotypes: Genotypes,
    covariates: dict[str, Float[np.ndarray, " donor"]],
) -> Float[np.ndarray, "donor type"]:
    """Each donor's shift of the natural-log share of each type, before shares are made to add up to 1.

    Args:
        truth: As `plant_composition` returns it.
        covariates: `age` (in SDs), `sex` (-1/2, 1/2) and `disease` (0, 1) of donors, as far as they are used. Genotypes
            count from their expectation, so that the mean composition stays.
    """
    shift = np.zeros((genotypes.n_donors, len(cell_types)))
    for cell_type, of, variant, log_odds, frequency in truth[COLUMNS].itertuples(index=False):
        value = centred_dosage(genotypes, [variant], np.array([frequency]))[0] if variant else covariates[of]
        shift[:, list(cell_types).index(cell_type)] += log_odds * value
    return shift

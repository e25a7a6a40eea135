"""Trans effects of loss of function: what a trained perturbation model says that a donor's knocked-down genes change.

Its predictions are model-derived, and the truth says so: they are planted, hence true of the simulated cells, but no
more than the model's belief about real ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.errors import ConfigError
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.perturbation import PerturbationModel
from genesim.simulate.cells import Shift

_LARGEST = 10.0
_N_REFERENCE = 256


def mean_rates(expression: ExpressionModel, cell_types: Sequence[str], seed: int) -> Float[np.ndarray, "type gene"]:
    """Mean rates of each cell type over drawn cells."""
    rates = []
    for name in cell_types:
        obs = pd.DataFrame({expression.labels_key or "cell_type": np.full(_N_REFERENCE, name, object)})
        rates.append(np.asarray(expression.draw_rates(obs, seed, 0)[0], np.float64).mean(axis=0))
    return np.stack(rates)


def log2_factor(delta: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """log2 of the factor m on a mean count `expected` at which log(1 + count) moves by `delta`, at the mean cell.

    log(1 + m x) - log(1 + x) = delta, so m = (e^delta (1 + x) - 1) / x; genes that are hardly expressed could not move
    so far, and the factor is kept within 2^-10 and 2^10.
    """
    wanted = (np.exp(delta) * (1 + expected) - 1) / np.maximum(expected, 1e-12)
    return np.clip(np.log2(np.maximum(wanted, 2.0**-_LARGEST)), -_LARGEST, _LARGEST)


def trans_effects(
    lost: Mapping[str, dict[str, float]],
    model: PerturbationModel | None,
    expression: ExpressionModel,
    cell_types: Sequence[str],
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Float[np.ndarray, "type gene"]]]:
    """Truth of the trans effects, and log2 fold changes by donor.

    Args:
        lost: Share lost by gene of each donor that has loss-of-function alleles.

    Raises:
        ConfigError: There is no perturbation model, or it shares no gene with the expression model.
    """
    if model is None:
        raise ConfigError(
            "trans effects need a perturbation model, and there is none",
            where="scenario.effects.trans",
            remedy="train perturbation into <models>/perturbation, or set it to false",
        )
    genes = expression.genes
    at = genes.get_indexer(model.genes)
    shared = np.flatnonzero(at >= 0)
    if not len(shared):
        raise ConfigError(
            "the perturbation model shares no gene with the expression model",
            where="scenario.effects.trans",
            remedy="train both on the same gene names",
        )
    expected = mean_rates(expression, cell_types, seed) * model.learned.reference_library if lost else np.empty(0)
    contexts = model.learned.contexts
    folds, rows = {}, []
    for donor, shares in lost.items():
        fold = np.zeros((len(cell_types), len(genes)))
        knocked = ";".join(f"{gene} {share:.3g}" for gene, share in sorted(shares.items()))
        for number, name in enumerate(cell_types):
            estimate = model.effect(shares, name if len(contexts) > 1 else None)
            columns = at[shared]
            fold[number, columns] = log2_factor(estimate.delta[shared], expected[number, columns])
            fold[number, genes.get_indexer(pd.Index(list(shares)))] = 0.0  # planted in cis
            changed = np.flatnonzero(fold[number])
            table = {
                "donor": donor,
                "gene": np.asarray(genes, object)[changed],
                "cell_type": name,
                "log2_fold": fold[number, changed],
                "knocked_down": knocked,
                "support": estimate.support,
                "source": "model-derived",
            }
            rows.append(pd.DataFrame(table))
        folds[donor] = fold
    columns_ = ["donor", "gene", "cell_type", "log2_fold", "knocked_down", "support", "source"]
    return (pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns_)), folds


def trans_shift(
    folds: Mapping[str, Float[np.ndarray, "type gene"]], donors: pd.Index, donor: np.ndarray, kind: np.ndarray
) -> Shift:
    """The shift of the cells of donors with trans effects."""
    by_code = {donors.get_loc(name): fold for name, fold in folds.items()}
    columns = np.flatnonzero(np.any([fold.any(axis=0) for fold in folds.values()], axis=0))

    def shift(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        found = np.zeros((len(donor[rows]), len(columns)))
        for code in set(np.unique(donor[rows])) & set(by_code):
            mine = np.flatnonzero(donor[rows] == code)
            found[mine] = by_code[code][kind[rows][mine]][:, columns]
        return columns, found

    return shift

"""Cells of a screen by condition, and how far made cells are from real ones: what all trials of cells share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from genesim import rng
from genesim.data.expression import Cells
from genesim.estimators.perturbation_conditions import units_of
from genesim.estimators.perturbation_inputs import Keys, library_sizes, log_expression
from genesim.estimators.perturbation_learn import MIN_CELLS, Learned
from genesim.metrics.perturbation import energy_distance
from genesim.models.perturbation.reshape import Shape, reshape_counts

MAX_CELLS = 200
LEAST_CELLS, MAX_CONDITIONS = 20, 12
_MAX_GENES, _N_COMPONENTS = 1000, 50


@dataclass(frozen=True, eq=False)
class Screen:
    """Cells in memory: counts, size factors, and which cells are a condition's and its controls'."""

    counts: sparse.csr_matrix
    size: np.ndarray
    treated: list[np.ndarray]
    control: dict[int, np.ndarray]
    renormalised: bool

    def enough(self, learned: Learned, row: int) -> bool:
        """A condition and its controls have cells to compare."""
        return min(len(self.treated[row]), len(self.control[int(learned.library.context[row])])) >= LEAST_CELLS


def screen_of(cells: Cells, keys: Keys, learned: Learned) -> Screen:
    units = units_of(cells.obs, keys)
    size = library_sizes(cells.obs, cells.library_size, keys) / learned.reference_library
    place = {name: i for i, name in enumerate(learned.contexts)}
    inside = units.table[units.table["context"].isin(learned.contexts)]
    units_in: dict[tuple[str, ...], list[int]] = {}
    for unit, *name in inside[["context", "label", "kind", "dose"]].itertuples():
        units_in.setdefault(tuple(name), []).append(unit)
    members = {name: np.flatnonzero(np.isin(units.cell, rows)) for name, rows in units_in.items()}
    # The rule and the order of `learn`.
    kept = [name for name in sorted(members) if name[1] != "" and len(members[name]) >= MIN_CELLS]
    control = {place[n[0]]: rows for n, rows in members.items() if n[1] == ""}
    counts = sparse.csr_matrix(cells.counts)
    return Screen(counts, size, [members[name] for name in kept], control, keys.library is None)


def paired_distance(x: np.ndarray, y: np.ndarray) -> float:
    """E-distance (U-statistic) in principal components of two sets of equal size.

    Only these two: were many versions of the same controls in the pool, components would be spent on the
    noise that they share, and everything made from controls would look far from real cells.
    """
    both = np.vstack([x, y])
    both = both - both.mean(0)
    u, s, _ = np.linalg.svd(both, full_matrices=False)
    scores = (u * s)[:, :_N_COMPONENTS]
    return energy_distance(scores[: len(x)], scores[len(x) :])


def losses(
    screen: Screen, learned: Learned, row: int, delta: np.ndarray, shapes: list[Shape], seed: int
) -> list[float]:
    """E-distance of a held-out condition's cells from those made with each shape.

    Where one of them is a flow, which sees all genes, all shapes are made of all genes: the draws of genes that both
    leave alone agree.
    """
    draw = rng.generator(seed, "perturbation", "transport", row)
    truth, base = screen.treated[row], screen.control[int(learned.library.context[row])]
    n = min(len(truth), len(base), MAX_CELLS)
    truth, base = (np.sort(draw.choice(rows, n, replace=False)) for rows in (truth, base))
    real = log_expression(screen.counts[truth], screen.size[truth]).toarray()
    start = log_expression(screen.counts[base], screen.size[base]).toarray()
    spread = real.var(0) + start.var(0) + delta**2
    genes = np.sort(np.argsort(-spread, kind="stable")[:_MAX_GENES])
    used = np.arange(len(delta)) if any(shape.flow is not None for shape in shapes) else genes
    shown = np.searchsorted(used, genes)
    counts, size = screen.counts[base][:, used], screen.size[base]
    found = []
    for shape in shapes:
        phi = None if shape.dispersion is None else shape.dispersion[used]
        made = reshape_counts(counts, size, delta[used], seed, Shape(phi, shape.responders, shape.flow))
        after = size
        if screen.renormalised:
            more = np.asarray(made.sum(1) - counts.sum(1)).ravel() / learned.reference_library
            after = np.maximum(size + more, 0.05 * size)
        found.append(paired_distance(log_expression(made, after).toarray()[:, shown], real[:, genes]))
    return found


def hidden_from(learned: Learned, row: int, regime: str) -> np.ndarray:
    """Conditions that a question of this regime would not have."""
    library = learned.library
    same = ((library.dose > 0) == (library.dose[row] > 0)).all(1)
    if regime == "new_context":
        return same & (library.context == library.context[row])
    if regime == "combination":
        return same
    if regime == "new_perturbation":
        return ((library.dose > 0) & (library.dose[row] > 0)).any(1)
    return np.arange(library.n_conditions) == row

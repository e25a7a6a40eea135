"""How predicted cells differ from controls besides the mean: tried on held-out conditions, used where it helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from genesim import rng
from genesim.config.model import PerturbationConfig
from genesim.console import log
from genesim.data.expression import Cells
from genesim.estimators.perturbation_conditions import units_of
from genesim.estimators.perturbation_inputs import Keys, library_sizes, log_expression
from genesim.estimators.perturbation_learn import MIN_CELLS, Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.metrics.perturbation import energy_distance
from genesim.models.perturbation.counts import dispersions
from genesim.models.perturbation.gate import SHUT, Gate, decide
from genesim.models.perturbation.heldout import hold_out
from genesim.models.perturbation.library import strata
from genesim.models.perturbation.reshape import Shape, reshape_counts
from genesim.models.perturbation.shapes import Dispersions
from genesim.models.perturbation.stack import cross_fitted

ADDITIONS = ("dispersion", "responders")
"""What is tried on top of the plain shift, one after the other."""
_RESPONDERS = 0.8
_MAX_CELLS, _MAX_GENES, _N_COMPONENTS = 200, 1000, 50
_LEAST_CELLS, _MAX_CONDITIONS = 20, 12
# Where the plain shift is right, distances are noise and two additions are tried: one error would open one in three.
_N_ERRORS = 2.0


@dataclass(frozen=True)
class Transport:
    """Gates by regime ("new_context", ...) and addition, and the dispersions that one of them uses."""

    gates: dict[str, dict[str, Gate]]
    dispersions: Dispersions | None

    def shape(self, learned: Learned, dose: np.ndarray, stratum: str) -> Shape:
        """What changes besides the mean under a perturbation, given as doses of the library's components."""
        gates = self.gates.get(stratum.split(":")[0], {})
        usable = np.ones(learned.library.n_conditions, bool)
        return _shape({name for name, gate in gates.items() if gate.open}, self.dispersions, learned, dose, usable)

    def metadata(self) -> dict[str, Any]:
        """JSON types."""
        return {r: {name: gate.to_dict() for name, gate in gates.items()} for r, gates in self.gates.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restored` needs besides; empty where no dispersions were learned."""
        found = self.dispersions
        return {} if found is None else {"log_phi": found.log_phi, "weight": found.weight}

    @classmethod
    def restored(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Transport:
        """What `arrays` and `metadata` gave."""
        gates = {r: {k: Gate.from_dict(v) for k, v in one.items()} for r, one in metadata.items()}
        kept = {k: np.asarray(v) for k, v in arrays.items()}
        return cls(gates, Dispersions(**kept) if kept else None)


NO_TRANSPORT = Transport({}, None)


def _shape(names: set[str], found: Dispersions | None, learned: Learned, dose: np.ndarray, usable: np.ndarray) -> Shape:
    phi = found.of(learned.library, dose, usable) if "dispersion" in names and found is not None else None
    return Shape(phi, _RESPONDERS if "responders" in names else 1.0)


@dataclass(frozen=True, eq=False)
class _Screen:
    """Cells in memory: counts, size factors, and which cells are a condition's and its controls'."""

    counts: sparse.csr_matrix
    size: np.ndarray
    treated: list[np.ndarray]
    control: dict[int, np.ndarray]
    renormalised: bool


def _screen(cells: Cells, keys: Keys, learned: Learned) -> _Screen:
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
    return _Screen(counts, size, [members[name] for name in kept], control, keys.library is None)


def _dispersions(screen: _Screen) -> Dispersions:
    log_phi, weight = [], []
    for rows in screen.treated:
        own = sparse.csc_matrix(screen.counts[rows], dtype=np.float64)
        mean = np.asarray(own.mean(0)).ravel()
        log_phi.append(np.log(dispersions(own, screen.size[rows])))
        weight.append(mean / (1 + mean))
    return Dispersions(np.stack(log_phi), np.stack(weight))


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


def _losses(
    screen: _Screen, learned: Learned, row: int, delta: np.ndarray, shapes: list[Shape], seed: int
) -> list[float]:
    """E-distance of a held-out condition's cells from those made with each shape."""
    draw = rng.generator(seed, "perturbation", "transport", row)
    truth, base = screen.treated[row], screen.control[int(learned.library.context[row])]
    n = min(len(truth), len(base), _MAX_CELLS)
    truth, base = (np.sort(draw.choice(rows, n, replace=False)) for rows in (truth, base))
    real = log_expression(screen.counts[truth], screen.size[truth]).toarray()
    start = log_expression(screen.counts[base], screen.size[base]).toarray()
    spread = real.var(0) + start.var(0) + delta**2
    genes = np.sort(np.argsort(-spread, kind="stable")[:_MAX_GENES])
    counts, size = screen.counts[base][:, genes], screen.size[base]
    found = []
    for shape in shapes:
        phi = None if shape.dispersion is None else shape.dispersion[genes]
        made = reshape_counts(counts, size, delta[genes], seed, Shape(phi, shape.responders))
        after = size
        if screen.renormalised:
            more = np.asarray(made.sum(1) - counts.sum(1)).ravel() / learned.reference_library
            after = np.maximum(size + more, 0.05 * size)
        found.append(paired_distance(log_expression(made, after).toarray(), real[:, genes]))
    return found


def fitted_transport(
    cells: Cells, keys: Keys, learned: Learned, priors: Priors, config: PerturbationConfig, seed: int
) -> Transport:
    """Try every addition on held-out conditions of each regime, on top of those that were accepted before.

    An addition is used in a regime where it lowers the mean E-distance by more than two standard errors.
    """
    if not sparse.issparse(cells.counts):
        log.info("perturbation: counts stay on disk, so that predicted cells differ from controls in the mean only")
        return NO_TRANSPORT
    screen = _screen(cells, keys, learned)
    library = learned.library
    found = _dispersions(screen)
    embeddings, screens = priors.placed(learned.components, learned.groups)
    gates: dict[str, dict[str, Gate]] = {}
    for regime in [name for name in strata(library) if ":" not in name]:
        held = hold_out(library, regime, config.n_components, config.ridge, config.n_folds, seed, embeddings, screens)
        gates[regime] = dict.fromkeys(ADDITIONS, SHUT)
        if held is None:
            continue
        enough = [
            i
            for i, row in enumerate(held.row)
            if min(len(screen.treated[row]), len(screen.control[int(library.context[row])])) >= _LEAST_CELLS
        ]
        order = rng.generator(seed, "perturbation", "transport", regime).permutation(len(enough))
        chosen = [enough[i] for i in np.sort(order[:_MAX_CONDITIONS])]
        if len(chosen) < 3:
            continue
        delta = cross_fitted(held, regime)[0]["model"]
        accepted: set[str] = set()
        for name in ADDITIONS:
            losses = []
            for i in chosen:
                row = int(held.row[i])
                usable = ~_hidden(learned, row, regime)
                tried = [
                    _shape(names, found, learned, library.dose[row], usable) for names in (accepted, accepted | {name})
                ]
                losses.append(_losses(screen, learned, row, delta[i], tried, seed))
            before, after = np.array(losses).T
            gates[regime][name] = decide(before, after, n_errors=_N_ERRORS)
            accepted |= {name} if gates[regime][name].open else set()
    return Transport(gates, found)


def _hidden(learned: Learned, row: int, regime: str) -> np.ndarray:
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

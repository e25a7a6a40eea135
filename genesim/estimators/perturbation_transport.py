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
from genesim.estimators.perturbation_flow import FlowTrial, flow_arrays, flow_from
from genesim.estimators.perturbation_inputs import Keys
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.estimators.perturbation_screen import MAX_CONDITIONS, Screen, hidden_from, losses, screen_of
from genesim.models.perturbation.counts import dispersions
from genesim.models.perturbation.flow import CellFlow
from genesim.models.perturbation.gate import SHUT, Gate, decide
from genesim.models.perturbation.heldout import HeldOut, hold_out
from genesim.models.perturbation.library import strata
from genesim.models.perturbation.reshape import Shape
from genesim.models.perturbation.shapes import Dispersions
from genesim.models.perturbation.stack import cross_fitted

ADDITIONS = ("dispersion", "responders")
"""What is tried on top of the plain shift, one after the other; "flow" is tried instead of all that was accepted."""
_RESPONDERS = 0.8
# Where the plain shift is right, distances are noise and two additions are tried: one error would open one in three.
_N_ERRORS = 2.0


@dataclass(frozen=True)
class Transport:
    """Gates by regime ("new_context", ...) and addition, and what was learned for them: dispersions and a flow."""

    gates: dict[str, dict[str, Gate]]
    dispersions: Dispersions | None
    flow: CellFlow | None = None

    def shape(self, learned: Learned, dose: np.ndarray, stratum: str) -> Shape:
        """What changes besides the mean under a perturbation, given as doses of the library's components."""
        gates = self.gates.get(stratum.split(":")[0], {})
        usable = np.ones(learned.library.n_conditions, bool)
        opened = {name for name, gate in gates.items() if gate.open}
        if "flow" in opened:
            return Shape(flow=self.flow)
        return _shape(opened, self.dispersions, learned, dose, usable)

    def metadata(self) -> dict[str, Any]:
        """JSON types."""
        return {r: {name: gate.to_dict() for name, gate in gates.items()} for r, gates in self.gates.items()}

    def arrays(self) -> dict[str, Any]:
        """What `restored` needs besides; empty where nothing was learned."""
        found: dict[str, Any] = {}
        if self.dispersions is not None:
            found["dispersions"] = {"log_phi": self.dispersions.log_phi, "weight": self.dispersions.weight}
        if self.flow is not None:
            found["flow"] = flow_arrays(self.flow)
        return found

    @classmethod
    def restored(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Transport:
        """What `arrays` and `metadata` gave."""
        gates = {r: {k: Gate.from_dict(v) for k, v in one.items()} for r, one in metadata.items()}
        # Models of before the flow held the two arrays of the dispersions alone.
        stored = arrays.get("dispersions", arrays if "log_phi" in arrays else {})
        kept = {k: np.asarray(v) for k, v in stored.items()}
        flow = flow_from(arrays["flow"]) if "flow" in arrays else None
        return cls(gates, Dispersions(**kept) if kept else None, flow)


NO_TRANSPORT = Transport({}, None)


def _shape(names: set[str], found: Dispersions | None, learned: Learned, dose: np.ndarray, usable: np.ndarray) -> Shape:
    phi = found.of(learned.library, dose, usable) if "dispersion" in names and found is not None else None
    return Shape(phi, _RESPONDERS if "responders" in names else 1.0)


def _dispersions(screen: Screen) -> Dispersions:
    log_phi, weight = [], []
    for rows in screen.treated:
        own = sparse.csc_matrix(screen.counts[rows], dtype=np.float64)
        mean = np.asarray(own.mean(0)).ravel()
        log_phi.append(np.log(dispersions(own, screen.size[rows])))
        weight.append(mean / (1 + mean))
    return Dispersions(np.stack(log_phi), np.stack(weight))


def fitted_transport(
    cells: Cells, keys: Keys, learned: Learned, priors: Priors, config: PerturbationConfig, seed: int
) -> Transport:
    """Try every addition on held-out conditions of each regime.

    Dispersion and responders are tried on top of those that were accepted before, the flow instead of them. Each is
    used in a regime where it lowers the mean E-distance by more than two standard errors; the flow by more than one,
    for where there is nothing to learn it does not leave cells as they are but adds noise of its own.
    """
    if not sparse.issparse(cells.counts):
        log.info("perturbation: counts stay on disk, so that predicted cells differ from controls in the mean only")
        return NO_TRANSPORT
    screen = screen_of(cells, keys, learned)
    library = learned.library
    additions = () if config.cells == "flow" else ADDITIONS
    found = _dispersions(screen) if additions else None
    trial = FlowTrial.of(screen, learned, config, seed)
    embeddings, screens = priors.placed(learned.components, learned.groups)
    gates: dict[str, dict[str, Gate]] = {}
    for regime in [name for name in strata(library) if ":" not in name]:
        held = hold_out(library, regime, config.n_components, config.ridge, config.n_folds, seed, embeddings, screens)
        gates[regime] = dict.fromkeys((*additions, "flow"), SHUT)
        if held is None:
            continue
        enough = [i for i, row in enumerate(held.row) if screen.enough(learned, int(row))]
        order = rng.generator(seed, "perturbation", "transport", regime).permutation(len(enough))
        chosen = [enough[i] for i in np.sort(order[:MAX_CONDITIONS])]
        if len(chosen) < 3:
            continue
        delta = cross_fitted(held, regime)[0]["model"]
        accepted: set[str] = set()

        def shaped(i: int, names: set[str], held: HeldOut = held, regime: str = regime) -> Shape:
            row = int(held.row[i])
            usable = ~hidden_from(learned, row, regime)
            return _shape(names, found, learned, library.dose[row], usable)

        for name in additions:
            before, after = np.array(
                [
                    losses(
                        screen,
                        learned,
                        int(held.row[i]),
                        delta[i],
                        [shaped(i, names) for names in (accepted, accepted | {name})],
                        seed,
                    )
                    for i in chosen
                ]
            ).T
            gates[regime][name] = decide(before, after, n_errors=_N_ERRORS)
            accepted |= {name} if gates[regime][name].open else set()
        rows, effects = held.row[chosen], delta[chosen]
        before, after = trial.losses(regime, rows, effects, [shaped(i, accepted) for i in chosen])
        gates[regime]["flow"] = decide(before, after)
    opened = any(own["flow"].open for own in gates.values())
    return Transport(gates, found, trial.whole() if opened else None)

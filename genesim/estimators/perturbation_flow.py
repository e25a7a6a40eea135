"""The flow of cells (L2): trained without what is held out, to be tried, and on everything, to be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx
from scipy import sparse

from genesim import rng
from genesim.config.model import PerturbationConfig
from genesim.estimators.perturbation_inputs import log_expression
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_screen import MAX_CELLS, Screen, hidden_from, losses
from genesim.models.perturbation.counts import perturb_counts
from genesim.models.perturbation.coupling import Paired
from genesim.models.perturbation.flow import Basis, CellFlow, ResidualFlow, fit_flow
from genesim.models.perturbation.reshape import Shape, log_counts
from genesim.train.state import model_arrays, restore_arrays

_MAX_TRAINED, _FOLDS = 60, 4


@dataclass(frozen=True, eq=False)
class FlowTrial:
    """Shifted and real cells of training conditions, and flows learned from any part of them.

    Attributes:
        shifted, real: Log expression by row of the library, of the conditions that a flow may learn from.
    """

    screen: Screen
    learned: Learned
    config: PerturbationConfig
    seed: int
    shifted: dict[int, sparse.csr_matrix]
    real: dict[int, sparse.csr_matrix]

    @classmethod
    def of(cls, screen: Screen, learned: Learned, config: PerturbationConfig, seed: int) -> FlowTrial:
        """Controls moved by each condition's own effect, as it was measured, beside its cells."""
        library = learned.library
        rows = [row for row in range(library.n_conditions) if screen.enough(learned, row)]
        order = rng.generator(seed, "perturbation", "flow", "conditions").permutation(len(rows))[:_MAX_TRAINED]
        shifted, real = {}, {}
        for row in (rows[i] for i in np.sort(order)):
            draw = rng.generator(seed, "perturbation", "flow", "cells", row)
            own, base = screen.treated[row], screen.control[int(library.context[row])]
            own, base = (np.sort(draw.permutation(cells)[:MAX_CELLS]) for cells in (own, base))
            size = screen.size[base]
            shifted[row] = log_counts(perturb_counts(screen.counts[base], size, library.shrunk[row], seed), size)
            real[row] = sparse.csr_matrix(log_expression(screen.counts[own], screen.size[own]))
        return cls(screen, learned, config, seed, shifted, real)

    def without(self, hidden: np.ndarray) -> CellFlow | None:
        """A flow that never saw some conditions (a mask of the library's rows); None where fewer than two are left."""
        rows = [row for row in self.real if not hidden[row]]
        if len(rows) < 2:
            return None
        pool = sparse.csr_matrix(sparse.vstack([part[row] for row in rows for part in (self.shifted, self.real)]))
        basis = Basis.of(pool, self.config.flow_components, self.seed)
        effect = self.learned.library.shrunk
        pairs = [
            Paired(basis.scores(self.shifted[row]), basis.scores(self.real[row]), basis.direction(effect[row]))
            for row in rows
        ]
        return fit_flow(pairs, basis, self.config.flow_steps, self.seed)[0]

    def whole(self) -> CellFlow | None:
        """A flow of all conditions."""
        return self.without(np.zeros(self.learned.library.n_conditions, bool))

    def losses(
        self, regime: str, rows: np.ndarray, effects: np.ndarray, shapes: Sequence[Shape]
    ) -> tuple[np.ndarray, np.ndarray]:
        """E-distance of held-out conditions without and with a flow that knows what the regime's question would.

        Args:
            regime: What is hidden with each condition.
            rows: Rows of the library.
            effects: Their predicted mean effects, from elsewhere.
            shapes: What the flow competes with.
        """
        fold = rng.generator(self.seed, "perturbation", "flow", "folds", regime).permutation(len(rows)) % _FOLDS
        found = {}
        for k in np.unique(fold):
            inside = [int(i) for i in np.flatnonzero(fold == k)]
            hidden = np.any([hidden_from(self.learned, int(rows[i]), regime) for i in inside], axis=0)
            flow = self.without(hidden)
            if flow is None:
                continue
            for i in inside:
                tried = [shapes[i], Shape(flow=flow)]
                found[i] = losses(self.screen, self.learned, int(rows[i]), effects[i], tried, self.seed)
        pairs = np.array([found[i] for i in sorted(found)]).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]


def flow_arrays(flow: CellFlow) -> dict[str, Any]:
    """Arrays that `flow_from` takes."""
    basis = flow.basis
    return {
        "mean": basis.mean,
        "loadings": basis.loadings,
        "scale": np.array(basis.scale),
        "network": model_arrays(flow.network),
    }


def flow_from(arrays: Mapping[str, Any]) -> CellFlow:
    """What `flow_arrays` gave.

    Raises:
        ArtefactError: Arrays of another network.
    """
    basis = Basis(np.asarray(arrays["mean"]), np.asarray(arrays["loadings"]), float(arrays["scale"]))
    network = ResidualFlow(len(basis.loadings), rngs=nnx.Rngs(0))
    return CellFlow(basis, restore_arrays(network, arrays["network"], "flow of cells"))

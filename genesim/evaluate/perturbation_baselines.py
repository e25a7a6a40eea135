"""Closed-form predictions that a perturbation model has to beat, from the mean effects of training, unshrunk.

They are the field's own baselines, and share no code with the model that is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

BASELINES = ("no_change", "mean_effect", "measured", "other_contexts", "additive", "bilinear")
_N_COMPONENTS, _RIDGE = 10, 0.1


@dataclass(frozen=True)
class Means:
    """Mean effects of the training conditions.

    Attributes:
        effect: By (context, targets), against the training controls of the context.
        target: Column of each target's own gene, where it is measured.
    """

    effect: Mapping[tuple[str, frozenset[str]], Float[np.ndarray, " gene"]]
    target: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cells: Float[np.ndarray, "cell gene"],
        parts: np.ndarray,
        context: np.ndarray,
        target: Mapping[str, int],
        min_cells: int = 5,
    ) -> Means:
        """Means of training cells.

        Args:
            cells: log1p of normalised counts.
            parts: Set of targets of each cell; empty for controls.
            context: Of each cell.
            target: See the class.
            min_cells: Fewest cells of a condition, and of its controls.
        """
        rows: dict[tuple[str, frozenset[str]], list[int]] = {}
        for row, key in enumerate(zip(context, parts, strict=True)):
            rows.setdefault(key, []).append(row)
        mean = {key: cells[at].mean(0) for key, at in rows.items() if len(at) >= min_cells}
        found = {(c, p): m - mean[c, frozenset()] for (c, p), m in mean.items() if p and (c, frozenset()) in mean}
        return cls(found, target)

    def _elsewhere(self, context: str, parts: frozenset[str]) -> np.ndarray | None:
        rows = [e for (c, p), e in self.effect.items() if p == parts and c != context]
        return np.mean(rows, axis=0) if rows else None

    def single(self, context: str, part: str) -> np.ndarray | None:
        """Effect of one target, of the context or else the mean of the others."""
        one = frozenset({part})
        own = self.effect.get((context, one))
        return self._elsewhere(context, one) if own is None else own

    def mean_effect(self, context: str) -> np.ndarray:
        """Mean over the context's conditions; over all where it has fewer than two."""
        own = [e for (c, _), e in self.effect.items() if c == context]
        return np.mean(own if len(own) > 1 else list(self.effect.values()), axis=0)

    def centre(self, context: str, parts: frozenset[str]) -> np.ndarray | None:
        """Mean effect of the *other* perturbations in the context, else of other contexts: m of the centred scores.

        Where nothing else was perturbed, the mean over the other contexts; None where there is none.
        """
        own = [e for (c, p), e in self.effect.items() if c == context and p != parts]
        others = own if len(own) > 1 else [e for (c, p), e in self.effect.items() if p != parts]
        return np.mean(others, axis=0) if others else self._elsewhere(context, parts)

    def bilinear(self, context: str, parts: frozenset[str]) -> np.ndarray | None:
        """Y = G W P' + b by two ridges (Ahlmann-Eltze et al. 2025, Nat. Methods), K = 10, lambda = .1.

        G: principal components of the training effects; P: a target's own row of G, summed over targets. The mean
        effect where a target is not a measured gene; None where fewer than three training conditions have one.
        """
        rows = [(p, e) for (_, p), e in self.effect.items() if p <= set(self.target)]
        if len(rows) < 3:
            return None
        if not parts <= set(self.target):
            return self.mean_effect(context)
        y = np.stack([e for _, e in rows])
        centre = y.mean(0)
        _, s, vt = np.linalg.svd(y - centre, full_matrices=False)
        k = int(min(_N_COMPONENTS, (s > 1e-9).sum()))
        if k == 0:
            return centre

        def place(targets: frozenset[str]) -> np.ndarray:
            return np.sum([genes[self.target[t]] for t in sorted(targets)], axis=0)

        genes = vt[:k].T * s[:k]
        p = np.stack([place(targets) for targets, _ in rows])
        left = np.linalg.solve(genes.T @ genes + _RIDGE * np.eye(k), genes.T @ (y - centre).T)
        weight = np.linalg.solve(p.T @ p + _RIDGE * np.eye(k), p.T @ left.T).T
        return genes @ (weight @ place(parts)) + centre

    def predictions(self, context: str, parts: frozenset[str]) -> Iterator[tuple[str, Float[np.ndarray, " gene"]]]:
        """Every baseline that has something to say of its own, by name (see `BASELINES`)."""
        mean = self.mean_effect(context)
        yield "no_change", np.zeros_like(mean)
        yield "mean_effect", mean
        if (context, parts) in self.effect:
            yield "measured", self.effect[context, parts]
        if (elsewhere := self._elsewhere(context, parts)) is not None:
            yield "other_contexts", elsewhere
        singles = [self.single(context, part) for part in sorted(parts)]
        if len(parts) > 1 and all(one is not None for one in singles):
            yield "additive", np.sum([one for one in singles if one is not None], axis=0)
        if (linear := self.bilinear(context, parts)) is not None:
            yield "bilinear", linear

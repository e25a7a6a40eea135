"""`PerturbationModel`: cells under a perturbation, a combination or in a context that was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.base import parse
from genesim.config.model import PerturbationConfig
from genesim.console import log
from genesim.data.expression import read_expression
from genesim.data.gene_dosage import GeneDosage
from genesim.errors import ConditionError, JoinError
from genesim.estimators.perturbation_inputs import (
    Keys,
    Learned,
    as_amounts,
    contexts_of,
    learn,
    library_sizes,
    parse_label,
)
from genesim.models.catalog import card
from genesim.models.perturbation.candidates import (
    Candidates,
    EffectLibrary,
    at_dose,
    regime_of,
    same_components,
)
from genesim.models.perturbation.counts import perturb_counts
from genesim.models.perturbation.stack import STACKED, Stack, fit_stack, hold_out
from genesim.provenance.record import Provenance
from genesim.train.store import load_model, save_model

KIND = "perturbation"


@dataclass(frozen=True)
class EffectEstimate:
    """Predicted effect in one context: change of mean log expression from control, per gene.

    Attributes:
        delta: Predicted effect.
        low, high: 95 % interval of the true effect (nominal: exchangeable with the held-out conditions); NaN
            where no condition of this regime could be held out.
        regime: "seen", "new_context", "combination" or "new_perturbation".
        support: "supported" (measured in this context and dose range), "extrapolated" (put together from
            measured parts) or "unsupported" (a component was never measured; its effect is a guess).
    """

    delta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    regime: str
    support: str


class PerturbationModel:
    """A stack of closed-form predictions of perturbation effects, put on the user's own control cells.

    Make one with `fit` or `load`. `scores` holds the stack and every baseline beside it on held-out
    conditions: regime, method, n_conditions, pearson_delta, centred_pearson_delta, mae, pds
    (`metrics.perturbation`).
    """

    def __init__(
        self,
        genes: pd.Index,
        learned: Learned,
        stacks: dict[str, Stack],
        scores: pd.DataFrame,
        keys: Keys,
        config: PerturbationConfig,
        provenance: Provenance,
    ) -> None:
        self.genes = genes
        self.learned = learned
        self.stacks = stacks
        self.scores = scores
        self.keys = keys
        self.config = config
        self.provenance = provenance
        self._made = Candidates(learned.library, config.n_components, config.ridge)

    @classmethod
    def fit(
        cls,
        adata: ad.AnnData | str,
        perturbation_key: str,
        control: str = "control",
        *,
        covariate_keys: Sequence[str] = (),
        dose_key: str | None = None,
        library_key: str | None = None,
        layer: str | None = None,
        separator: str = "+",
        config: PerturbationConfig | None = None,
        seed: int = 0,
    ) -> PerturbationModel:
        """Learn effects and how far each way of predicting new ones can be trusted.

        Args:
            adata: Counts, or the path of an h5ad.
            perturbation_key: Column of obs with labels such as "A", "A+B" or the control.
            control: Label of control cells.
            covariate_keys: Columns of obs that make the context (cell type, donor, batch).
            dose_key: Column of obs with doses: a number, or "1+2" for the components of "A+B".
            library_key: Column of obs with library sizes, where the genes are a panel.
            layer: Layer with the counts.
            separator: Between the components of a label.
            config: Components, ridge, shrinkage, folds.
            seed: Of the folds.

        Raises:
            H5adError: Cells or labels that cannot be used.
            TrainingError: No controls, or no condition with enough cells.
        """
        config = config or PerturbationConfig()
        keys = Keys(perturbation_key, control, tuple(covariate_keys), dose_key, library_key, separator)
        wanted = [perturbation_key, *covariate_keys, *(k for k in (dose_key, library_key) if k)]
        cells = read_expression(adata, layer=layer, covariate_keys=wanted)
        learned = learn(cells, keys, config.shrinkage)
        stacks, scores = {}, []
        for regime in STACKED:
            held = hold_out(learned.library, regime, config.n_components, config.ridge, config.n_folds, seed)
            stacks[regime], records = fit_stack(held, regime)
            scores += records
        provenance = Provenance("train perturbation", seed, {**config.model_dump(mode="json"), "keys": asdict(keys)})
        table = pd.DataFrame(scores, columns=SCORE_COLUMNS)
        genes = pd.Index(cells.var_names.astype(str), dtype=object)
        return cls(genes, learned, stacks, table, keys, config, provenance)

    def effect(
        self, perturbation: str | Mapping[str, float] | GeneDosage, context: str | None = None
    ) -> EffectEstimate:
        """Predicted effect of a perturbation.

        Args:
            perturbation: Components and amounts, {"A": 1.0, "B": 0.5}, or a label "A+B" (amounts 1). Amounts
                are in units of `dose_key`; without one, 1 is the strength of the training data and less is
                taken as that share of the effect. A name that was never measured gets a guess and a flag.
                The `GeneDosage` of one donor asks for the knock-down of each gene that the model knows.
            context: Covariate levels joined by "|"; None where there is only one context.

        Raises:
            ConditionError: No component, a negative amount, or a context is needed.
        """
        return self._effect(as_amounts(perturbation, self.keys, self._known), context)

    @property
    def _known(self) -> set[str]:
        """Genes that were measured or perturbed in training."""
        return {*self.genes, *self.learned.components}

    def _effect(self, amounts: dict[str, float], context: str | None) -> EffectEstimate:
        """`effect` of amounts above 0; none of them is no change."""
        if not amounts:
            nothing = np.zeros(len(self.genes))
            return EffectEstimate(nothing, nothing, nothing, "seen", "supported")
        if context is None:
            if len(self.learned.contexts) > 1:
                raise ConditionError(
                    "the model knows several contexts",
                    where="context",
                    remedy=f"name one, such as '{self.learned.contexts[0]}'",
                )
            context = self.learned.contexts[0]
        library, dose, made = self._asked(amounts)
        known = self.learned.contexts
        at = known.index(context) if context in known else -1
        regime = regime_of(library, at, dose)
        if regime == "seen":
            rows = np.flatnonzero(same_components(library, dose) & (library.context == at))
            delta = at_dose(library, rows, dose)
            sd = at_dose(replace(library, shrunk=library.sd), rows, dose)
            inside = (dose <= library.dose[rows].max(0)) & (dose >= library.dose[rows].min(0))
            support = "supported" if inside.all() else "extrapolated"
            return EffectEstimate(delta, delta - 1.96 * sd, delta + 1.96 * sd, regime, support)
        stack = self.stacks[regime]
        delta = stack.weight @ made.all(at, dose)
        half = stack.quantile * np.sqrt(stack.constant + stack.slope * delta**2)
        support = "unsupported" if regime == "new_perturbation" else "extrapolated"
        return EffectEstimate(delta, delta - half, delta + half, regime, support)

    def _asked(self, amounts: dict[str, float]) -> tuple[EffectLibrary, np.ndarray, Candidates]:
        """The library with a column for every component asked for, and the doses as its row."""
        library, made = self.learned.library, self._made
        new = [name for name in amounts if name not in self.learned.components]
        if new:
            log.info("perturbation: %s was never measured in training", ", ".join(new))
            library = replace(
                library,
                dose=np.pad(library.dose, ((0, 0), (0, len(new)))),
                target=np.r_[library.target, self.genes.get_indexer(pd.Index(new))],
            )
            made = Candidates(library, self.config.n_components, self.config.ridge)
        names = [*self.learned.components, *new]
        return library, np.array([amounts.get(name, 0.0) for name in names]), made

    def predict(
        self,
        control_cells: ad.AnnData | str,
        perturbation: str | Mapping[str, float] | GeneDosage,
        n_cells: int | None = None,
        seed: int = 0,
    ) -> ad.AnnData:
        """Cells as they would be under a perturbation, made from real control cells.

        Args:
            control_cells: Counts of control cells, with the model's genes and covariates.
            perturbation: See `effect`.
            n_cells: Cells to make, drawn from the controls with replacement; None changes each control once.
            seed: Of the draw.

        Returns:
            Integer counts; obs has `control_cell`, `perturbation`, `context`, `regime`, `support`; varm has
            `delta`, `delta_low`, `delta_high` (gene x context); `uns["genesim"]` says that it is synthetic.

        Raises:
            ConditionError: Cells that are not controls, or an unusable perturbation.
            JoinError: Genes that the cells lack.
            H5adError: Cells that cannot be used.
        """
        keys = self.keys
        wanted = [*keys.covariates, *([keys.library] if keys.library else [])]
        cells = read_expression(control_cells, covariate_keys=wanted)
        if keys.perturbation in cells.obs:
            treated = [bool(parse_label(v, keys)) for v in cells.obs[keys.perturbation].astype(str)]
            if any(treated):
                raise ConditionError(
                    f"{sum(treated)} of {len(treated)} cells are not '{keys.control}'",
                    where="control_cells",
                    remedy=f"pass adata[adata.obs['{keys.perturbation}'] == '{keys.control}']",
                )
        column = cells.var_names.astype(str).get_indexer(self.genes)
        if (column < 0).any():
            lacking = self.genes[column < 0]
            raise JoinError(
                f"{len(lacking)} genes of the model are missing: {', '.join(lacking[:5])}",
                where="control_cells",
                remedy="give cells with the genes the model was trained on",
            )
        amounts = as_amounts(perturbation, keys, self._known)
        size = library_sizes(cells, keys) / self.learned.reference_library
        row = np.arange(cells.n_obs)
        if n_cells is not None:
            row = np.sort(rng.generator(seed, "perturbation", "cells").integers(0, cells.n_obs, n_cells))
        context = contexts_of(cells.obs, keys.covariates)[row]
        counts = cells.X[:, column][row]
        size = size[row]
        parts, order, effects = [], [], {}
        for name in sorted(set(context)):
            here = np.flatnonzero(context == name)
            effects[name] = self._effect(amounts, name)
            order.append(here)
            parts.append(perturb_counts(counts[here], size[here], effects[name].delta, seed))
        return self._assembled(cells, row, context, order, parts, effects, amounts, seed)

    def _assembled(
        self,
        cells: ad.AnnData,
        row: np.ndarray,
        context: np.ndarray,
        order: list[np.ndarray],
        parts: list,
        effects: dict[str, EffectEstimate],
        amounts: dict[str, float],
        seed: int,
    ) -> ad.AnnData:
        from scipy import sparse

        back = np.argsort(np.concatenate(order), kind="stable")
        obs = pd.DataFrame(
            {
                "control_cell": cells.obs_names[row].astype(str).astype(object),
                **{k: cells.obs[k].to_numpy()[row] for k in self.keys.covariates},
                "perturbation": self.keys.separator.join(sorted(amounts)) or self.keys.control,
                "context": context,
                "regime": [effects[c].regime for c in context],
                "support": [effects[c].support for c in context],
            },
            index=pd.Index([f"P{i}" for i in range(len(row))], dtype=object),
        )
        out = ad.AnnData(sparse.csr_matrix(sparse.vstack(parts))[back], obs=obs, var=pd.DataFrame(index=self.genes))
        for name, field in (("delta", "delta"), ("delta_low", "low"), ("delta_high", "high")):
            columns = {c: getattr(e, field) for c, e in effects.items()}
            out.varm[name] = pd.DataFrame(columns, index=self.genes)
        config = {"perturbation": amounts, "n_cells": len(row)}
        out.uns["genesim"] = Provenance("perturb", seed, config, synthetic=True).to_dict()
        return out

    def save(self, directory: str | Path) -> Path:
        """Write the model as one directory; it holds mean effects, no cells."""
        library = self.learned.library
        arrays = {
            "library": {k: getattr(library, k) for k in LIBRARY_FIELDS},
            "n_cells": self.learned.n_cells,
            "weights": {regime: stack.weight for regime, stack in self.stacks.items()},
        }
        stacks = {
            regime: {k: _plain(v) for k, v in asdict(stack).items() if k != "weight"}
            for regime, stack in self.stacks.items()
        }
        records = [{k: _plain(v) for k, v in r.items()} for r in self.scores.to_dict("records")]
        metadata = {
            "card": card("perturbation", "stack"),
            "genes": self.genes.tolist(),
            "contexts": self.learned.contexts,
            "components": self.learned.components,
            "labels": self.learned.labels,
            "reference_library": self.learned.reference_library,
            "stacks": stacks,
            "scores": records,
            "keys": asdict(self.keys),
            "config": self.config.model_dump(mode="json"),
        }
        return save_model(directory, KIND, arrays, metadata, self.provenance)

    @classmethod
    def load(cls, directory: str | Path) -> PerturbationModel:
        """Read a model that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete or was altered.
        """
        stored = load_model(directory, KIND)
        a, m = stored.arrays, stored.metadata
        learned = Learned(
            EffectLibrary(**{k: np.asarray(a["library"][k]) for k in LIBRARY_FIELDS}),
            m["contexts"],
            m["components"],
            m["labels"],
            np.asarray(a["n_cells"]),
            m["reference_library"],
        )
        stacks = {
            regime: Stack(
                np.asarray(a["weights"][regime]),
                values["constant"],
                values["slope"],
                float("nan") if values["quantile"] is None else values["quantile"],
                values["n_held_out"],
            )
            for regime, values in m["stacks"].items()
        }
        scores = pd.DataFrame(
            [{k: float("nan") if v is None else v for k, v in r.items()} for r in m["scores"]],
            columns=SCORE_COLUMNS,
        )
        keys = Keys(**{**m["keys"], "covariates": tuple(m["keys"]["covariates"])})
        provenance = Provenance(**{k: v for k, v in stored.provenance.items() if k != "schema"})
        genes = pd.Index(m["genes"], dtype=object)
        return cls(genes, learned, stacks, scores, keys, parse(PerturbationConfig, m["config"]), provenance)


SCORE_COLUMNS = ["regime", "method", "n_conditions", "pearson_delta", "centred_pearson_delta", "mae", "pds"]
LIBRARY_FIELDS = ("context", "dose", "effect", "se", "shrunk", "sd", "target")


def _plain(value: object) -> object:
    """JSON has no NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value

"""`PerturbationModel`: cells under a perturbation, a combination or in a context that was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from genesim.config.model import PerturbationConfig
from genesim.data.expression import open_expression
from genesim.data.gene_dosage import GeneDosage
from genesim.errors import ConditionError
from genesim.estimators.perturbation_cells import perturbed, read_controls
from genesim.estimators.perturbation_explain import explained, programs_of
from genesim.estimators.perturbation_fit import coverage_table, fitted_stacks, with_coexpression
from genesim.estimators.perturbation_inputs import Keys, as_amounts, split_kind
from genesim.estimators.perturbation_learn import Learned, learn
from genesim.estimators.perturbation_priors import Priors, as_priors
from genesim.estimators.perturbation_question import Asker, EffectEstimate, Question, answer
from genesim.estimators.perturbation_residual import NO_RESIDUALS, Residuals
from genesim.estimators.perturbation_store import KIND, parts_from, save_parts
from genesim.estimators.perturbation_transport import NO_TRANSPORT, Transport, fitted_transport
from genesim.models.perturbation.reshape import Shape
from genesim.models.perturbation.stack import Stack
from genesim.provenance.record import Provenance
from genesim.train.store import restored

__all__ = ["EffectEstimate", "PerturbationModel"]


class PerturbationModel:
    """A stack of closed-form predictions of perturbation effects, put on the user's own control cells.

    Make one with `fit` or `load`. `scores` holds the stack and every baseline beside it on held-out
    conditions: regime, method, n_conditions, pearson_delta, centred_pearson_delta, mae, pds
    (`metrics.perturbation`). With `config.residual` = "gated" `residuals.gates` says by regime whether a trained
    residual is part of predicted effects; scores then have "without_residual" and "with_residual" as nested
    cross-validation found them. With `config.cells` = "flow" or "auto", `transport.gates` holds what predicted cells
    differ in besides the mean, by regime, and the held-out E-distances that decided it.
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
        priors: Priors | None = None,
        transport: Transport = NO_TRANSPORT,
        residuals: Residuals = NO_RESIDUALS,
    ) -> None:
        self.genes = genes
        self.learned = learned
        self.stacks = stacks
        self.scores = scores
        self.keys = keys
        self.config = config
        self.provenance = provenance
        self.priors = priors or Priors({}, {})
        self.transport = transport
        self.residuals = residuals
        self._asker = Asker(learned, self.priors, config, genes)

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
        replicate_key: str | None = None,
        group_key: str | None = None,
        kinds: str | Mapping[str, str] | None = None,
        priors: Mapping[str, Any] | None = None,
        config: PerturbationConfig | None = None,
        stream: bool | None = None,
        seed: int = 0,
    ) -> PerturbationModel:
        """Learn effects and how far each way of predicting new ones can be trusted.

        Args:
            adata: Counts, or the path of an h5ad; a large file is read a piece at a time.
            perturbation_key: Column of obs with labels such as "A", "A+B" or the control.
            control: Label of control cells.
            covariate_keys: Columns of obs that make the context (cell type, donor, batch).
            dose_key: Column of obs with doses: a number, or "1+2" for the components of "A+B".
            library_key: Column of obs with library sizes, where the genes are a panel.
            layer: Layer with the counts.
            separator: Between the components of a label.
            replicate_key: Column of obs with biological replicates (or donors): errors of effects are then those
                over replicates, within replicates that hold both perturbed and control cells.
            group_key: Column of obs with what perturbations belong to (the target gene of a guide): a group is
                held out as a whole.
            kinds: Column of obs, or a mapping of component to kind: genetic (where nothing is said), knock_out,
                crispri, crispra, drug, cytokine or disease. Activations and knock-downs are never pooled; drugs
                and cytokines with three doses or more follow a Hill law.
            priors: By name: a GMT or edge CSV path, gene sets, a frame of places (gene or drug x dimension),
                `ScreenEffects`, or another fitted model. They must not come from conditions to be predicted.
            config: Components, ridge, shrinkage, folds.
            stream: Whether counts stay on disk; None leaves large ones there.
            seed: Of the folds.

        Raises:
            H5adError: Cells or labels that cannot be used.
            TrainingError: No controls, or no condition with enough cells.
            ConfigError: An unknown kind.
            InputError: A prior that cannot be read.
            JoinError: A prior that knows no name of the screen.
        """
        config = config or PerturbationConfig()
        column = kinds if isinstance(kinds, str) else None
        keys = Keys(
            perturbation_key,
            control,
            tuple(covariate_keys),
            dose_key,
            library_key,
            separator,
            replicate_key,
            group_key,
            column,
        )
        with open_expression(adata, layer=layer, covariate_keys=keys.columns, stream=stream) as cells:
            given = None if isinstance(kinds, str) else kinds
            learned, coexpression = learn(cells, keys, config.shrinkage, given, seed)
            genes = pd.Index(cells.var.index.astype(str), dtype=object)
            known = with_coexpression(
                as_priors(priors, learned.components, learned.groups, list(genes)), coexpression, config
            )
            transport = NO_TRANSPORT
            if config.cells != "shift":
                transport = fitted_transport(cells, keys, learned, known, config, seed)
        stacks, scores, residuals = fitted_stacks(learned, known, config, seed)
        provenance = Provenance("train perturbation", seed, {**config.model_dump(mode="json"), "keys": asdict(keys)})
        return cls(genes, learned, stacks, scores, keys, config, provenance, known, transport, residuals)

    @property
    def coverage(self) -> pd.DataFrame:
        """Measured coverage of held-out effects: regime, level, coverage, n_conditions.

        Each fold's intervals are made from the other folds; measurement noise is part of them, as of the effects.
        """
        return coverage_table(self.stacks)

    def effect(
        self,
        perturbation: str | Mapping[str, float] | GeneDosage,
        context: str | None = None,
        *,
        level: float = 0.95,
    ) -> EffectEstimate:
        """Predicted effect of a perturbation.

        Args:
            perturbation: Components and amounts, {"A": 1.0, "B": 0.5}, or a label "A+B" (amounts 1). Amounts
                are in units of `dose_key`; without one, 1 is the strength of the training data and less is
                taken as that share of the effect. A name that was never measured gets a guess and a flag.
                "KLF1 [crispra]" says the kind, where it is not that of most others. The `GeneDosage` of one
                donor asks for the knock-down of each gene that the model knows.
            context: Covariate levels joined by "|"; None where there is only one context.
            level: Of the interval.

        Raises:
            ConditionError: No component, a negative amount, or a context is needed.
        """
        amounts = as_amounts(perturbation, self.keys, self._known)
        self._check(amounts, level)
        return self._effect(amounts, context, level)

    @property
    def _known(self) -> set[str]:
        """Genes that were measured or perturbed in training, by a loss of function where that is known."""
        library = self.learned.library
        gained = {name for name, f in zip(self.learned.components, library.family) if f not in ("genetic", "loss")}
        return {*self.genes, *self.learned.components} - gained

    def _check(self, amounts: Mapping[str, float], level: float) -> None:
        if not 0 < level < 1:
            raise ConditionError(f"a level of {level}", where="level", remedy="give a share such as 0.9")
        names = set(self.learned.components)
        for name in amounts:
            ways = sorted(c for c in names if split_kind(c)[0] == name and c != name)
            if ways and name not in names and len(ways) > 1:
                raise ConditionError(
                    f"'{name}' was perturbed in {len(ways)} ways", where="perturbation", remedy=f"name one: {ways}"
                )

    def _context(self, context: str | None) -> str:
        """The context asked for, or the only one with perturbations."""
        if context is not None:
            return context
        if len(self.learned.treated) > 1:
            raise ConditionError(
                "the model knows several contexts",
                where="context",
                remedy=f"name one, such as '{self.learned.contexts[0]}'",
            )
        return self.learned.contexts[0]

    def _ask(self, amounts: dict[str, float], context: str, profile: np.ndarray | None = None) -> Question:
        return self._asker.ask(amounts, context, profile)

    def _effect(
        self,
        amounts: dict[str, float],
        context: str | None,
        level: float = 0.95,
        profile: np.ndarray | None = None,
    ) -> EffectEstimate:
        """`effect` of amounts above 0; none of them is no change."""
        if not amounts:
            nothing = np.zeros(len(self.genes))
            return EffectEstimate(nothing, nothing, nothing, "seen", "supported", "seen", level)
        return answer(self._ask(amounts, self._context(context), profile), self.stacks, level, self.residuals.of)

    def explain(
        self, perturbation: str | Mapping[str, float] | GeneDosage, context: str | None = None, n_top: int = 10
    ) -> pd.DataFrame:
        """Where a predicted effect comes from.

        Returns:
            One row a source and candidate, largest share first: `source` (label of the training condition, or the
            other screen's), `context`, `dose`, `candidate`, `estimate` (the source's effect as observed or shrunk),
            `weight` (the prediction is the sum of weight x that source's effect, exactly; a trained residual is a
            source of its own), `share` (of the prediction's squared length; shares sum to 1), `via` (what
            priors say both have in common), `genes` (that it moves most).

        Raises:
            ConditionError: As `effect`.
        """
        return self._explained(perturbation, context, n_top)[0]

    def contributions(
        self, perturbation: str | Mapping[str, float] | GeneDosage, context: str | None = None
    ) -> pd.DataFrame:
        """What each row of `explain` adds to the predicted effect (row x gene); the rows sum to it, exactly.

        Raises:
            ConditionError: As `effect`.
        """
        table, parts = self._explained(perturbation, context, 1)
        return pd.DataFrame(parts, index=table.index, columns=self.genes)

    def _explained(
        self, perturbation: str | Mapping[str, float] | GeneDosage, context: str | None, n_top: int
    ) -> tuple[pd.DataFrame, np.ndarray]:
        amounts = as_amounts(perturbation, self.keys, self._known)
        self._check(amounts, 0.5)
        question = self._ask(amounts, self._context(context)) if amounts else None
        return explained(
            question, self.stacks, self.learned, self.priors, amounts, self.genes, n_top, self.residuals.of
        )

    def programs(
        self,
        perturbation: str | Mapping[str, float] | GeneDosage,
        gene_sets: Mapping[str, Sequence[str]] | str,
        context: str | None = None,
    ) -> pd.DataFrame:
        """Gene sets that a predicted effect moves more than other genes; see `enrichment`.

        Args:
            perturbation: See `effect`.
            gene_sets: Genes by set, or the path of a GMT file.
            context: See `effect`.

        Raises:
            ConditionError: As `effect`.
            InputError: Sets that cannot be read.
        """
        return programs_of(self.effect(perturbation, context).delta, self.genes, gene_sets)

    def predict(
        self,
        control_cells: ad.AnnData | str,
        perturbation: str | Mapping[str, float] | GeneDosage,
        n_cells: int | None = None,
        seed: int = 0,
        *,
        level: float = 0.95,
    ) -> ad.AnnData:
        """Cells as they would be under a perturbation, made from real control cells.

        Args:
            control_cells: Counts of control cells, with the model's genes and covariates.
            perturbation: See `effect`.
            n_cells: Cells to make, drawn from the controls with replacement; None changes each control once.
            seed: Of the draw.
            level: Of the intervals.

        Returns:
            Integer counts; obs has `control_cell`, `perturbation`, `context`, `regime`, `support`; varm has
            `delta`, `delta_low`, `delta_high` (gene x context); `uns["genesim"]` says that it is synthetic.

        Raises:
            ConditionError: Cells that are not controls, or an unusable perturbation.
            JoinError: Genes that the cells lack.
            H5adError: Cells that cannot be used.
        """
        chosen = read_controls(control_cells, self.keys, self.genes, self.learned.reference_library, n_cells, seed)
        amounts = as_amounts(perturbation, self.keys, self._known)
        self._check(amounts, level)
        effects = {
            name: self._effect(amounts, name, level, chosen.profile(name)) for name in sorted(set(chosen.context))
        }
        shapes = {name: self._shape(amounts, effect.stratum) for name, effect in effects.items()}
        return perturbed(chosen, effects, self.keys, self.genes, amounts, seed, shapes)

    def _shape(self, amounts: Mapping[str, float], stratum: str) -> Shape:
        dose = np.array([amounts.get(name, 0.0) for name in self.learned.components])
        return self.transport.shape(self.learned, dose, stratum)

    def save(self, directory: str | Path) -> Path:
        """Write the model as one directory; it holds mean effects, no cells."""
        names = ("genes", "learned", "stacks", "scores", "keys", "config", "priors", "provenance")
        return save_parts(directory, {name: getattr(self, name) for name in (*names, "transport", "residuals")})

    @classmethod
    def load(cls, directory: str | Path) -> PerturbationModel:
        """Read a model that `save` wrote.

        Raises:
            ArtefactError: It is not one, is incomplete or was altered.
        """
        with restored(directory, KIND) as stored:
            return cls(**parts_from(stored))

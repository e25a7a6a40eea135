"""`EffectPrior`: what is known about effects before the donors are looked at, and its weights on their variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from genesim.config.effect_prior import EffectPriorConfig
from genesim.console import log
from genesim.data.effect_harmonise import Harmonised, harmonise
from genesim.data.effect_table import EffectTable, Kind, read_effect_table
from genesim.errors import ConfigError
from genesim.estimators.effect_inputs import ALL
from genesim.models.effects.combine import combine_sizes
from genesim.models.effects.location import DEFAULT_TSS_CURVE, TssCurve, table_probabilities
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.scan import PriorOf
from genesim.provenance.record import hash_input

_LN2 = float(np.log(2))


@dataclass(frozen=True)
class EffectPrior:
    """A prior over the variants of a gene's window: pi_j prop. to distance x scores x annotation x table.

    - distance: `curve(variant - TSS)`; with `settings.tss = "learn"` the curve is learned from the donors of the fit.
    - scores: exp(score_weight |score|). The sign is not used: signs of sequence models are unreliable across people
      (Huang et al. 2023, Nat. Genet. 55:2056). A variant without a score counts as 0.
    - annotation: the weight; a variant without one counts as 1, a weight of 0 leaves the variant out.
    - table: (1 - s) + s n q_j, with s = `settings.table_share`, n variants in the window, and q the probability of
      being causal in the table: its PIPs, else Wakefield's Bayes factors of beta and se (squared errors times kappa)
      under one causal variant a gene. Probability of variants that the genotypes lack is spread over the window.

    For one causal variant a gene this is the exact combination of the locations that two independent studies show,
    each with its own effect size. Sizes are combined after the fit, where asked for: `models.effects.combine`.

    Attributes:
        settings: How the parts count.
        table, scores, weights: External tables.
        curve: Distance curve; None takes what `settings.tss` says.
    """

    settings: EffectPriorConfig = field(default_factory=EffectPriorConfig)
    table: EffectTable | None = None
    scores: EffectTable | None = None
    weights: EffectTable | None = None
    curve: TssCurve | None = None

    @classmethod
    def read(cls, settings: EffectPriorConfig) -> EffectPrior:
        """The prior that `settings` describes, its files read.

        Raises:
            InputError: A table that cannot be read.
        """
        files = settings.files

        def read(name: str, kind: Kind) -> EffectTable | None:
            return read_effect_table(files[name], kind, settings.columns) if name in files else None

        return cls(settings, read("table", "effects"), read("scores", "scores"), read("weights", "weights"))

    @property
    def is_none(self) -> bool:
        """Whether every variant is as likely."""
        tables = (self.table, self.scores, self.weights, self.curve)
        return self.settings.tss == "none" and all(t is None for t in tables)

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of the files, by what they are."""
        tables = {"table": self.table, "scores": self.scores, "weights": self.weights}
        found = {f"prior.{name}": t.sha256 for name, t in tables.items() if t is not None and t.sha256}
        return found | ({"prior.fasta": hash_input(self.settings.fasta)} if self.settings.fasta else {})

    def place(
        self,
        genes: pd.DataFrame,
        variants: pd.DataFrame,
        contig_lengths: Mapping[str, int | None],
        labels: Sequence[str],
    ) -> PlacedPrior:
        """Bring the tables to a study's genes, variants (with `frequency`) and cell types.

        Raises:
            JoinError: A table that does not fit; see `harmonise`.
            ConfigError: Sizes are asked for without a table of betas, or in SDs without `table_sd`.
        """
        s = self.settings
        placed = {
            name: harmonise(
                table,
                variants,
                genes,
                policy=s.harmonise,
                contig_lengths=contig_lengths,
                cell_types=labels or None,
                fasta=s.fasta,
            )
            for name, table in (("table", self.table), ("scores", self.scores), ("weights", self.weights))
            if table is not None
        }
        if s.sizes:
            if self.table is None or self.table.rows["beta"].isna().all():
                raise ConfigError(
                    "effect sizes are to be combined, and there is no table with beta and se",
                    where="effects.prior.sizes",
                    remedy="give prior.table, or set sizes to false",
                )
            log2_per_unit(s)
        curve = self.curve if self.curve is not None else DEFAULT_TSS_CURVE if s.tss == "default" else None
        return PlacedPrior(s, genes, variants["start"].to_numpy(np.int64), placed, curve)


def log2_per_unit(settings: EffectPriorConfig) -> float:
    """log2 fold change that one unit of the table's beta is.

    Raises:
        ConfigError: The unit is SDs and their size is not given.
    """
    if settings.table_unit == "sd":
        if settings.table_sd is None:
            raise ConfigError(
                "betas are in SDs of expression, whose size in log2 units is not given",
                where="effects.prior.table_sd",
                remedy="give the log2 SD of expression between donors in the table's study (0.3 to 0.6 is usual)",
            )
        return settings.table_sd
    return 1.0 if settings.table_unit == "log2" else 1 / _LN2


class PlacedPrior:
    """An `EffectPrior` on the variants and genes of one study."""

    def __init__(
        self,
        settings: EffectPriorConfig,
        genes: pd.DataFrame,
        start: np.ndarray,
        tables: Mapping[str, Harmonised],
        curve: TssCurve | None,
    ) -> None:
        self.settings = settings
        self.curve = curve
        self.tables = dict(tables)
        self._start = start
        self._tss = genes["tss"].to_numpy(np.int64)
        self._number = {str(gene): i for i, gene in enumerate(genes.index)}
        self._scores = self._by_gene("scores", "score")
        self._weights = self._by_gene("weights", "weight")
        self._causal = self._probabilities()

    def with_curve(self, curve: TssCurve) -> PlacedPrior:
        """The same under another distance curve."""
        other = PlacedPrior.__new__(PlacedPrior)
        other.__dict__.update(self.__dict__, curve=curve)
        return other

    @property
    def report(self) -> dict[str, Any]:
        """What was done with each table, and the curve: JSON-ready."""
        found: dict[str, Any] = {name: t.report.to_dict() for name, t in self.tables.items()}
        if self.curve is not None:
            found["tss_curve"] = {"edges": list(self.curve.edges), "weights": list(self.curve.weights)}
        return found

    def distances(self, gene: int, window: np.ndarray) -> np.ndarray:
        """bp from the TSS of a gene to each variant of its window."""
        return self._start[window] - self._tss[gene]

    def of(self, cell_type: str) -> PriorOf:
        """The weights of each gene's window in one cell type, of mean 1."""

        def prior_of(gene: int, window: np.ndarray) -> np.ndarray:
            n = len(window)
            pi = np.ones(n)
            if self.curve is not None:
                pi = pi * self.curve(self.distances(gene, window))
            score = self._of_window(self._scores, gene, window, 0.0)
            if score is not None:
                raised = self.settings.score_weight * np.abs(score)
                pi = pi * np.exp(raised - raised.max(initial=0.0))
            weight = self._of_window(self._weights, gene, window, 1.0)
            if weight is not None and (pi * weight).sum() > 0:  # a window without any weight stays as it was
                pi = pi * weight
            q = self._causal_in(gene, cell_type, window)
            if q is not None:
                share = self.settings.table_share
                pi = pi * ((1 - share) + share * n * q)
            return pi * (n / max(pi.sum(), 1e-300))

        return prior_of

    def sizes(self, cell_type: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """gene, variant, beta and se (log2 per ALT copy, se times sqrt kappa) of the table's rows for a cell type."""
        rows = self.tables["table"].matched
        rows = rows[rows["beta"].notna() & rows["se"].notna()]
        rows = rows[rows["cell_type"].isin(["", cell_type])] if cell_type != ALL else rows[rows["cell_type"] == ""]
        rows = rows.sort_values("cell_type", ascending=False, kind="stable").drop_duplicates(["gene", "variant"])
        unit = log2_per_unit(self.settings)
        gene = rows["gene"].map(self._number).to_numpy(np.int64)
        error = rows["se"].to_numpy() * unit * np.sqrt(self.settings.kappa)
        return gene, rows["variant"].to_numpy(np.int64), rows["beta"].to_numpy() * unit, error

    def _by_gene(self, name: str, column: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Variants (ascending) and values of each gene; -1 has those of every gene."""
        if name not in self.tables:
            return {}
        rows = self.tables[name].matched.sort_values("variant", kind="stable")
        number = rows["gene"].map(self._number).fillna(-1).astype(int)
        return {
            int(gene): (part["variant"].to_numpy(), part[column].to_numpy())  # type: ignore[call-overload]
            for gene, part in rows.groupby(number)
        }

    @staticmethod
    def _of_window(
        table: dict[int, tuple[np.ndarray, np.ndarray]], gene: int, window: np.ndarray, absent: float
    ) -> np.ndarray | None:
        """Values of a window's variants; a row about the gene itself comes before one about any gene."""
        if not table:
            return None
        values = np.full(len(window), absent)
        for which in (-1, gene):
            if which in table:
                variant, value = table[which]
                at = np.minimum(np.searchsorted(variant, window), len(variant) - 1)
                values = np.where(variant[at] == window, value[at], values)
        return values

    def _probabilities(self) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
        """Variants (ascending) and their probability of being causal, by gene and the table's cell type."""
        if "table" not in self.tables:
            return {}
        found = {}
        rows = self.tables["table"].rows
        for (gene, cell_type), part in rows.groupby(["gene", "cell_type"], sort=False):
            pip = part["pip"]
            if pip.notna().any():
                q = pip.fillna(0.0).to_numpy() / max(float(pip.sum()), 1.0)
            else:
                q = table_probabilities(part["beta"].to_numpy(), part["se"].to_numpy(), self.settings.kappa)
            here = part["variant"].to_numpy() >= 0
            total = pd.Series(q[here]).groupby(part["variant"].to_numpy()[here]).sum()
            found[self._number[str(gene)], str(cell_type)] = (total.index.to_numpy(np.int64), total.to_numpy())
        return found

    def _causal_in(self, gene: int, cell_type: str, window: np.ndarray) -> np.ndarray | None:
        """q of a window: of the cell type, else untyped, in "all" the mean over types; None where the table is mute."""
        own = [key for key in ((gene, cell_type), (gene, "")) if key in self._causal][:1]
        if not own and cell_type == ALL:
            own = [key for key in self._causal if key[0] == gene]
        if not own:
            return None
        q = np.zeros(len(window))
        for key in own:
            variant, probability = self._causal[key]
            if len(variant):
                at = np.minimum(np.searchsorted(variant, window), len(variant) - 1)
                q += np.where(variant[at] == window, probability[at], 0.0) / len(own)
        # What the table gives to variants outside of the window, or not in the genotypes, says nothing about these.
        return q + max(1 - q.sum(), 0.0) / max(len(window), 1)


def resolve_prior(prior: EffectPrior | None, settings: EffectPriorConfig) -> EffectPrior | None:
    """The prior given, else the one that the configuration describes; None where that is none."""
    prior = EffectPrior.read(settings) if prior is None and not settings.is_none else prior
    return None if prior is None or prior.is_none else prior


def with_learned_curve(placed: PlacedPrior, curve: TssCurve, p1: float) -> PlacedPrior:
    """`placed` under a curve learned from the donors, which is logged."""
    shown = ", ".join(f"{e / 1000:g} kb {w:.2g}" for e, w in zip(curve.edges, curve.weights, strict=True))
    log.info("cis effects: weight by distance to the TSS up to %s; %.0f %% of genes with an effect", shown, 100 * p1)
    return placed.with_curve(replace(curve))


def with_table_sizes(posterior: EffectPosterior, placed: PlacedPrior, cell_type: str) -> EffectPosterior:
    """The fit of one cell type with its sizes combined with the table's; what was done is logged."""
    combined = combine_sizes(posterior, *placed.sizes(cell_type))
    log.info(
        "cis effects, %s: %d sizes combined with the table's; left: %d in conflict, %d genes of several effects",
        cell_type,
        *combined[1:],
    )
    return combined.posterior

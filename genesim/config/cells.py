"""Cells of a scenario: how many, of which types, how deep, in which batches and states."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from genesim.config.base import Record
from genesim.config.effects import GeneEffects


class Batches(Record):
    """Technical batches planted on top of what the expression model has learned."""

    n: PositiveInt = 1
    sd_log2: NonNegativeFloat = 0.0
    """SD over genes of each batch's log2 fold change; its first batch has none."""


class StateScenario(Record):
    """A continuous state of each cell, as pseudotime, in [0, 1]."""

    name: str = Field("state", pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Column of obs."""
    law: Literal["uniform", "beta"] = "uniform"
    a: PositiveFloat = 2.0
    """First shape parameter of the beta law."""
    b: PositiveFloat = 2.0
    """Second shape parameter of the beta law."""
    program: PositiveInt | None = None
    """Instead of a law: the state is how far a cell is along this gene program of the expression model (1 is the
    first), whose genes therefore change along it."""
    expression: GeneEffects | None = None
    """Genes that change along the state, whatever the genotype."""


class CellsScenario(Record):
    """Cells of the new donors."""

    n_cells: PositiveInt = 5000
    """Total over all donors."""
    cells_per_donor_cv: NonNegativeFloat = 0.3
    """Coefficient of variation of the number of cells of a donor."""
    composition: dict[str, PositiveFloat] | None = None
    """Share of each cell type (any positive weights); none keeps the training mix."""
    composition_concentration: PositiveFloat | None = 50.0
    """Dirichlet concentration of each donor's composition around the mean; none gives all donors the same."""
    library_size_scale: PositiveFloat = 1.0
    """Factor on the learned library sizes: sequencing depth."""
    batches: Batches = Batches()
    covariates: dict[str, str] = Field(default_factory=dict)
    """Level of each further categorical covariate, one for all cells; those left out keep the training mix."""
    state: StateScenario | None = None
    pseudo_trans: bool = False
    """Rescale each cell's rates to sum to one after the planted changes, so that a gene that goes up pushes all
    others down."""

"""A disease: liability of polygenic risk, age, sex and chance; who is a case; what it does to expression."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from genesim.config.base import Record
from genesim.config.effects import TypedGeneEffects


class Disease(Record):
    """The liability-threshold model (Falconer 1965, Ann Hum Genet 29:51): those whose liability, of variance 1, is
    above the threshold that `prevalence` sets are cases."""

    prevalence: float = Field(0.1, gt=0, lt=1)
    """Share of cases in the population that donors are drawn from."""
    h2_liability: float = Field(0.5, ge=0, lt=1)
    """Share of the liability's variance that is polygenic risk, at the training frequencies in linkage equilibrium."""
    n_causal: PositiveInt = 20
    """Causal variants, drawn from the common ones of the haplotype models."""
    min_maf: float = Field(0.05, gt=0, lt=0.5)
    weights: dict[str, float] = Field(default_factory=dict)
    """Declared instead: relative weight of each variant's ALT allele; `h2_liability` scales them."""
    age: float = Field(0.0, ge=-1, le=1)
    """Change of liability per SD of age."""
    sex: float = Field(0.0, ge=-2, le=2)
    """Liability of males over females."""
    n_cases: PositiveInt | None = None
    """Case/control sampling: exactly so many of the donors are cases; none takes donors as they come."""
    case_share: float | None = Field(None, gt=0, lt=1)
    """The same as a share of the donors, rounded."""
    expression: TypedGeneEffects | None = None
    """Genes that cases express differently."""

    @model_validator(mode="after")
    def _sampling(self) -> Disease:
        if self.n_cases is not None and self.case_share is not None:
            raise ValueError("set either 'n_cases' or 'case_share', not both")
        if any(not weight for weight in self.weights.values()):
            raise ValueError("a weight is 0: leave the variant out")
        return self

    @property
    def is_sampled(self) -> bool:
        """Whether donors are taken by case status."""
        return self.n_cases is not None or self.case_share is not None

    def cases_of(self, n_donors: int) -> int:
        """How many of `n_donors` are to be cases, where donors are taken by status."""
        return self.n_cases if self.n_cases is not None else round((self.case_share or 0.0) * n_donors)

"""One rule for everything that is more than the simplest answer: it must beat it by more than one standard error."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Gate:
    """Whether an addition is used, and what that was decided on.

    Attributes:
        open: Used, for its loss is lower by more than one standard error (or what `decide` was given).
        n: Held-out conditions compared.
        before, after: Their mean loss without and with the addition; NaN where none was compared.
        standard_error: Of the difference.
    """

    open: bool
    n: int
    before: float
    after: float
    standard_error: float

    def to_dict(self) -> dict[str, object]:
        """JSON types; NaN as None."""
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: dict[str, object]) -> Gate:
        """What `to_dict` gave."""
        return cls(**{k: float("nan") if v is None else v for k, v in stored.items()})  # type: ignore[arg-type]


SHUT = Gate(False, 0, float("nan"), float("nan"), float("nan"))
"""Nothing was tried."""


def decide(
    before: Float[np.ndarray, " condition"],
    after: Float[np.ndarray, " condition"],
    least: int = 3,
    n_errors: float = 1.0,
) -> Gate:
    """The gate, from losses of the same held-out conditions without and with the addition.

    Fewer than `least` conditions decide nothing, and the gate stays shut. It opens beyond `n_errors` standard errors.
    """
    n = len(before)
    if n == 0:
        return SHUT
    gain = before - after
    error = float(gain.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    opened = n >= least and bool(gain.mean() > n_errors * error) and bool(gain.mean() > 0)
    return Gate(opened, n, float(before.mean()), float(after.mean()), error)

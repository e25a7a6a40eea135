"""The JSON files of a release bundle, one record each: what is written is what `genesim validate` reads back.

A figure that is not a number is null. Numbers of real donors below `FEWEST_SHOWN` are written as "<5".
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from genesim.config.base import Record
from genesim.errors import ArtefactError

FEWEST_SHOWN = 5
"""Smallest number of real donors that is written out: a smaller group could single somebody out."""
Digest = Annotated[str, AfterValidator(lambda text: _digest(text))]
Finite = Annotated[float | None, BeforeValidator(lambda value: _finite(value))]
Donors = int | Literal["<5"]


def _digest(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("is no SHA-256")
    return text


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(n: int) -> Donors:
    """A number of real donors as it may be written."""
    return "<5" if 0 < n < FEWEST_SHOWN else int(n)


class Row(Record):
    """One score: a value with its interval, between its floor and its null."""

    subject: str
    metric: str
    label: str
    family: str
    value: Finite
    low: Finite
    high: Finite
    floor: Finite
    null: Finite
    n: int
    """Cells, haplotypes or effects behind the value."""
    unit: str
    verdict: str
    level: str
    meaning: str


class Training(Record):
    """What a model was trained on."""

    cohort_sha256: Digest
    """Of the cohort's manifest."""
    n_donors: Donors
    n_cells: int | None
    n_genes: int | None
    n_variants: int | None
    ancestry: dict[str, Donors]
    sex: dict[str, Donors]
    held_out_donors: Donors
    """Donors kept from all training."""


class GroupRow(Record):
    """One score within one group."""

    attribute: str
    group: str
    metric: str
    label: str
    value: Finite
    low: Finite
    high: Finite
    floor: Finite
    gap: Finite
    """value - floor: how much worse than real training donors of the same group. The floor of planted effects is as
    many simulated donors of all groups, that of attacks is chance."""
    gap_low: Finite
    gap_high: Finite
    n_held_out: int
    n_simulated: int
    unit: str


class ModelCard(Record):
    """What one trained model is, after Mitchell et al. 2019, Model Cards for Model Reporting."""

    format: Literal["genesim-model-card-1"] = "genesim-model-card-1"
    name: str
    modality: str
    method: str
    title: str
    fitted_by: str
    hands_out_training_haplotypes: bool
    """True of a model that copies stretches of training haplotypes by design."""
    citations: tuple[str, ...]
    model_sha256: Digest
    """Of the model directory's manifest; the weights are not in the bundle."""
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]
    training: Training
    intended_uses: tuple[str, ...]
    uses_to_avoid: tuple[str, ...]
    limits: tuple[str, ...]
    privacy_mechanism: str
    scores: tuple[Row, ...]
    """On held-out donors, weakest first."""
    groups: tuple[GroupRow, ...] = ()
    """Scores within groups of donors that are about this model, the worst first, as fairness.json has them."""


class Answer(Record):
    """One question of the data sheet."""

    id: str
    section: str
    question: str
    answer: str | None
    answered_by: Literal["record", "releaser"] | None
    file: str | None = None
    """The file of the bundle that shows it."""


class DataSheet(Record):
    """Gebru et al. 2018, Datasheets for Datasets (arXiv:1803.09010), questions shortened."""

    format: Literal["genesim-datasheet-1"] = "genesim-datasheet-1"
    items: tuple[Answer, ...]
    not_answered: tuple[str, ...]


class Threat(Record):
    """One way to learn of a real donor."""

    threat: str
    metrics: tuple[str, ...] = ()
    """Rows that tried it; none where it was not tried."""


class Privacy(Record):
    """What was tested of privacy, what it found, and what was not tested."""

    format: Literal["genesim-privacy-1"] = "genesim-privacy-1"
    conclusion: Literal["signs of training data", "inconclusive", "no sign of training data in the tests that were run"]
    reasons: tuple[str, ...]
    unit: str
    mechanism: str
    epsilon: Finite = None
    n_donors: dict[str, Donors]
    smallest_detectable_auc: dict[str, Finite]
    """AUC above which chance alone is unlikely (one in 40) with as many donors, by kind of data."""
    donor_audit: dict[str, Any] = Field(default_factory=dict)
    """The attacks on donors' cells with their planted controls, as `evidence/donor_privacy.json` has them."""
    rows: tuple[Row, ...]
    tested: tuple[Threat, ...]
    not_tested: tuple[Threat, ...]


class Group(Record):
    """One group of donors and its share."""

    ancestry: str
    sex: str
    n_train: Donors
    n_held_out: Donors
    n_simulated: int
    log_ratio: Finite
    """Natural logarithm of (share of simulated donors / share of training donors)."""
    low: Finite
    high: Finite
    enough: bool
    """Whether each side has the smallest number of donors that is scored."""


class Fairness(Record):
    """Representation and scores by ancestry and sex, the worst group first."""

    format: Literal["genesim-fairness-1"] = "genesim-fairness-1"
    attributes: str
    smallest_group: int
    groups: tuple[Group, ...]
    rows: tuple[GroupRow, ...]
    worst: dict[str, str]
    """The worst group by metric."""
    not_scored: tuple[str, ...]


class Asked(Record):
    """One thing that a text asks for."""

    id: str
    asks: str
    status: Literal["answered", "partly", "not answered here"]
    files: tuple[str, ...] = ()
    note: str = ""


class Text(Record):
    """One law, guidance or standard."""

    name: str
    source: str
    items: tuple[Asked, ...]


class Governance(Record):
    """Which file answers what is asked; no claim that anything is complied with."""

    format: Literal["genesim-governance-1"] = "genesim-governance-1"
    statement: str
    texts: tuple[Text, ...]


class Bundle(Record):
    """The bundle's own index."""

    format: Literal["genesim-release-1"] = "genesim-release-1"
    title: str
    synthetic: Literal[True] = True
    genesim: str
    publisher: str | None
    contact: str | None
    license: str | None
    cohort_sha256: Digest
    simulated_sha256: Digest
    evaluation_sha256: Digest
    models_sha256: dict[str, Digest]
    not_answered: tuple[str, ...]
    """Whatever a person still has to answer, or has to accept as unanswered."""
    files: dict[str, str]
    """What each file or folder is."""


class Approval(Record):
    """A named person's approval of one bundle's hash. It is a statement, not a signature."""

    format: Literal["genesim-approval-1"] = "genesim-approval-1"
    bundle_sha256: Digest
    name: str
    role: str
    statement: str
    time: str
    accepted_unanswered: tuple[str, ...]


R = TypeVar("R", bound=Record)


def to_json(record: Record) -> str:
    """A record as the bytes that go into the bundle."""
    return json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def from_json(record: type[R], path: Path) -> R:
    """Read a record.

    Raises:
        ArtefactError: The file is absent, no JSON, or not of the record's form.
    """
    try:
        return record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtefactError(
            f"cannot be read ({error.strerror})", where=str(path), remedy="take another copy"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "file"
        raise ArtefactError(
            f"{key}: {first['msg']}", where=str(path), remedy="make the bundle with this version of genesim"
        ) from error

"""One hierarchy of errors. A message says what was found, where (file, record, donor) and what to do.

Exit codes go by class, so that a scheduler can tell a typo in the config from a damaged input.
"""

from __future__ import annotations


class GenesimError(Exception):
    """Base of every error that genesim raises on purpose.

    Args:
        found: What was found, as one sentence.
        where: The file, record, donor, gene or config key concerned.
        remedy: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, found: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.found = found
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}" if self.where else self.found
        return f"{text} -> {self.remedy}" if self.remedy else text


class ConfigError(GenesimError):
    """A configuration or scenario value that cannot be used."""

    exit_code = 2


class InputError(GenesimError):
    """An input file that is damaged, of the wrong kind or inconsistent with another one."""

    exit_code = 3


class VcfError(InputError):
    """A VCF/BCF/PLINK input that cannot be trusted or read."""


class H5adError(InputError):
    """An h5ad input or AnnData whose counts, names or structure cannot be used."""


class JoinError(InputError):
    """Donors, genes or contigs that do not match between inputs."""


class ArtefactError(GenesimError):
    """A cohort, model or checkpoint of genesim's own that is incomplete or was altered."""

    exit_code = 4


class ConditionError(GenesimError):
    """A condition asked of a model that it was not trained on."""

    exit_code = 5


class TrainingError(GenesimError):
    """A training run that cannot go on (non-finite loss, nothing to learn from)."""

    exit_code = 6


class ResourceError(GenesimError):
    """Not enough disk or memory, or an output location that cannot be written or is in use."""

    exit_code = 7

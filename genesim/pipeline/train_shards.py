"""train effects in jobs: init (what all genes share), partition (a part of the genes), finalise (the model).

The model is that of `train("effects", ...)`, byte for byte, whatever the number of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genesim.config.model import ModelsConfig
from genesim.console import log
from genesim.data.cohort import load_cohort
from genesim.data.genotypes.record import Genotypes
from genesim.data.kinship_table import read_kinship
from genesim.errors import ArtefactError, ConfigError
from genesim.estimators.effect_fit import fit_part, init_study
from genesim.estimators.effect_study import EffectPart, EffectStudy
from genesim.estimators.effects import EffectModel
from genesim.pipeline.train import _effect_inputs
from genesim.provenance.record import hash_input


def init_effects(
    cohort: str | Path,
    *,
    out: str | Path,
    config: ModelsConfig | None = None,
    seed: int = 0,
    kinship: str | Path | None = None,
) -> EffectStudy:
    """Learn from all training donors what every gene's fit needs, and save it.

    Args:
        cohort: Directory of a cohort.
        out: Study directory to write.
        kinship: Donor x donor table of kinship coefficients.

    Raises:
        ConfigError: The effect model is to be made of a table, which takes no fit.
        InputError, JoinError, TrainingError: See `EffectModel.fit`.
    """
    config = config or ModelsConfig()
    if config.effects.method == "table":
        raise ConfigError(
            "an effect model that is made of a table has no genes to fit",
            where="models.effects.method",
            remedy="train effects without --init",
        )
    table = None if kinship is None else read_kinship(kinship)
    study = init_study(
        **_effect_inputs(load_cohort(cohort, cells_on_disk=True, genotypes_on_disk=True), config, table), seed=seed
    )
    source = {"cohort": hash_input(cohort)} | ({} if kinship is None else {"kinship": hash_input(kinship)})
    study = replace(study, inputs=source | study.inputs)
    study.save(out)
    log.info("study of %d genes: %s", len(study.genes), out)
    return study


def _loaded(cohort: str | Path, study: str | Path) -> tuple[EffectStudy, Genotypes]:
    found = EffectStudy.load(study)
    if found.inputs.get("cohort") != hash_input(cohort):
        raise ArtefactError(
            "the study was made of another cohort", where=str(study), remedy=f"run train effects --init on {cohort}"
        )
    return found, load_cohort(cohort, cells=False, genotypes_on_disk=True).genotypes_of("train")


def train_effects_part(cohort: str | Path, study: str | Path, *, shard: tuple[int, int], out: str | Path) -> EffectPart:
    """Fit every n-th batch of the genes from the k-th (0 the first), `shard` being `(k, n)`; cells are not read.

    Raises:
        ArtefactError: The study is damaged, or of another cohort.
    """
    found, genotypes = _loaded(cohort, study)
    part = fit_part(found, genotypes, shard)
    part.save(out, found.seed)
    log.info("part %d/%d: %s", shard[0] + 1, shard[1], out)
    return part


def join_effects(cohort: str | Path, study: str | Path, parts: Sequence[str | Path], *, out: str | Path) -> EffectModel:
    """Make the effect model of its parts, which `train_effects_part` wrote.

    Raises:
        ArtefactError: The study or a part is damaged, or of another cohort.
        TrainingError: A part is lacking, or they are not of this study.
    """
    found, genotypes = _loaded(cohort, study)
    model = EffectModel.join(found, [EffectPart.load(path) for path in parts], genotypes)
    model.save(out)
    log.info("model: %s", out)
    return model

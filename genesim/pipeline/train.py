"""train: fit one model on the cohort's training donors -> `models/<id>/`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genesim.config.model import ModelsConfig
from genesim.console import log
from genesim.data.cohort import Cohort, load_cohort
from genesim.data.kinship_table import read_kinship
from genesim.data.ploidy import FEMALE, MALE, kind_of
from genesim.errors import ConfigError
from genesim.estimators.effect_structure import twins_across
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.provenance.record import Provenance, hash_input

Model = ExpressionModel | HaplotypeModel | EffectModel
MODELS = tuple(ModelsConfig.model_fields)


def _keys(cohort: Cohort) -> dict:
    """The keys that the cohort's cells were prepared with."""
    inputs = cohort.info["inputs"]
    return {name: inputs[name] for name in ("labels_key", "batch_key")} | {
        name: tuple(inputs[name]) for name in ("categorical_covariate_keys", "continuous_covariate_keys")
    }


def train_expression(cohort: Cohort, config: ModelsConfig, seed: int, checkpoints: Path | None) -> ExpressionModel:
    """Expression model of the training donors' cells."""
    expression = config.expression
    if expression.method == "auto" and set(expression.candidates) != {"copula"}:
        # Simulated donors carry planted effects, and a copula has no rates that they could change.
        networks = tuple(name for name in expression.candidates if name != "copula")
        expression = expression.model_copy(update={"candidates": networks})
    return ExpressionModel.fit(
        cohort.cells_of("train"),
        **_keys(cohort),
        config=expression,
        seed=seed,
        checkpoint_dir=checkpoints,
    )


def train_haplotypes(
    cohort: Cohort,
    config: ModelsConfig,
    seed: int,
    checkpoints: Path | None,
    contig: str | None,
    shard: tuple[int, int] | None = None,
) -> HaplotypeModel:
    """Haplotype model of the training donors' genotypes on one contig, or on all; or one shard of it."""
    here = None if contig is None else cohort.genotypes.variants["contig"].to_numpy() == contig
    genotypes = cohort.genotypes_of("train", variants=here)
    sex = cohort.donors["sex"].reindex(genotypes.donors)
    known = sex.isin([FEMALE, MALE]).all()
    special = sorted({str(c) for c in genotypes.variants["contig"].unique() if kind_of(str(c)) != "autosome"})
    if special and not known:
        log.warning("contigs %s: copies are taken as called, for the sex of some donors is not known", special)
    return HaplotypeModel.fit(
        genotypes,
        ancestry=cohort.donors["ancestry"].reindex(genotypes.donors),
        sex=sex if special and known else None,
        config=config.haplotypes,
        seed=seed,
        checkpoint_dir=checkpoints,
        shard=shard,
    )


def _effect_inputs(cohort: Cohort, config: ModelsConfig, kinship: pd.DataFrame | None) -> dict[str, Any]:
    """Arguments of the effects' fit: the training donors that have both cells and genotypes."""
    across = twins_across(cohort.genotypes, cohort.donors["split"])
    if across:
        log.warning(
            "cis effects: %d pairs of training and test donors have one genome: %s; if they are one person under two "
            "ids, scores on the test donors are too good",
            len(across),
            ", ".join(" and ".join(pair) for pair in across[:5]),
        )
    covariates = pd.get_dummies(
        cohort.donors.loc[cohort.donors["has_cells"], ["ancestry", "sex"]].astype(str),
        drop_first=True,
        dtype=float,
    )
    return {
        "expression": cohort.cells_of("train"),
        "geno": cohort.genotypes_of("train"),
        "genes": cohort.genes[cohort.genes["contig"] != ""],
        "donor_key": "donor",
        "labels_key": cohort.info["inputs"]["labels_key"],
        "covariates": covariates,
        "kinship": kinship,
        "config": config.effects,
    }


def train_effects(cohort: Cohort, config: ModelsConfig, seed: int, kinship: pd.DataFrame | None = None) -> EffectModel:
    """cis effects of the training donors that have both cells and genotypes; or those of a table alone."""
    if config.effects.method == "table":
        if config.effects.prior.table is None:
            raise ConfigError(
                "the effect model is to be made of a table, and none is given",
                where="models.effects.prior.table",
                remedy="name the table, or set models.effects.method to 'cells'",
            )
        geno, genes = cohort.genotypes_of("train"), cohort.genes[cohort.genes["contig"] != ""]
        return EffectModel.from_table(config.effects.prior.table, geno, genes, config=config.effects, seed=seed)
    return EffectModel.fit(**_effect_inputs(cohort, config, kinship), seed=seed)


def train(
    which: str,
    cohort: Cohort | str | Path,
    *,
    out: str | Path,
    config: ModelsConfig | None = None,
    contig: str | None = None,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    kinship: str | Path | None = None,
) -> Model:
    """Fit `which` model on the cohort's training donors and save it.

    Args:
        which: "expression", "haplotypes" or "effects".
        cohort: A cohort, or its directory.
        out: Model directory to write.
        contig: Only this contig (haplotypes).
        checkpoints: Directory from which a killed training goes on exactly; removed when done.
        shard: `(k, n)`: only every n-th window of the haplotypes, from the k-th (0 the first); see `join_haplotypes`.
        kinship: Donor x donor table of kinship coefficients (effects).

    Raises:
        ConfigError: `which` is no model, or `contig` is not in the cohort.
        InputError, JoinError: A kinship table that cannot be used.
    """
    config = config or ModelsConfig()
    if which not in MODELS:
        raise ConfigError(f"no model is called {which!r}", where="train", remedy=f"choose among {', '.join(MODELS)}")
    source: dict[str, str] = {}
    if not isinstance(cohort, Cohort):
        directory = cohort
        cohort = load_cohort(
            directory,
            genotypes=which != "expression",
            cells=which != "haplotypes",
            cells_on_disk=True,
            genotypes_on_disk=True,
        )
        source = {"cohort": hash_input(directory)}
    if contig is not None and contig not in set(cohort.genotypes.variants["contig"]):
        raise ConfigError(f"contig {contig!r} is not in the cohort", where="train", remedy="see inputs.contigs")
    table = None if kinship is None else read_kinship(kinship)
    if kinship is not None:
        source["kinship"] = hash_input(kinship)
    folder = Path(checkpoints) if checkpoints is not None else None
    model: Model
    if which == "expression":
        model = train_expression(cohort, config, seed, folder)
    elif which == "haplotypes":
        model = train_haplotypes(cohort, config, seed, folder, contig, shard)
    else:
        model = train_effects(cohort, config, seed, table)
    settings = getattr(config, which).model_dump(mode="json")
    if isinstance(model, EffectModel):  # its own record says what was found out about donors and tables
        settings, source = model.provenance.config, source | model.provenance.inputs
    model.save(out, Provenance(f"train {which}", seed, settings, source))
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)  # the model stands; its checkpoints have served
    log.info("model: %s", out)
    return model


def join_haplotypes(shards: Sequence[str | Path], *, out: str | Path) -> HaplotypeModel:
    """Make the haplotype model of its shards, which `train` wrote.

    Raises:
        ArtefactError: A shard is damaged, or no haplotype model.
        ConfigError, TrainingError: They are not the shards of one model, or one is lacking.
    """
    model = HaplotypeModel.join([HaplotypeModel.load(path) for path in shards])
    inputs = {str(number): hash_input(path) for number, path in enumerate(shards)}
    model.save(out, Provenance("train haplotypes", model.seed, model.config.model_dump(mode="json"), inputs))
    log.info("model: %s", out)
    return model

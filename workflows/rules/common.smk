# Wiring only: what the rules share. Logic lives in the package.
import json
import os
import re
from pathlib import Path

from genesim.config.run import workflow_run
from genesim.errors import ConfigError

try:
    RUN, INPUTS = workflow_run(dict(config))
except ConfigError as error:
    raise WorkflowError(str(error)) from error
PATHS = RUN.pathvars.resolved()
RESULTS = PATHS["results"]
# Every command's start and end, its time and memory, in one file; a job on another node reads this line again.
os.environ.setdefault("GENESIM_RUN_LOG", f"{PATHS['logs']}/run.jsonl")
CONTIGS = [] if INPUTS is None else list(INPUTS.contigs)
PERTURBATIONS = {} if RUN.perturbation is None else RUN.perturbation.requests()

REPLICATES = RUN.replicate_seeds() if INPUTS is not None else {}


scattergather:
    effects=RUN.workflow.effect_shards,
    cells=RUN.workflow.cell_shards,


wildcard_constraints:
    replicate=r"\d+",
    contig="|".join(map(re.escape, CONTIGS)) or "none",
    shard=r"\d+",
    perturbation="|".join(map(re.escape, PERTURBATIONS)) or "none",


def section(*names, **parts):
    """The part of the run's config that one rule depends on, as inline JSON for --config."""
    whole = RUN.model_dump(mode="json")
    chosen = {name: whole[name] for name in ("seed", *names)}
    return json.dumps({**chosen, **parts}, sort_keys=True)


def folder(path, level=1):
    """The directory that holds `path`, `level` levels up: an artefact's, given its manifest."""
    return str(Path(path).parents[level - 1])


def options(name, manifests):
    """An option repeated for every artefact, given their manifests."""
    return [text for path in manifests for text in (name, folder(path))]


def parts_of(manifests):
    """Options that name the parts of a scattered step."""
    return options("--part", manifests)


def shard_of(wildcards):
    """`k/n` of a scattered job, as the command line has it."""
    return wildcards.scatteritem.replace("-of-", "/")


def models_section(name):
    """The settings of one model."""
    return section(models={name: getattr(RUN.models, name).model_dump(mode="json")})


SCENARIO_SECTION = section("scenario")
# Who is taken by case status depends on the genotypes of all contigs, so every contig's job needs all models.
SCENARIO = RUN.resolved_scenario()
IS_SAMPLED = SCENARIO.disease is not None and SCENARIO.disease.is_sampled
JOINT_CONTIGS = CONTIGS if IS_SAMPLED else []
# Donors of a VCF need no drawing.
DRAWN_CONTIGS = CONTIGS if SCENARIO.population.vcf is None else []
EXAMPLE_SECTION = section("example")
EVALUATE_SECTION = section(
    "evaluate", models={"effects": RUN.models.effects.model_dump(mode="json")}
)
REPORT_SECTION = section("example", "report")
PERTURBED = ["<results>/perturb/effects.parquet"] if PERTURBATIONS else []
if INPUTS is not None:
    # Kinship is read when effects are trained.
    INPUTS_SECTION = section(inputs=INPUTS.model_dump(mode="json", exclude={"kinship"}))
    # Reading a VCF takes long: it is not done again because, say, another column of the cells is used.
    GENOTYPES_SECTION = section(
        inputs=INPUTS.model_dump(
            mode="json", include={"h5ad", "vcf", "genotypes", "phase"}
        )
    )
    RAW_FILES = [
        str(p)
        for p in (INPUTS.h5ad, INPUTS.vcf, INPUTS.donors, INPUTS.genes)
        if p is not None
    ]
if RUN.perturbation is not None:
    # A longer sweep neither trains nor predicts again what is there.
    SCREEN = RUN.perturbation.model_dump(mode="json", exclude={"sweep"})
    TRAIN_PERTURBATION_SECTION = section(
        perturbation={
            k: v for k, v in SCREEN.items() if k not in ("controls", "n_cells")
        }
    )
    PERTURB_SECTION = section(perturbation=SCREEN)

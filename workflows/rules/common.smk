# Wiring only: what the rules share. Logic lives in the package.
import json

from genesim.config import base as config_records
from genesim.config.run import RunConfig, example_inputs

RUN = config_records.parse(RunConfig, dict(config), where="workflow config")
PATHS = RUN.pathvars.model_dump()
RESULTS = PATHS["results"]
EXAMPLE = f"{PATHS['results']}/example"
INPUTS = example_inputs(EXAMPLE, RUN.example) if RUN.example else RUN.inputs
if INPUTS is None:
    raise ValueError("config: set 'example' or 'inputs'")
if not INPUTS.contigs:
    raise ValueError(
        "config: 'inputs.contigs' lists the contigs that jobs are scattered over"
    )
CONTIGS = list(INPUTS.contigs)


wildcard_constraints:
    contig="|".join(CONTIGS),


def section(**parts):
    """The part of the run's config that one rule depends on, as inline JSON for --config."""
    return json.dumps({"seed": RUN.seed, **parts}, sort_keys=True, default=str)


def models_section(name):
    """The settings of one model."""
    return section(models={name: getattr(RUN.models, name).model_dump(mode="json")})


INPUTS_SECTION = section(inputs=INPUTS.model_dump(mode="json"))
SCENARIO_SECTION = section(scenario=RUN.resolved_scenario().model_dump(mode="json"))
EXAMPLE_SECTION = section(example=RUN.example.model_dump() if RUN.example else None)
EVALUATE_SECTION = section(
    evaluate=RUN.evaluate.model_dump(mode="json"),
    models={"effects": RUN.models.effects.model_dump(mode="json")},
)
RAW_FILES = [
    str(p)
    for p in (INPUTS.h5ad, INPUTS.vcf, INPUTS.donors, INPUTS.genes)
    if p is not None
]

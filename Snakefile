# The workflow from raw VCF and h5ad to the report. `snakemake --profile profiles/default` runs the built-in example;
# `--configfile config/onek1k.yaml` another run.
from snakemake.utils import min_version

min_version("9.14")


# Snakemake adds --configfile to this one instead of replacing it, so the example stands aside for a run of its own.
if not {"example", "inputs", "perturbation"} & set(config):

    configfile: "config/config.yaml"


include: "workflows/rules/common.smk"


pathvars:
    **PATHS,


if INPUTS is not None:

    include: "workflows/rules/prepare.smk"
    include: "workflows/rules/train.smk"
    include: "workflows/rules/simulate.smk"
    include: "workflows/rules/evaluate.smk"


if REPLICATES:

    include: "workflows/rules/replicates.smk"


if RUN.perturbation is not None:

    include: "workflows/rules/perturb.smk"


rule all:
    default_target: True
    input:
        [
            "<results>/report.html",
            "<results>/sim/sim.vcf.gz",
            "<results>/sim/sim.h5ad",
        ]
        * (INPUTS is not None),
        ["<results>/replicates/scores.parquet"] * bool(REPLICATES),
        ["<results>/perturb/effects.parquet"] * (RUN.perturbation is not None),

rule train_perturbation:
    input:
        screen=str(RUN.perturbation.h5ad),
    output:
        "<results>/models/perturbation/manifest.sha256",
    log:
        "<logs>/train_perturbation.log",
    benchmark:
        "<benchmarks>/train_perturbation.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=120,
    params:
        config=TRAIN_PERTURBATION_SECTION,
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim train perturbation --config {params.config:q} --out {params.out:q} > {log:q} 2>&1"


rule perturb:
    input:
        model="<results>/models/perturbation/manifest.sha256",
        cells=str(RUN.perturbation.controls or RUN.perturbation.h5ad),
    output:
        "<results>/perturb/{perturbation}/{perturbation}.h5ad",
        "<results>/perturb/{perturbation}/effects.parquet",
        "<results>/perturb/{perturbation}/manifest.sha256",
    log:
        "<logs>/perturb.{perturbation}.log",
    benchmark:
        "<benchmarks>/perturb.{perturbation}.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=30,
    params:
        config=PERTURB_SECTION,
        amounts=lambda wildcards: RUN.perturbation.separator.join(
            f"{name}:{amount!r}"
            for name, amount in PERTURBATIONS[wildcards.perturbation].items()
        ),
        model=lambda wildcards, input: folder(input.model),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim perturb --config {params.config:q} --model {params.model:q}"
        " --perturbation {params.amounts:q} --out {params.out:q} > {log:q} 2>&1"


rule perturbation_effects:
    input:
        expand(
            "<results>/perturb/{perturbation}/manifest.sha256",
            perturbation=PERTURBATIONS,
        ),
    output:
        "<results>/perturb/effects.parquet",
    log:
        "<logs>/perturbation_effects.log",
    benchmark:
        "<benchmarks>/perturbation_effects.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=30,
    params:
        parts=lambda wildcards, input: [
            text for path in input for text in ("--join", folder(path))
        ],
    shell:
        "genesim perturb {params.parts:q} --out {output:q} > {log:q} 2>&1"

rule simulate_replicate:
    input:
        expression="<results>/models/expression/manifest.sha256",
        effects="<results>/models/effects/manifest.sha256",
        haplotypes=expand(
            "<results>/models/haplotypes/{contig}/manifest.sha256", contig=CONTIGS
        ),
        given=SCENARIO.population.vcf or [],
    output:
        "<results>/replicates/{replicate}/sim/manifest.sha256",
    log:
        "<logs>/simulate_replicate.{replicate}.log",
    benchmark:
        "<benchmarks>/simulate_replicate.{replicate}.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=120,
    params:
        config=SCENARIO_SECTION,
        seed=lambda wildcards: REPLICATES[int(wildcards.replicate)],
        models=lambda wildcards, input: folder(input.expression, 2),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim simulate --config {params.config:q} --seed {params.seed:q}"
        " --models {params.models:q} --out {params.out:q} > {log:q} 2>&1"


rule evaluate_replicate:
    input:
        cohort="<results>/cohort/manifest.sha256",
        simulated="<results>/replicates/{replicate}/sim/manifest.sha256",
    output:
        "<results>/replicates/{replicate}/evaluation/manifest.sha256",
    log:
        "<logs>/evaluate_replicate.{replicate}.log",
    benchmark:
        "<benchmarks>/evaluate_replicate.{replicate}.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=60,
    params:
        config=EVALUATE_SECTION,
        seed=lambda wildcards: REPLICATES[int(wildcards.replicate)],
        cohort=lambda wildcards, input: folder(input.cohort),
        simulated=lambda wildcards, input: folder(input.simulated),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim evaluate --config {params.config:q} --seed {params.seed:q} --cohort {params.cohort:q}"
        " --simulated {params.simulated:q} --out {params.out:q} > {log:q} 2>&1"


rule replicate_scores:
    input:
        "<results>/evaluation/manifest.sha256",
        expand(
            "<results>/replicates/{replicate}/evaluation/manifest.sha256",
            replicate=REPLICATES,
        ),
    output:
        "<results>/replicates/scores.parquet",
    log:
        "<logs>/replicate_scores.log",
    benchmark:
        "<benchmarks>/replicate_scores.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=30,
    params:
        parts=lambda wildcards, input: options("--join", input),
    shell:
        "genesim evaluate {params.parts:q} --out {output:q} > {log:q} 2>&1"

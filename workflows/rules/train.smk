rule train_expression:
    input:
        cohort="<results>/cohort/manifest.sha256",
    output:
        "<results>/models/expression/manifest.sha256",
    log:
        "<logs>/train_expression.log",
    benchmark:
        "<benchmarks>/train_expression.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=120,
    params:
        config=models_section("expression"),
        cohort=lambda wildcards, input: folder(input.cohort),
        out=lambda wildcards, output: folder(output[0]),
        checkpoints=f"{RESULTS}/checkpoints/expression",
    shell:
        "genesim train expression --config {params.config:q} --cohort {params.cohort:q}"
        " --out {params.out:q} --checkpoints {params.checkpoints:q} > {log:q} 2>&1"


if RUN.models.haplotypes.shards > 1:

    rule train_haplotypes_shard:
        input:
            cohort="<results>/cohort/manifest.sha256",
        output:
            "<results>/parts/haplotypes/{contig}/{shard}/manifest.sha256",
        log:
            "<logs>/train_haplotypes.{contig}.{shard}.log",
        benchmark:
            "<benchmarks>/train_haplotypes.{contig}.{shard}.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 8000 * attempt,
            runtime=120,
        params:
            config=models_section("haplotypes"),
            cohort=lambda wildcards, input: folder(input.cohort),
            out=lambda wildcards, output: folder(output[0]),
            checkpoints=lambda wildcards: f"{RESULTS}/checkpoints/haplotypes-{wildcards.contig}-{wildcards.shard}",
            shard=lambda wildcards: f"{wildcards.shard}/{RUN.models.haplotypes.shards}",
        shell:
            "genesim train haplotypes --config {params.config:q} --cohort {params.cohort:q}"
            " --out {params.out:q} --contig {wildcards.contig:q} --shard {params.shard:q}"
            " --checkpoints {params.checkpoints:q} > {log:q} 2>&1"

    rule train_haplotypes:
        input:
            expand(
                "<results>/parts/haplotypes/{{contig}}/{shard}/manifest.sha256",
                shard=range(1, RUN.models.haplotypes.shards + 1),
            ),
        output:
            "<results>/models/haplotypes/{contig}/manifest.sha256",
        log:
            "<logs>/train_haplotypes.{contig}.log",
        benchmark:
            "<benchmarks>/train_haplotypes.{contig}.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 8000 * attempt,
            runtime=30,
        params:
            shards=lambda wildcards, input: [
                text for path in input for text in ("--join", folder(path))
            ],
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim train haplotypes {params.shards:q} --out {params.out:q} > {log:q} 2>&1"

else:

    rule train_haplotypes:
        input:
            cohort="<results>/cohort/manifest.sha256",
        output:
            "<results>/models/haplotypes/{contig}/manifest.sha256",
        log:
            "<logs>/train_haplotypes.{contig}.log",
        benchmark:
            "<benchmarks>/train_haplotypes.{contig}.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 8000 * attempt,
            runtime=120,
        params:
            config=models_section("haplotypes"),
            cohort=lambda wildcards, input: folder(input.cohort),
            out=lambda wildcards, output: folder(output[0]),
            checkpoints=lambda wildcards: f"{RESULTS}/checkpoints/haplotypes-{wildcards.contig}",
        shell:
            "genesim train haplotypes --config {params.config:q} --cohort {params.cohort:q}"
            " --out {params.out:q} --contig {wildcards.contig:q} --checkpoints {params.checkpoints:q} > {log:q} 2>&1"


if RUN.workflow.effect_shards > 1 and RUN.models.effects.method == "cells":

    rule train_effects_init:
        input:
            cohort="<results>/cohort/manifest.sha256",
            kinship=[str(INPUTS.kinship)] if INPUTS.kinship else [],
            priors=[str(path) for path in RUN.models.effects.prior.files.values()],
        output:
            "<results>/parts/effects/study/manifest.sha256",
        log:
            "<logs>/train_effects_init.log",
        benchmark:
            "<benchmarks>/train_effects_init.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 6000 * attempt,
            runtime=120,
        params:
            config=models_section("effects"),
            cohort=lambda wildcards, input: folder(input.cohort),
            kinship=["--kinship", str(INPUTS.kinship)] if INPUTS.kinship else [],
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim train effects --init --config {params.config:q} --cohort {params.cohort:q}"
            " --out {params.out:q} {params.kinship:q} > {log:q} 2>&1"

    rule train_effects_shard:
        input:
            cohort="<results>/cohort/manifest.sha256",
            study="<results>/parts/effects/study/manifest.sha256",
        output:
            "<results>/parts/effects/{scatteritem}/manifest.sha256",
        log:
            "<logs>/train_effects.{scatteritem}.log",
        benchmark:
            "<benchmarks>/train_effects.{scatteritem}.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 6000 * attempt,
            runtime=120,
        params:
            cohort=lambda wildcards, input: folder(input.cohort),
            study=lambda wildcards, input: folder(input.study),
            shard=lambda wildcards: shard_of(wildcards),
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim train effects --cohort {params.cohort:q} --study {params.study:q}"
            " --shard {params.shard:q} --out {params.out:q} > {log:q} 2>&1"

    rule train_effects:
        input:
            cohort="<results>/cohort/manifest.sha256",
            study="<results>/parts/effects/study/manifest.sha256",
            parts=gather.effects(
                "<results>/parts/effects/{scatteritem}/manifest.sha256"
            ),
        output:
            "<results>/models/effects/manifest.sha256",
        log:
            "<logs>/train_effects.log",
        benchmark:
            "<benchmarks>/train_effects.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 6000 * attempt,
            runtime=30,
        params:
            cohort=lambda wildcards, input: folder(input.cohort),
            study=lambda wildcards, input: folder(input.study),
            parts=lambda wildcards, input: options("--join", input.parts),
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim train effects --cohort {params.cohort:q} --study {params.study:q}"
            " {params.parts:q} --out {params.out:q} > {log:q} 2>&1"

else:

    rule train_effects:
        input:
            cohort="<results>/cohort/manifest.sha256",
            kinship=[str(INPUTS.kinship)] if INPUTS.kinship else [],
            priors=[str(path) for path in RUN.models.effects.prior.files.values()],
        output:
            "<results>/models/effects/manifest.sha256",
        log:
            "<logs>/train_effects.log",
        benchmark:
            "<benchmarks>/train_effects.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 6000 * attempt,
            runtime=120,
        params:
            config=models_section("effects"),
            cohort=lambda wildcards, input: folder(input.cohort),
            kinship=["--kinship", str(INPUTS.kinship)] if INPUTS.kinship else [],
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim train effects --config {params.config:q} --cohort {params.cohort:q}"
            " --out {params.out:q} {params.kinship:q} > {log:q} 2>&1"

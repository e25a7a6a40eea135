rule train_expression:
    input:
        "<results>/cohort/manifest.sha256",
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
        cohort=RESULTS + "/cohort",
        out=RESULTS + "/models/expression",
        checkpoints=RESULTS + "/checkpoints/expression",
    shell:
        "genesim train expression --config {params.config:q} --cohort {params.cohort}"
        " --out {params.out} --checkpoints {params.checkpoints} > {log} 2>&1"


rule train_haplotypes:
    input:
        "<results>/cohort/manifest.sha256",
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
        cohort=RESULTS + "/cohort",
        out=RESULTS + "/models/haplotypes/{contig}",
        checkpoints=RESULTS + "/checkpoints/haplotypes-{contig}",
    shell:
        "genesim train haplotypes --config {params.config:q} --cohort {params.cohort}"
        " --out {params.out} --contig {wildcards.contig} --checkpoints {params.checkpoints} > {log} 2>&1"


rule train_effects:
    input:
        "<results>/cohort/manifest.sha256",
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
        cohort=RESULTS + "/cohort",
        out=RESULTS + "/models/effects",
    shell:
        "genesim train effects --config {params.config:q} --cohort {params.cohort}"
        " --out {params.out} > {log} 2>&1"

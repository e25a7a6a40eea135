if RUN.example:

    rule example:
        output:
            f"{EXAMPLE}/cells.h5ad",
            f"{EXAMPLE}/donors.vcf.gz",
            f"{EXAMPLE}/donors.tsv",
            f"{EXAMPLE}/genes.gtf",
        log:
            "<logs>/example.log",
        benchmark:
            "<benchmarks>/example.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=30,
        params:
            config=EXAMPLE_SECTION,
            out=EXAMPLE,
        shell:
            "genesim example --config {params.config:q} --out {params.out} > {log} 2>&1"


rule prepare_genotypes:
    input:
        vcf=str(INPUTS.vcf),
    output:
        "<results>/parts/genotypes/{contig}/manifest.sha256",
    log:
        "<logs>/prepare_genotypes.{contig}.log",
    benchmark:
        "<benchmarks>/prepare_genotypes.{contig}.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=30,
    params:
        config=INPUTS_SECTION,
        out=RESULTS + "/parts/genotypes/{contig}",
    shell:
        "genesim prepare --config {params.config:q} --contig {wildcards.contig} --out {params.out} > {log} 2>&1"


rule prepare:
    input:
        raw=RAW_FILES,
        parts=expand(
            "<results>/parts/genotypes/{contig}/manifest.sha256", contig=CONTIGS
        ),
    output:
        "<results>/cohort/manifest.sha256",
    log:
        "<logs>/prepare.log",
    benchmark:
        "<benchmarks>/prepare.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=30,
    params:
        config=INPUTS_SECTION,
        parts=expand("--part " + RESULTS + "/parts/genotypes/{contig}", contig=CONTIGS),
        out=RESULTS + "/cohort",
    shell:
        "genesim prepare --config {params.config:q} {params.parts} --out {params.out} > {log} 2>&1"

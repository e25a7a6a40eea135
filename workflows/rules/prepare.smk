if RUN.example:

    rule example:
        output:
            RAW_FILES,
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
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim example --config {params.config:q} --out {params.out:q} > {log:q} 2>&1"


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
        config=GENOTYPES_SECTION,
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim prepare --config {params.config:q} --contig {wildcards.contig:q} --out {params.out:q} > {log:q} 2>&1"


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
        parts=lambda wildcards, input: parts_of(input.parts),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim prepare --config {params.config:q} {params.parts:q} --out {params.out:q} > {log:q} 2>&1"

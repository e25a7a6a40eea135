rule simulate_genotypes:
    input:
        "<results>/models/haplotypes/{contig}/manifest.sha256",
    output:
        "<results>/parts/simulated/{contig}/manifest.sha256",
    log:
        "<logs>/simulate_genotypes.{contig}.log",
    benchmark:
        "<benchmarks>/simulate_genotypes.{contig}.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=30,
    params:
        config=SCENARIO_SECTION,
        models=RESULTS + "/models",
        out=RESULTS + "/parts/simulated/{contig}",
    shell:
        "genesim simulate --config {params.config:q} --models {params.models}"
        " --contig {wildcards.contig} --out {params.out} > {log} 2>&1"


rule simulate:
    input:
        expression="<results>/models/expression/manifest.sha256",
        effects="<results>/models/effects/manifest.sha256",
        haplotypes=expand(
            "<results>/models/haplotypes/{contig}/manifest.sha256", contig=CONTIGS
        ),
        parts=expand(
            "<results>/parts/simulated/{contig}/manifest.sha256", contig=CONTIGS
        ),
    output:
        "<results>/sim/sim.vcf.gz",
        "<results>/sim/sim.vcf.gz.tbi",
        "<results>/sim/sim.h5ad",
        "<results>/sim/manifest.sha256",
    log:
        "<logs>/simulate.log",
    benchmark:
        "<benchmarks>/simulate.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=30,
    params:
        config=SCENARIO_SECTION,
        models=RESULTS + "/models",
        parts=expand("--part " + RESULTS + "/parts/simulated/{contig}", contig=CONTIGS),
        out=RESULTS + "/sim",
    shell:
        "genesim simulate --config {params.config:q} --models {params.models}"
        " {params.parts} --out {params.out} > {log} 2>&1"

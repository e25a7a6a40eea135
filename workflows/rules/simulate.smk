CELL_SHARDS = (
    gather.cells("<results>/parts/cells/{scatteritem}/manifest.sha256")
    if RUN.workflow.cell_shards > 1
    else []
)


rule simulate_genotypes:
    input:
        haplotypes="<results>/models/haplotypes/{contig}/manifest.sha256",
        others=expand(
            "<results>/models/haplotypes/{other}/manifest.sha256", other=JOINT_CONTIGS
        ),
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
        models=lambda wildcards, input: folder(input.haplotypes, 3),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim simulate --config {params.config:q} --models {params.models:q}"
        " --contig {wildcards.contig:q} --out {params.out:q} > {log:q} 2>&1"


if RUN.workflow.cell_shards > 1:

    rule simulate_cells:
        input:
            expression="<results>/models/expression/manifest.sha256",
            effects="<results>/models/effects/manifest.sha256",
            haplotypes=expand(
                "<results>/models/haplotypes/{contig}/manifest.sha256", contig=CONTIGS
            ),
            parts=expand(
                "<results>/parts/simulated/{contig}/manifest.sha256",
                contig=DRAWN_CONTIGS,
            ),
            given=SCENARIO.population.vcf or [],
        output:
            "<results>/parts/cells/{scatteritem}/manifest.sha256",
        log:
            "<logs>/simulate_cells.{scatteritem}.log",
        benchmark:
            "<benchmarks>/simulate_cells.{scatteritem}.tsv"
        conda:
            "../envs/genesim.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 6000 * attempt,
            runtime=60,
        params:
            config=SCENARIO_SECTION,
            models=lambda wildcards, input: folder(input.expression, 2),
            parts=lambda wildcards, input: parts_of(input.parts),
            shard=lambda wildcards: shard_of(wildcards),
            out=lambda wildcards, output: folder(output[0]),
        shell:
            "genesim simulate --config {params.config:q} --models {params.models:q}"
            " {params.parts:q} --shard {params.shard:q} --out {params.out:q} > {log:q} 2>&1"


rule simulate:
    input:
        cells=CELL_SHARDS,
        expression="<results>/models/expression/manifest.sha256",
        effects="<results>/models/effects/manifest.sha256",
        haplotypes=expand(
            "<results>/models/haplotypes/{contig}/manifest.sha256", contig=CONTIGS
        ),
        parts=expand(
            "<results>/parts/simulated/{contig}/manifest.sha256",
            contig=DRAWN_CONTIGS,
        ),
        given=SCENARIO.population.vcf or [],
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
        models=lambda wildcards, input: folder(input.expression, 2),
        parts=lambda wildcards, input: parts_of(input.parts),
        cells=lambda wildcards, input: options("--cells", input.cells),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim simulate --config {params.config:q} --models {params.models:q}"
        " {params.parts:q} {params.cells:q} --out {params.out:q} > {log:q} 2>&1"

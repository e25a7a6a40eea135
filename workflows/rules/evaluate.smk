rule evaluate:
    input:
        cohort="<results>/cohort/manifest.sha256",
        simulated="<results>/sim/manifest.sha256",
        expression="<results>/models/expression/manifest.sha256",
        effects="<results>/models/effects/manifest.sha256",
    output:
        "<results>/evaluation/manifest.sha256",
    log:
        "<logs>/evaluate.log",
    benchmark:
        "<benchmarks>/evaluate.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=60,
    params:
        config=EVALUATE_SECTION,
        cohort=lambda wildcards, input: folder(input.cohort),
        simulated=lambda wildcards, input: folder(input.simulated),
        models=lambda wildcards, input: folder(input.expression, 2),
        out=lambda wildcards, output: folder(output[0]),
    shell:
        "genesim evaluate --config {params.config:q} --cohort {params.cohort:q}"
        " --simulated {params.simulated:q} --models {params.models:q} --out {params.out:q} > {log:q} 2>&1"


rule report:
    input:
        cohort="<results>/cohort/manifest.sha256",
        simulated="<results>/sim/manifest.sha256",
        evaluation="<results>/evaluation/manifest.sha256",
        perturbed=PERTURBED,
    output:
        page=report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "scores, figures, provenance"},
        ),
        figures="<results>/figures/manifest.sha256",
        # Snakemake removes a directory file by file when it begins the rule again, and a kill there would leave half
        # of it; a link to the figures goes whole.
        shown=report(
            directory("<results>/shown_figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../envs/genesim.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=30,
    params:
        config=REPORT_SECTION,
        cohort=lambda wildcards, input: folder(input.cohort),
        simulated=lambda wildcards, input: folder(input.simulated),
        evaluation=lambda wildcards, input: folder(input.evaluation),
        perturbed=lambda wildcards, input: (
            ["--perturbed", input.perturbed] if input.perturbed else []
        ),
        figures=lambda wildcards, output: folder(output.figures),
    shell:
        "genesim report --config {params.config:q} --cohort {params.cohort:q} --simulated {params.simulated:q}"
        " --evaluation {params.evaluation:q} {params.perturbed:q} --out {output.page:q} --figures {params.figures:q}"
        " > {log:q} 2>&1 && ln -sfn figures {output.shown:q}"

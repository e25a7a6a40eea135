rule evaluate:
    input:
        "<results>/cohort/manifest.sha256",
        "<results>/sim/manifest.sha256",
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
        cohort=RESULTS + "/cohort",
        simulated=RESULTS + "/sim",
        out=RESULTS + "/evaluation",
    shell:
        "genesim evaluate --config {params.config:q} --cohort {params.cohort}"
        " --simulated {params.simulated} --out {params.out} > {log} 2>&1"


rule report:
    input:
        "<results>/cohort/manifest.sha256",
        "<results>/sim/manifest.sha256",
        "<results>/evaluation/manifest.sha256",
    output:
        report(
            "<results>/report.html", caption="../report/report.rst", category="genesim"
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
        config=EXAMPLE_SECTION,
        cohort=RESULTS + "/cohort",
        simulated=RESULTS + "/sim",
        evaluation=RESULTS + "/evaluation",
    shell:
        "genesim report --config {params.config:q} --cohort {params.cohort} --simulated {params.simulated}"
        " --evaluation {params.evaluation} --out {output} > {log} 2>&1"

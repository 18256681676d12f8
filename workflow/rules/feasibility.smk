"""Feasibility: what each site has for each task, before anything is embedded or trained (`snakemake feasibility`).

in:  <results>/tasks/{task}/{site}/cohort.parquet, attrition.csv, splits.parquet, tokens.parquet, sequences.parquet, vocabulary.parquet
out: <results>/tasks/{task}/{site}/survey.json, <results>/sites/{site}/units.json, <results>/feasibility/index.html
"""


rule survey:
    input:
        cohort=rules.cohort.output.cohort,
        tokens=rules.sequences.output.tokens,
        sequences=rules.sequences.output.sequences,
    output:
        at(layout.SURVEY),
    log:
        "<logs>/survey/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("survey"),
    shell:
        "python {params.job[script]:q} --cohort {input.cohort:q} --tokens {input.tokens:q}"
        " --sequences {input.sequences:q} --task {params.job[task]:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"


rule units:
    input:
        cdm=rules.ingest.output.tables,
    output:
        at(layout.UNITS),
    log:
        "<logs>/units/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        job=job("units"),
    shell:
        "python {params.job[script]:q} --cdm {input.cdm:q} --site {wildcards.site}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} --threads {threads} > {log:q} 2>&1"


rule feasibility:
    input:
        surveys=expand(rules.survey.output, task=TASKS, site=study.own),
        attrition=expand(rules.cohort.output.attrition, task=TASKS, site=study.own),
        splits=expand(rules.cohort.output.splits, task=TASKS, site=study.own),
        concepts=expand(rules.cohort.output.concepts, task=TASKS, site=study.own),
        vocabularies=expand(rules.vocabulary.output, site=study.own),
        quality=expand(rules.ingest.output.quality, site=study.own),
        units=expand(rules.units.output, site=study.own),
    output:
        at(layout.FEASIBILITY),
    log:
        "<logs>/feasibility.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000),
        runtime=grow(10),
    params:
        job=job("feasibility"),
        task=TASKS,
        site=study.own,
    shell:
        "python {params.job[script]:q} --tasks-folder {params.job[results]:q}/tasks --sites-folder {params.job[results]:q}/sites"
        " --task {params.task:q} --site {params.site:q} --title {params.job[title]:q} --warnings {params.job[warnings]:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"

"""Feasibility: what each site has for each task, before anything is embedded or trained (`snakemake feasibility`).

in:  <results>/tasks/{task}/{site}/cohort.parquet, attrition.csv, tokens.parquet, sequences.parquet, vocabulary.parquet
out: <results>/tasks/{task}/{site}/survey.json, <results>/sites/{site}/units.json, <results>/feasibility/index.html
"""


rule survey:
    input:
        cohort=rules.cohort.output.cohort,
        tokens=rules.sequences.output.tokens,
        sequences=rules.sequences.output.sequences,
    output:
        "<results>/tasks/{task}/{site}/survey.json",
    log:
        "<logs>/survey/{task}/{site}.log",
    benchmark:
        "<benchmarks>/survey/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        code=code("survey.py"),
        task=lambda w: study.task(w.task, "min_events", "min_rows"),
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/survey.py" --cohort {input.cohort:q} --tokens {input.tokens:q}'
        " --sequences {input.sequences:q} --task {params.task:q} --min-cell-count {params.min_cell_count}"
        " --out {output:q} > {log:q} 2>&1"


rule units:
    input:
        cdm=rules.ingest.output.tables,
    output:
        "<results>/sites/{site}/units.json",
    log:
        "<logs>/units/{site}.log",
    benchmark:
        "<benchmarks>/units/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        code=code("units.py"),
        cdm=folder("sites/{site}/cdm"),
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/units.py" --cdm {params.cdm:q} --site {wildcards.site}'
        " --min-cell-count {params.min_cell_count} --out {output:q} --threads {threads} > {log:q} 2>&1"


rule feasibility:
    input:
        surveys=expand(rules.survey.output, task=TASKS, site=study.own),
        attrition=expand(rules.cohort.output.attrition, task=TASKS, site=study.own),
        vocabularies=expand(rules.vocabulary.output, site=study.own),
        units=expand(rules.units.output, site=study.own),
    output:
        "<results>/feasibility/index.html",
    log:
        "<logs>/feasibility.log",
    benchmark:
        "<benchmarks>/feasibility.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000),
        runtime=grow(10),
    params:
        code=code("feasibility.py"),
        tasks=folder("tasks"),
        sites=folder("sites"),
        task=TASKS,
        site=study.own,
        title=study.config["name"],
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/feasibility.py" --tasks-folder {params.tasks:q} --sites-folder {params.sites:q}'
        " --task {params.task:q} --site {params.site:q} --title {params.title:q}"
        " --min-cell-count {params.min_cell_count} --out {output:q} > {log:q} 2>&1"

"""Tasks: who is predicted at a site, what came of it, and what was known of them.

in:  <results>/sites/{site}/cdm/{table}.parquet, vocabulary.parquet
out: <results>/tasks/{task}/{site}/cohort.parquet, attrition.csv, tokens.parquet, sequences.parquet
"""


rule cohort:
    input:
        cdm=rules.ingest.output.tables,
        code=code("cohort"),
    output:
        cohort="<results>/tasks/{task}/{site}/cohort.parquet",
        attrition="<results>/tasks/{task}/{site}/attrition.csv",
    params:
        cdm=lambda w: f"{study.config['results']}/sites/{w.site}/cdm",
        task=lambda w: study.task(w.task, "index", "outcome", "censoring", "split"),
        min_cell_count=study.config["min_cell_count"],
    log:
        "<logs>/cohort/{task}/{site}.log",
    benchmark:
        "<benchmarks>/cohort/{task}/{site}.tsv"
    shell:
        "python {HOME}/workflow/scripts/cohort.py --cdm {params.cdm:q} --site {wildcards.site} --task {params.task:q}"
        " --min-cell-count {params.min_cell_count} --cohort {output.cohort:q} --attrition {output.attrition:q}"
        " --threads {threads} > {log} 2>&1"


rule sequences:
    input:
        cdm=rules.ingest.output.tables,
        vocabulary=rules.vocabulary.output,
        cohort=rules.cohort.output.cohort,
        code=code("sequences"),
    output:
        tokens="<results>/tasks/{task}/{site}/tokens.parquet",
        sequences="<results>/tasks/{task}/{site}/sequences.parquet",
    params:
        cdm=lambda w: f"{study.config['results']}/sites/{w.site}/cdm",
        task=lambda w: study.task(w.task, "outcome", "predictors", "min_rows"),
    log:
        "<logs>/sequences/{task}/{site}.log",
    benchmark:
        "<benchmarks>/sequences/{task}/{site}.tsv"
    shell:
        "python {HOME}/workflow/scripts/sequences.py --cdm {params.cdm:q} --site {wildcards.site}"
        " --vocabulary {input.vocabulary:q} --cohort {input.cohort:q} --task {params.task:q}"
        " --tokens {output.tokens:q} --sequences {output.sequences:q} --threads {threads} > {log} 2>&1"

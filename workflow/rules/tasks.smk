"""Tasks: who is predicted at a site, what came of it, and what was known of them.

in:  <results>/sites/{site}/cdm/{table}.parquet, vocabulary.parquet
out: <results>/tasks/{task}/{site}/cohort.parquet, attrition.csv, tokens.parquet, sequences.parquet, leaks.parquet
"""


rule cohort:
    input:
        cdm=rules.ingest.output.tables,
        files=lambda w: study.task_files(w.task, w.site),
    output:
        cohort="<results>/tasks/{task}/{site}/cohort.parquet",
        attrition="<results>/tasks/{task}/{site}/attrition.csv",
    log:
        "<logs>/cohort/{task}/{site}.log",
    benchmark:
        "<benchmarks>/cohort/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        code=code("cohort.py"),
        cdm=folder("sites/{site}/cdm"),
        task=lambda w: study.cohort_settings(w.task),
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/cohort.py" --cdm {params.cdm:q} --site {wildcards.site} --task {params.task:q}'
        " --min-cell-count {params.min_cell_count} --cohort {output.cohort:q} --attrition {output.attrition:q}"
        " --threads {threads} > {log:q} 2>&1"


rule sequences:
    input:
        cdm=rules.ingest.output.tables,
        vocabulary=rules.vocabulary.output,
        cohort=rules.cohort.output.cohort,
        files=lambda w: study.concept_files(w.task),
    output:
        tokens="<results>/tasks/{task}/{site}/tokens.parquet",
        sequences="<results>/tasks/{task}/{site}/sequences.parquet",
    log:
        "<logs>/sequences/{task}/{site}.log",
    benchmark:
        "<benchmarks>/sequences/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        code=code("sequences.py"),
        owner=lambda w: study.owner(w.site),
        cdm=folder("sites/{site}/cdm"),
        task=lambda w: study.task(w.task, "outcome", "predictors", "guards", "min_rows"),
        roll_up=lambda w: canonical(study.config["roll_up"]),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/sequences.py" --cdm {params.cdm:q} --site {params.owner:q}'
        " --vocabulary {input.vocabulary:q} --cohort {input.cohort:q} --task {params.task:q}"
        " --roll-up {params.roll_up:q} --tokens {output.tokens:q} --sequences {output.sequences:q} --threads {threads} > {log:q} 2>&1"


rule leaks:
    input:
        cdm=rules.ingest.output.tables,
        vocabulary=rules.vocabulary.output,
        cohort=rules.cohort.output.cohort,
        tokens=rules.sequences.output.tokens,
        sequences=rules.sequences.output.sequences,
        vectors=names_of,
        files=lambda w: study.concept_files(w.task),
    output:
        "<results>/tasks/{task}/{site}/leaks.parquet",
    log:
        "<logs>/leaks/{task}/{site}.log",
    benchmark:
        "<benchmarks>/leaks/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000, per_mb=20),
        runtime=grow(30, per_mb=0.05),
    params:
        code=code("leaks.py"),
        cdm=folder("sites/{site}/cdm"),
        task=lambda w: study.task(w.task, "outcome"),
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/leaks.py" --cdm {params.cdm:q} --cohort {input.cohort:q}'
        " --vocabulary {input.vocabulary:q} --tokens {input.tokens:q} --sequences {input.sequences:q}"
        " --vectors {input.vectors:q} --task {params.task:q} --min-cell-count {params.min_cell_count}"
        " --out {output:q} > {log:q} 2>&1"

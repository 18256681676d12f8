"""Tasks: who is predicted at a site, what came of it, and what was known of them.

in:  <results>/sites/{site}/cdm/{table}.parquet, vocabulary.parquet
out: <results>/tasks/{task}/{site}/cohort.parquet, attrition.csv, splits.parquet, concepts.json, tokens.parquet, sequences.parquet, leaks.parquet
"""


rule cohort:
    input:
        cdm=rules.ingest.output.tables,
        files=lambda w: study.task_files(w.task, w.site),
    output:
        cohort=at(layout.COHORT),
        attrition=at(layout.ATTRITION),
        splits=at(layout.SPLITS),
        concepts=at(layout.CONCEPTS),
    log:
        "<logs>/cohort/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        job=job("cohort"),
    shell:
        "python {params.job[script]:q} --cdm {input.cdm:q} --site {wildcards.site} --task {params.job[task]:q}"
        " --min-cell-count {params.job[min_cell_count]} --cohort {output.cohort:q}"
        " --attrition {output.attrition:q} --splits {output.splits:q} --concepts {output.concepts:q}"
        " --threads {threads} --memory {resources.mem_mb} > {log:q} 2>&1"


rule sequences:
    input:
        cdm=rules.ingest.output.tables,
        vocabulary=rules.vocabulary.output,
        cohort=rules.cohort.output.cohort,
        files=lambda w: study.concept_files(w.task),
    output:
        tokens=at(layout.TOKENS),
        sequences=at(layout.SEQUENCES),
    log:
        "<logs>/sequences/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        job=job("sequences"),
    shell:
        "python {params.job[script]:q} --cdm {input.cdm:q} --site {params.job[owner]:q}"
        " --vocabulary {input.vocabulary:q} --cohort {input.cohort:q} --task {params.job[task]:q}"
        " --roll-up {params.job[roll_up]:q} --tokens {output.tokens:q} --sequences {output.sequences:q}"
        " --threads {threads} --memory {resources.mem_mb} > {log:q} 2>&1"


# the vectors by which a site's names are compared: those of the study's first embedding with meaning
COMPARED = [e.id for e in EMBEDDINGS if not e.control and e.embeds_names][:1]


rule leaks:
    input:
        cdm=rules.ingest.output.tables,
        vocabulary=rules.vocabulary.output,
        cohort=rules.cohort.output.cohort,
        tokens=rules.sequences.output.tokens,
        sequences=rules.sequences.output.sequences,
        vectors=[vectors(e, "{site}", "{task}") for e in COMPARED],
        files=lambda w: study.concept_files(w.task),
    output:
        at(layout.LEAKS),
    log:
        "<logs>/leaks/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=8),
        runtime=grow(30, per_mb=0.05),
    params:
        job=job("leaks"),
    shell:
        "python {params.job[script]:q} --cdm {input.cdm:q} --cohort {input.cohort:q}"
        " --vocabulary {input.vocabulary:q} --tokens {input.tokens:q} --sequences {input.sequences:q}"
        " --vectors {input.vectors:q} --task {params.job[task]:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"

"""Training: a learner on an embedding at one site, all seeds in one job.

in:  <results>/tasks/{task}/{target}/*.parquet, <results>/embeddings/{embedding}/{target}.parquet
out: <results>/arms/{task}/{embedding}/{learner}/local/{target}/
"""


def rows_of(kind):
    """Path of one of a target's task files."""
    return f"<results>/tasks/{{task}}/{{target}}/{kind}.parquet"


def table_of(wildcards):
    """The table that holds an embedding's vectors of the target: none for one-hot, the parent's for shuffled."""
    tables = study.by_id[wildcards.embedding].tables
    return [] if tables is None else f"<results>/embeddings/{tables.id}/{wildcards.target}.parquet"


def embedding_of(wildcards):
    """What a model has to know of its embedding."""
    e = study.by_id[wildcards.embedding]
    return canonical({"name": e.name, "fingerprint": e.fingerprint, "backend": e.spec["backend"]})


rule train:
    input:
        cohort=rows_of("cohort"),
        tokens=rows_of("tokens"),
        sequences=rows_of("sequences"),
        table=table_of,
        code=code("train"),
    output:
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/arm.json",
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/predictions.parquet",
        directory("<results>/arms/{task}/{embedding}/{learner}/local/{target}/models"),
    params:
        out=subpath(output[0], parent=True),
        embedding=embedding_of,
        budget=lambda w: study.budget(w.task, w.learner, "local"),
    log:
        "<logs>/train/{task}/{embedding}/{learner}/{target}.log",
    benchmark:
        "<benchmarks>/train/{task}/{embedding}/{learner}/{target}.tsv"
    shell:
        "python {HOME}/workflow/scripts/train.py --target {wildcards.target} --cohort {input.cohort:q}"
        " --tokens {input.tokens:q} --sequences {input.sequences:q} --table {input.table:q}"
        " --learner {wildcards.learner} --embedding {params.embedding:q} --budget {params.budget:q}"
        " --out {params.out:q} > {log} 2>&1"

"""Training: a learner on an embedding at one site, or on the rows of several sites together; all seeds in one job.

in:  <results>/tasks/{task}/{target}/*.parquet, <results>/embeddings/{embedding}/{target}.parquet
out: <results>/arms/{task}/{embedding}/{learner}/{local,pooled,leave-one-out}/{target}/
"""


rule train:
    input:
        rows=rows_of,
        table=table_of,
        code=code("train.py"),
    output:
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/arm.json",
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/predictions.parquet",
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/curves.parquet",
        directory("<results>/arms/{task}/{embedding}/{learner}/local/{target}/models"),
    log:
        "<logs>/train/{task}/{embedding}/{learner}/{target}.log",
    benchmark:
        "<benchmarks>/train/{task}/{embedding}/{learner}/{target}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=30),
        runtime=grow(60, per_mb=5),
    params:
        out=subpath(output[0], parent=True),
        embedding=embedding_of,
        budget=lambda w: study.budget(w.task, w.learner, "local"),
    shell:
        "python {input.code[0]:q} --target {wildcards.target} --rows {input.rows:q} --table {input.table:q}"
        " --learner {wildcards.learner} --embedding {params.embedding:q} --budget {params.budget:q}"
        " --out {params.out:q} > {log:q} 2>&1"


rule pool:
    input:
        rows=lambda w: [
            f for s in [w.target, *study.others(w.target)] for f in rows_at(w, s)
        ],
        tables=lambda w: [
            f for s in [w.target, *study.others(w.target)] for f in table_at(w, s)
        ],
        code=code("pool.py"),
    output:
        "<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/arm.json",
        "<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/predictions.parquet",
        "<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/curves.parquet",
        directory(
            "<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/models"
        ),
    log:
        "<logs>/pool/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    benchmark:
        "<benchmarks>/pool/{task}/{embedding}/{learner}/{strategy}/{target}.tsv"
    wildcard_constraints:
        strategy="pooled|leave-one-out",
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=30),
        runtime=grow(60, per_mb=5),
    params:
        out=subpath(output[0], parent=True),
        sites=lambda w: [w.target, *study.others(w.target)],
        embedding=embedding_of,
        budget=lambda w: study.budget(w.task, w.learner, w.strategy),
    shell:
        "python {input.code[0]:q} --sites {params.sites:q} --rows {input.rows:q} --tables {input.tables:q}"
        " --learner {wildcards.learner} --strategy {wildcards.strategy} --embedding {params.embedding:q}"
        " --budget {params.budget:q} --out {params.out:q} > {log:q} 2>&1"

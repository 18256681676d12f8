"""Training: a learner on an embedding at one site, or on the rows of several sites together; all seeds in one job.

in:  <results>/tasks/{task}/{target}/*.parquet, <results>/embeddings/{embedding}/{target}.parquet
out: <results>/arms/{task}/{embedding}/{learner}/{local,pooled,leave-one-out}/{target}/,
     <results>/arms/{task}/{embedding}/rows.sha256, {learner}/models.sha256, {learner}/sources/
"""


localrules:
    rows_digest,
    models_digest,


rule train:
    input:
        rows=ROWS,
        table=table_of,
    output:
        directory("<results>/arms/{task}/{embedding}/{learner}/local/{target}"),
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
        code=arm_code("train.py"),
        told=trained,
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/train.py" --rows {input.rows:q} --table {input.table:q} {params.told} --out {output:q} > {log:q} 2>&1'


# Every pooled arm reads the rows of all sources, and every transfer their models: files times files. One file stands for
# them all, so that a study of 20 sites is planned in seconds; it has other bytes as soon as one of them has.
rule rows_digest:
    input:
        rows_of_sources,
    output:
        "<results>/arms/{task}/{embedding}/rows.sha256",
    log:
        "<logs>/rows_digest/{task}/{embedding}.log",
    benchmark:
        "<benchmarks>/rows_digest/{task}/{embedding}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("digest.py"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/digest.py" {input:q} --out {output:q} > {log:q} 2>&1'


rule models_digest:
    input:
        lambda w: [local_arm(w, s) for s in study.sources],
    output:
        "<results>/arms/{task}/{embedding}/{learner}/models.sha256",
    log:
        "<logs>/models_digest/{task}/{embedding}/{learner}.log",
    benchmark:
        "<benchmarks>/models_digest/{task}/{embedding}/{learner}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("digest.py"),
        # not what they predict at home
        models=lambda w: [
            f"{arm}/{what}"
            for arm in placed(local_arm(w, s) for s in study.sources)
            for what in ("arm.json", "models")
        ],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/digest.py" {params.models:q} --out {output:q} > {log:q} 2>&1'


# What leaves the target out is the same model for every target that is no source.
rule pool_sources:
    input:
        rows_of_sources,
    output:
        directory("<results>/arms/{task}/{embedding}/{learner}/sources"),
    log:
        "<logs>/pool_sources/{task}/{embedding}/{learner}.log",
    benchmark:
        "<benchmarks>/pool_sources/{task}/{embedding}/{learner}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=30),
        runtime=grow(60, per_mb=5),
    params:
        code=arm_code("pool.py"),
        told=pooled_sources,
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/pool.py" {params.told} --out {output:q} > {log:q} 2>&1'


rule pool:
    input:
        rows=ROWS,
        table=table_of,
        others=others_of,
    output:
        directory("<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}"),
    log:
        "<logs>/pool/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    benchmark:
        "<benchmarks>/pool/{task}/{embedding}/{learner}/{strategy}/{target}.tsv"
    wildcard_constraints:
        strategy="pooled|leave-one-out",
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        # the rows of all sources, of which the target's are one part
        mem_mb=grow(2000, per_mb=30 * len(study.sources)),
        runtime=grow(60, per_mb=5 * len(study.sources)),
    params:
        code=arm_code("pool.py"),
        told=pooled,
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/pool.py" {params.told} --out {output:q} > {log:q} 2>&1'

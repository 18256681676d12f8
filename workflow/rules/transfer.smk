"""Transfer: the models of all other sites brought to one target by one strategy, all sources and seeds in one job.

in:  <results>/arms/{task}/{embedding}/{learner}/local/{source}/, the target's files as in training
out: <results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/
"""


rule transfer:
    input:
        rows=ROWS,
        table=table_of,
        sources=rules.models_digest.output,
    output:
        directory("<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}"),
    log:
        "<logs>/transfer/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    benchmark:
        "<benchmarks>/transfer/{task}/{embedding}/{learner}/{strategy}/{target}.tsv"
    wildcard_constraints:
        strategy="direct|recalibrate|tune-head|tune-all",
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=30),
        runtime=grow(60, per_mb=5),
    params:
        code=arm_code("transfer.py"),
        told=transferred,
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/transfer.py" --rows {input.rows:q} --table {input.table:q} {params.told} --out {output:q} > {log:q} 2>&1'

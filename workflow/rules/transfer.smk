"""Transfer: the models of all other sites brought to one target by one strategy, all sources and seeds in one job.

in:  <results>/arms/{task}/{embedding}/{learner}/local/{source}/, the target's files as in training
out: <results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/
"""


def sources_of(wildcards):
    """The local arms of all other sites."""
    arm = f"<results>/arms/{wildcards.task}/{wildcards.embedding}/{wildcards.learner}/local"
    return [f"{arm}/{source}/arm.json" for source in study.others(wildcards.target)]


rule transfer:
    input:
        cohort=rows_of("cohort"),
        tokens=rows_of("tokens"),
        sequences=rows_of("sequences"),
        table=table_of,
        sources=sources_of,
        code=code("transfer"),
    output:
        "<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/arm.json",
        "<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/predictions.parquet",
        directory("<results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/models"),
    params:
        out=subpath(output[0], parent=True),
        fingerprint=lambda w: study.by_id[w.embedding].fingerprint,
        budget=lambda w: study.budget(w.task, w.learner, w.strategy),
    log:
        "<logs>/transfer/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    benchmark:
        "<benchmarks>/transfer/{task}/{embedding}/{learner}/{strategy}/{target}.tsv"
    shell:
        "python {HOME}/workflow/scripts/transfer.py --target {wildcards.target} --cohort {input.cohort:q}"
        " --tokens {input.tokens:q} --sequences {input.sequences:q} --table {input.table:q}"
        " --learner {wildcards.learner} --strategy {wildcards.strategy} --source {input.sources:q}"
        " --fingerprint {params.fingerprint} --budget {params.budget:q} --out {params.out:q} > {log} 2>&1"

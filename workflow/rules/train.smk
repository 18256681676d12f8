"""Training: a learner on an embedding at one site, all seeds in one job.

in:  <results>/tasks/{task}/{target}/*.parquet, <results>/embeddings/{embedding}/{target}.parquet
out: <results>/arms/{task}/{embedding}/{learner}/local/{target}/
"""


rule train:
    input:
        cohort="<results>/tasks/{task}/{target}/cohort.parquet",
        tokens="<results>/tasks/{task}/{target}/tokens.parquet",
        sequences="<results>/tasks/{task}/{target}/sequences.parquet",
        table=table_of,
        code=code("train.py"),
    output:
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/arm.json",
        "<results>/arms/{task}/{embedding}/{learner}/local/{target}/predictions.parquet",
        directory("<results>/arms/{task}/{embedding}/{learner}/local/{target}/models"),
    log:
        "<logs>/train/{task}/{embedding}/{learner}/{target}.log",
    benchmark:
        "<benchmarks>/train/{task}/{embedding}/{learner}/{target}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        out=subpath(output[0], parent=True),
        embedding=embedding_of,
        budget=lambda w: study.budget(w.task, w.learner, "local"),
    shell:
        "python {input.code[0]:q} --target {wildcards.target} --cohort {input.cohort:q}"
        " --tokens {input.tokens:q} --sequences {input.sequences:q} --table {input.table:q}"
        " --learner {wildcards.learner} --embedding {params.embedding:q} --budget {params.budget:q}"
        " --out {params.out:q} > {log:q} 2>&1"

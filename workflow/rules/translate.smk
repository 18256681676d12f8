"""Translation: what a site's tokens keep company with, and a target's tokens in the words of each source.

in:  <results>/tasks/{task}/{site}/*.parquet, <results>/embeddings/{parent}/{site}.parquet, files of a clinician's words
out: <results>/profiles/{task}/{site}.parquet, <results>/translations/{task}/{embedding}/{target}/{source}.parquet
"""


rule profile:
    input:
        rows=rows(),
    output:
        at(layout.PROFILE),
    log:
        "<logs>/profile/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=30),
        runtime=grow(30, per_mb=1),
    params:
        job=job("profile"),
    shell:
        "python {params.job[script]:q} --rows {input.rows:q} --min-cell-count {params.job[min_cell_count]}"
        " --out {output:q} > {log:q} 2>&1"


rule translate:
    input:
        words=lambda w: [
            file
            for site in [w.target, *study.others(w.target)]
            for file in words(w.embedding, site, w.task)
        ],
    output:
        directory(at(layout.TRANSLATIONS)),
    log:
        "<logs>/translate/{task}/{embedding}/{target}.log",
    wildcard_constraints:
        embedding=TRANSLATED,
        target="|".join(study.own + study.scored) or "none",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000, per_mb=20),
        runtime=grow(30, per_mb=1),
    params:
        job=job("translate"),
    shell:
        "python {params.job[script]:q} --job {params.job[translation]:q} --results {params.job[results]:q}"
        " --corrections {params.job[corrections]:q} --out {output:q} > {log:q} 2>&1"

"""Vocabulary: a site's concepts in every state that they could take, with the text of each.

in:  <results>/sites/{site}/cdm/{table}.parquet
out: <results>/sites/{site}/vocabulary.parquet
"""


rule vocabulary:
    input:
        cdm=rules.ingest.output.tables,
    output:
        at(layout.VOCABULARY),
    log:
        "<logs>/vocabulary/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        job=job("vocabulary"),
    shell:
        "python {params.job[script]:q} --cdm {input.cdm:q} --site {params.job[owner]:q}"
        " --texts {params.job[texts]:q} --roll-up {params.job[roll_up]:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} --threads {threads} --memory {resources.mem_mb} > {log:q} 2>&1"

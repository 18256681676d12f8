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
        script=script("vocabulary"),
        settings=settings("vocabulary"),
    shell:
        "python {params.script[path]:q} --cdm {input.cdm:q} --site {params.settings[owner]:q}"
        " --texts {params.settings[texts]:q} --roll-up {params.settings[roll_up]:q}"
        " --min-cell-count {params.settings[min_cell_count]} --out {output:q} --threads {threads} > {log:q} 2>&1"

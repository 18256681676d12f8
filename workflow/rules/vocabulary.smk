"""Vocabulary: a site's concepts in every state that they could take, with the text of each.

in:  <results>/sites/{site}/cdm/{table}.parquet
out: <results>/sites/{site}/vocabulary.parquet
"""


rule vocabulary:
    input:
        cdm=rules.ingest.output.tables,
    output:
        "<results>/sites/{site}/vocabulary.parquet",
    log:
        "<logs>/vocabulary/{site}.log",
    benchmark:
        "<benchmarks>/vocabulary/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        code=code("vocabulary.py"),
        owner=lambda w: study.owner(w.site),
        cdm=folder("sites/{site}/cdm"),
        texts=lambda w: canonical(study.config["texts"]),
        roll_up=lambda w: canonical(study.config["roll_up"]),
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/vocabulary.py" --cdm {params.cdm:q} --site {params.owner:q}'
        " --texts {params.texts:q} --roll-up {params.roll_up:q} --min-cell-count {params.min_cell_count}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"

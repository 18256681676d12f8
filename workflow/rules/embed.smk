"""Embeddings: a site's texts become vectors, each computed once and kept in the cache.

in:  <results>/sites/{site}/vocabulary.parquet
out: <results>/embeddings/{embedding}/{site}.parquet
"""


rule embed:
    input:
        vocabulary=rules.vocabulary.output,
        code=code("embed.py"),
    output:
        "<results>/embeddings/{embedding}/{site}.parquet",
    log:
        "<logs>/embed/{embedding}/{site}.log",
    benchmark:
        "<benchmarks>/embed/{embedding}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    threads: 8
    params:
        # all that changes a vector is in the folder's name, so the catalogue itself is no input
        catalogue=str(HOME / "config/embeddings.yaml"),
    shell:
        "python {input.code[0]:q} --vocabulary {input.vocabulary:q}"
        " --catalogue {params.catalogue:q} --embedding {wildcards.embedding}"
        ' --cache "$CONCEPTBRIDGE_CACHE" --out {output:q} --threads {threads} > {log:q} 2>&1'

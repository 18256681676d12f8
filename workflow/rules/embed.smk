"""Embeddings: a site's texts become vectors, each computed once and kept in the cache.

in:  <results>/sites/{site}/vocabulary.parquet
out: <results>/embeddings/{embedding}/{site}.parquet
"""

# what changes a vector is in the folder's name, so no param is needed; the cache's place runs nothing
CACHE = Path(study.config["embedding_cache"]).expanduser()


rule embed:
    input:
        vocabulary=rules.vocabulary.output,
        code=code("embed"),
    output:
        "<results>/embeddings/{embedding}/{site}.parquet",
    threads: 8
    log:
        "<logs>/embed/{embedding}/{site}.log",
    benchmark:
        "<benchmarks>/embed/{embedding}/{site}.tsv"
    shell:
        "python {HOME}/workflow/scripts/embed.py --vocabulary {input.vocabulary:q}"
        " --catalogue {HOME}/config/embeddings.yaml --embedding {wildcards.embedding}"
        " --cache {CACHE:q} --out {output:q} --threads {threads} > {log} 2>&1"

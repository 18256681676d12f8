"""Embeddings: all sites' texts become vectors together, each computed once and kept in the cache; a table a site.

in:  <results>/sites/{site}/vocabulary.parquet, rated term pairs, for cooccurrence <results>/tasks/{task}/{site}/*.parquet
out: <results>/embeddings/{embedding}/computed.json, {site}.parquet, {task}/{site}.parquet (cooccurrence), quality.json,
     <results>/tables/embeddings.*, alignment.*, <results>/figures/embeddings.*
"""


localrules:
    fetch_models,


rule fetch_models:
    # asked for by name, on a machine with a network: compute nodes then find the models in the hub's cache
    input:
        code=code("fetch_models.py"),
    log:
        "<logs>/fetch_models.log",
    conda:
        "../../envs/conceptbridge.yaml"
    shell:
        'python {input.code[0]:q} --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" > {log:q} 2>&1'


rule compute_texts:
    input:
        vocabularies=expand(
            rules.vocabulary.output,
            site=[site for site in study.sites if site not in study.bundled],
        ),
        benchmarks=BENCHMARKS,
        code=code("compute_texts.py"),
    output:
        "<results>/embeddings/{embedding}/computed.json",
    log:
        "<logs>/compute_texts/{embedding}.log",
    benchmark:
        "<benchmarks>/compute_texts/{embedding}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    threads: 8
    params:
        local_text=local_text,
        data=study.config["data"],
    shell:
        "python {input.code[0]:q} --vocabulary {input.vocabularies:q} --benchmark {input.benchmarks:q}"
        ' --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding} {params.local_text}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --out {output:q} --threads {threads} > {log:q} 2>&1'


# a job of their own: where a job runs again, Snakemake leaves out what depends on it by `ancient` alone, even outputs that
# are missing; bundles that come in later would stop the rest
use rule compute_texts as compute_received_texts with:
    input:
        vocabularies="<results>/sites/{received}/vocabulary.parquet",
        benchmarks=[],
        code=code("compute_texts.py"),
    output:
        "<results>/embeddings/{embedding}/computed-{received}.json",
    log:
        "<logs>/compute_received_texts/{embedding}/{received}.log",
    benchmark:
        "<benchmarks>/compute_received_texts/{embedding}/{received}.tsv"


rule embed:
    input:
        vocabulary=rules.vocabulary.output,
        # only that the cache has the texts: a new site changes no old site's table
        computed=ancient(computed_of),
        code=code("embed.py"),
    output:
        "<results>/embeddings/{embedding}/{site}.parquet",
    log:
        "<logs>/embed/{embedding}/{site}.log",
    benchmark:
        "<benchmarks>/embed/{embedding}/{site}.tsv"
    wildcard_constraints:
        site="|".join(study.sites),
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        local_text=local_text,
        data=study.config["data"],
    shell:
        "python {input.code[0]:q} --vocabulary {input.vocabulary:q}"
        ' --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding} {params.local_text}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --out {output:q} > {log:q} 2>&1'


rule cooccurrence:
    input:
        cohort="<results>/tasks/{task}/{site}/cohort.parquet",
        tokens="<results>/tasks/{task}/{site}/tokens.parquet",
        sequences="<results>/tasks/{task}/{site}/sequences.parquet",
        code=code("cooccurrence.py"),
    output:
        "<results>/embeddings/{embedding}/{task}/{site}.parquet",
    log:
        "<logs>/cooccurrence/{embedding}/{task}/{site}.log",
    benchmark:
        "<benchmarks>/cooccurrence/{embedding}/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        min_cell_count=study.config["min_cell_count"],
    shell:
        "python {input.code[0]:q} --cohort {input.cohort:q} --tokens {input.tokens:q} --sequences {input.sequences:q}"
        ' --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding}'
        " --min-cell-count {params.min_cell_count} --out {output:q} > {log:q} 2>&1"


rule embedding_quality:
    input:
        vocabularies=expand(rules.vocabulary.output, site=study.tabled),
        tables=expand(
            "<results>/embeddings/{embedding}/{site}.parquet",
            site=study.tabled,
            allow_missing=True,
        ),
        benchmarks=BENCHMARKS,
        code=code("embedding_quality.py"),
    output:
        "<results>/embeddings/{embedding}/quality.json",
    log:
        "<logs>/embedding_quality/{embedding}.log",
    benchmark:
        "<benchmarks>/embedding_quality/{embedding}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        data=study.config["data"],
        site=study.tabled,
        min_cell_count=study.config["min_cell_count"],
    shell:
        "python {input.code[0]:q} --site {params.site:q} --vocabulary {input.vocabularies:q} --table {input.tables:q}"
        ' --benchmark {input.benchmarks:q} --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --min-cell-count {params.min_cell_count} --out {output:q} > {log:q} 2>&1'


rule embedding_tables:
    input:
        quality=expand(
            "<results>/embeddings/{embedding}/quality.json", embedding=TABLED
        ),
        code=code("embedding_tables.py"),
    output:
        expand(
            "<results>/tables/{table}.{suffix}",
            table=["embeddings", "alignment"],
            suffix=["parquet", "csv", "md"],
        ),
        expand("<results>/figures/embeddings.{suffix}", suffix=["svg", "png"]),
    log:
        "<logs>/embedding_tables.log",
    benchmark:
        "<benchmarks>/embedding_tables.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        tables=folder("tables"),
        figures=folder("figures"),
    shell:
        "python {input.code[0]:q} --quality {input.quality:q} --tables {params.tables:q} --figures {params.figures:q}"
        " > {log:q} 2>&1"

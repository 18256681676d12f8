"""Embeddings: a site's texts become vectors, each computed once for all sites and kept in the cache; a table a site.

in:  <results>/sites/{site}/vocabulary.parquet, rated term pairs, for cooccurrence <results>/tasks/{task}/{site}/*.parquet
out: <results>/embeddings/{embedding}/{site}.computed.json, terms.json, {site}.parquet, {task}/{site}.parquet (cooccurrence), quality.json,
     <results>/tables/embeddings.*, alignment.*, <results>/figures/embeddings.*
"""


localrules:
    fetch_models,


rule fetch_models:
    # asked for by name, on a machine with a network: compute nodes then find the models in the hub's cache
    log:
        "<logs>/fetch_models.log",
    conda:
        "../../envs/conceptbridge.yaml"
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/fetch_models.py" --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" > {log:q} 2>&1'


# A job a site. One for all sites would have to be `ancient` to the tables of vectors, or a new site would train the old
# ones again; and what comes after an ancient file is not looked at once what makes the file runs: changes were missed.
rule compute_texts:
    input:
        vocabulary=rules.vocabulary.output,
    output:
        "<results>/embeddings/{embedding}/{site}.computed.json",
    log:
        "<logs>/compute_texts/{embedding}/{site}.log",
    benchmark:
        "<benchmarks>/compute_texts/{embedding}/{site}.tsv"
    wildcard_constraints:
        site="|".join(study.sites),
    conda:
        "../../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(6000),
        runtime=grow(120, per_mb=30),
    params:
        code=embedding_code("compute_texts.py"),
        local_text=local_text,
        data=study.config["data"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/compute_texts.py" --vocabulary {input.vocabulary:q}'
        ' --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding} {params.local_text}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --out {output:q} --threads {threads} > {log:q} 2>&1'


rule compute_terms:
    input:
        benchmarks=BENCHMARKS,
    output:
        "<results>/embeddings/{embedding}/terms.json",
    log:
        "<logs>/compute_terms/{embedding}.log",
    benchmark:
        "<benchmarks>/compute_terms/{embedding}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(6000),
        runtime=grow(120, per_mb=30),
    params:
        code=embedding_code("compute_texts.py"),
        data=study.config["data"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/compute_texts.py" --benchmark {input.benchmarks:q}'
        ' --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --out {output:q} --threads {threads} > {log:q} 2>&1'


rule embed:
    input:
        vocabulary=rules.vocabulary.output,
        computed=rules.compute_texts.output,
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
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        code=code("embed.py"),
        local_text=local_text,
        data=study.config["data"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/embed.py" --vocabulary {input.vocabulary:q}'
        ' --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding} {params.local_text}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --out {output:q} > {log:q} 2>&1'


rule cooccurrence:
    input:
        cohort="<results>/tasks/{task}/{site}/cohort.parquet",
        tokens="<results>/tasks/{task}/{site}/tokens.parquet",
        sequences="<results>/tasks/{task}/{site}/sequences.parquet",
    output:
        "<results>/embeddings/{embedding}/{task}/{site}.parquet",
    log:
        "<logs>/cooccurrence/{embedding}/{task}/{site}.log",
    benchmark:
        "<benchmarks>/cooccurrence/{embedding}/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(3000, per_mb=20),
        runtime=grow(60, per_mb=0.5),
    params:
        code=code("cooccurrence.py"),
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/cooccurrence.py" --cohort {input.cohort:q} --tokens {input.tokens:q} --sequences {input.sequences:q}'
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
        terms=rules.compute_terms.output if BENCHMARKS else [],
    output:
        "<results>/embeddings/{embedding}/quality.json",
    log:
        "<logs>/embedding_quality/{embedding}.log",
    benchmark:
        "<benchmarks>/embedding_quality/{embedding}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(3000, per_mb=20),
        runtime=grow(60, per_mb=0.5),
    params:
        code=code("embedding_quality.py"),
        data=study.config["data"],
        site=study.tabled,
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/embedding_quality.py" --site {params.site:q} --vocabulary {input.vocabularies:q} --table {input.tables:q}'
        ' --benchmark {input.benchmarks:q} --catalogue "$CONCEPTBRIDGE_EMBEDDINGS" --embedding {wildcards.embedding}'
        ' --data {params.data:q} --cache "$CONCEPTBRIDGE_CACHE" --min-cell-count {params.min_cell_count} --out {output:q} > {log:q} 2>&1'


rule embedding_tables:
    input:
        quality=expand(
            "<results>/embeddings/{embedding}/quality.json", embedding=TABLED
        ),
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
    resources:
        mem_mb=grow(1000),
        runtime=grow(10),
    params:
        code=code("embedding_tables.py"),
        tables=folder("tables"),
        figures=folder("figures"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/embedding_tables.py" --quality {input.quality:q} --tables {params.tables:q} --figures {params.figures:q}'
        " > {log:q} 2>&1"

"""Embeddings: a site's texts become vectors, each computed once for all sites and kept in the cache; a table per site.

in:  <results>/sites/{site}/vocabulary.parquet, rated term pairs, for learned ones <results>/tasks/{task}/{site}/*.parquet
out: <results>/embeddings/{embedding}/{site}.computed.json, terms.json, {site}.parquet (vectors, or ancestors),
     {task}/{site}.parquet (learned), quality.json,
     <results>/tables/embeddings.*, alignment.*, texts.*, <results>/figures/embeddings.*
"""

TERM_PAIRS = [str(file) for file in study.term_pairs]


localrules:
    fetch_models,


# asked for by name, on a machine with a network: compute nodes then find the models in the hub's cache
rule fetch_models:
    log:
        "<logs>/fetch_models.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("fetch_models"),
    shell:
        "python {params.job[script]:q} --catalogue {params.job[catalogue]:q} > {log:q} 2>&1"


# One job per site. A job for all sites would have to be `ancient` to the tables of vectors, or a new site would train
# the old ones again; and Snakemake does not look again at what comes after an ancient file once that is made: changes
# were missed.
rule compute_texts:
    input:
        vocabulary=rules.vocabulary.output,
    output:
        at(layout.COMPUTED),
    log:
        "<logs>/compute_texts/{embedding}/{site}.log",
    wildcard_constraints:
        site="|".join(study.sites),
    conda:
        "../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(6000),
        runtime=grow(120, per_mb=30),
    params:
        job=job("compute_texts"),
    shell:
        "python {params.job[script]:q} --vocabulary {input.vocabulary:q} --catalogue {params.job[catalogue]:q}"
        " --embedding {wildcards.embedding} {params.job[local_text]} --data {params.job[data]:q}"
        " --cache {params.job[cache]:q} --out {output:q} --threads {threads} > {log:q} 2>&1"


rule compute_terms:
    input:
        term_pairs=TERM_PAIRS,
    output:
        at(layout.TERMS),
    log:
        "<logs>/compute_terms/{embedding}.log",
    conda:
        "../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(6000),
        runtime=grow(120, per_mb=30),
    params:
        job=job("compute_terms"),
    shell:
        "python {params.job[script]:q} --term-pairs {input.term_pairs:q} --catalogue {params.job[catalogue]:q}"
        " --embedding {wildcards.embedding} --data {params.job[data]:q} --cache {params.job[cache]:q}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"


rule embed:
    input:
        vocabulary=rules.vocabulary.output,
        computed=rules.compute_texts.output,
    output:
        at(layout.VECTORS),
    log:
        "<logs>/embed/{embedding}/{site}.log",
    wildcard_constraints:
        embedding=WITH_VECTORS,
        site="|".join(study.sites),
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("embed"),
    shell:
        "python {params.job[script]:q} --vocabulary {input.vocabulary:q} --catalogue {params.job[catalogue]:q}"
        " --embedding {wildcards.embedding} {params.job[local_text]} --data {params.job[data]:q}"
        " --cache {params.job[cache]:q} --out {output:q} > {log:q} 2>&1"


# The table of an embedding without vectors: what each of the site's tokens is as well.
rule find_ancestors:
    input:
        vocabulary=at(layout.VOCABULARY),
        cdm=hierarchies,
    output:
        at(layout.VECTORS),
    log:
        "<logs>/find_ancestors/{embedding}/{site}.log",
    wildcard_constraints:
        embedding=WITH_ANCESTORS,
        site="|".join(study.sites),
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000),
        runtime=grow(20),
    params:
        job=job("find_ancestors"),
    shell:
        "python {params.job[script]:q} --vocabulary {input.vocabulary:q} --cdm {input.cdm:q}"
        " --catalogue {params.job[catalogue]:q} --embedding {wildcards.embedding} --site {wildcards.site}"
        " --out {output:q} > {log:q} 2>&1"


rule learn_vectors:
    input:
        cohort=at(layout.COHORT),
        tokens=at(layout.TOKENS),
        sequences=at(layout.SEQUENCES),
    output:
        at(layout.LEARNED_VECTORS),
    log:
        "<logs>/learn_vectors/{embedding}/{task}/{site}.log",
    wildcard_constraints:
        embedding=f"(?!({OF_ROWS})/)[^/]+",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(3000, per_mb=20),
        runtime=grow(60, per_mb=0.5),
    params:
        job=job("learn_vectors"),
    shell:
        "python {params.job[script]:q} --cohort {input.cohort:q} --tokens {input.tokens:q}"
        " --sequences {input.sequences:q} --catalogue {params.job[catalogue]:q} --embedding {wildcards.embedding}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"


# One vector per prediction: from a file, or of the record as text.
rule represent:
    input:
        rows=rows(),
        file=lambda w: plan.given("represent", **w),
    output:
        at(layout.LEARNED_VECTORS),
    log:
        "<logs>/represent/{embedding}/{task}/{site}.log",
    wildcard_constraints:
        embedding=OF_ROWS,
    conda:
        "../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(6000, per_mb=20),
        runtime=grow(120, per_mb=60),
    params:
        job=job("represent"),
    shell:
        "python {params.job[script]:q} --rows {input.rows:q} --file {input.file:q} --windows {params.job[windows]:q}"
        " --catalogue {params.job[catalogue]:q} --embedding {wildcards.embedding} --cache {params.job[cache]:q}"
        " --out {output:q} --threads {threads} > {log:q} 2>&1"


rule embedding_quality:
    input:
        vocabularies=expand(rules.vocabulary.output, site=study.tabled),
        tables=expand(at(layout.VECTORS), site=study.tabled, allow_missing=True),
        term_pairs=TERM_PAIRS,
        terms=rules.compute_terms.output if TERM_PAIRS else [],
    output:
        at(layout.EMBEDDING_QUALITY),
    log:
        "<logs>/embedding_quality/{embedding}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(3000, per_mb=20),
        runtime=grow(60, per_mb=0.5),
    params:
        job=job("embedding_quality"),
        site=study.tabled,
    shell:
        "python {params.job[script]:q} --site {params.site:q} --vocabulary {input.vocabularies:q} --table {input.tables:q}"
        " --term-pairs {input.term_pairs:q} --catalogue {params.job[catalogue]:q} --embedding {wildcards.embedding}"
        " --data {params.job[data]:q} --cache {params.job[cache]:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"


rule embedding_tables:
    input:
        quality=expand(at(layout.EMBEDDING_QUALITY), embedding=plan.tabled),
    output:
        expand(
            at(layout.TABLE),
            table=["embeddings", "alignment", "texts"],
            suffix=["parquet", "csv", "md"],
        ),
        expand(at(layout.FIGURE), figure="embeddings", suffix=["svg", "png"]),
    log:
        "<logs>/embedding_tables.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000),
        runtime=grow(10),
    params:
        job=job("embedding_tables"),
    shell:
        "python {params.job[script]:q} --quality {input.quality:q} --tables {params.job[results]:q}/tables"
        " --figures {params.job[results]:q}/figures > {log:q} 2>&1"

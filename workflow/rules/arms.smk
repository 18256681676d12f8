"""Arms: a learner on an embedding, by one strategy, at one target; all sources and seeds in one job.

in:  <results>/tasks/{task}/{site}/*.parquet, <results>/embeddings/{embedding}/{site}.parquet
out: <results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/, <results>/arms/{task}/{embedding}/rows.sha256,
     {learner}/models.sha256, {learner}/sources/{strategy}/
"""


localrules:
    rows_digest,
    models_digest,


# Training at the target.
rule train:
    input:
        rows=rows("{target}"),
        vectors=lambda w: vectors(w.embedding, w.target, w.task),
    output:
        directory(at(layout.ARM)),
    log:
        "<logs>/train/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.OWN_ROWS),
        embedding=TRAINED,
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        # pooled vectors of a large site (benchmarks/large.py)
        mem_mb=grow(2000, per_mb=200),
        runtime=grow(60, per_mb=5),
    params:
        job=job("train"),
    shell:
        "python {params.job[script]:q} --job {params.job[arm]:q} --results {params.job[results]:q} --out {output:q} > {log:q} 2>&1"


# Every pooled arm reads the rows of all sources, and every transfer their models: files times files. One file stands for
# them all, so that a study of 20 sites is planned in seconds; it has other bytes as soon as one of them has.
rule rows_digest:
    input:
        sources_rows,
    output:
        at(layout.ROWS_DIGEST),
    log:
        "<logs>/rows_digest/{task}/{embedding}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("rows_digest"),
    shell:
        "python {params.job[script]:q} {input:q} --out {output:q} > {log:q} 2>&1"


rule models_digest:
    input:
        expand(
            at(layout.ARM, strategy="local"), target=study.sources, allow_missing=True
        ),
    output:
        at(layout.MODELS_DIGEST),
    log:
        "<logs>/models_digest/{task}/{embedding}/{learner}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("models_digest"),
        # not what they predict at their own site
        parts=["arm.json", "models"],
    shell:
        "python {params.job[script]:q} {input:q} --parts {params.parts} --out {output:q} > {log:q} 2>&1"


# The model of all sources' rows that is the same for every target that is no source.
use rule train as pool_sources with:
    input:
        sources_rows,
    output:
        directory(at(layout.SOURCES_MODEL)),
    log:
        "<logs>/pool_sources/{task}/{embedding}/{learner}/{strategy}.log",
    wildcard_constraints:
        strategy=that_need(Needs.SHARED_ROWS),
        embedding=TRAINED,


use rule train as pool with:
    input:
        rows=rows("{target}"),
        vectors=lambda w: vectors(w.embedding, w.target, w.task),
        others=others_of,
    log:
        "<logs>/pool/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.SHARED_ROWS),
        embedding=TRAINED,
    resources:
        # the rows of all sources, of which the target's are one part
        mem_mb=grow(2000, per_mb=200 * len(study.sources)),
        runtime=grow(60, per_mb=5 * len(study.sources)),


# One model of all sources for all targets, without moving a row: a process per site opens that site's files alone.
rule federate:
    input:
        sources_rows,
    output:
        directory(at(layout.SOURCES_MODEL)),
    log:
        "<logs>/federate/{task}/{embedding}/{learner}/{strategy}.log",
    wildcard_constraints:
        strategy="none" if study.federated_models else that_need(Needs.ROUNDS),
        embedding=TRAINED,
    conda:
        "../envs/conceptbridge.yaml"
    threads: 2
    resources:
        # a process per site
        mem_mb=grow(1000 * (1 + len(study.sources)), per_mb=200),
        runtime=grow(120, per_mb=20),
    params:
        job=job("federate"),
    shell:
        "python {params.job[script]:q} --job {params.job[arm]:q} --results {params.job[results]:q} --at-once {threads} --out {output:q} > {log:q} 2>&1"


use rule train as use_federated with:
    input:
        rows=rows("{target}"),
        vectors=lambda w: vectors(w.embedding, w.target, w.task),
        model=at(layout.SOURCES_MODEL),
    log:
        "<logs>/use_federated/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.ROUNDS),
        embedding=TRAINED,


# The models of all other sites, brought to one target.
use rule train as transfer with:
    input:
        rows=rows("{target}"),
        vectors=lambda w: known_vectors(w, w.target),
        sources=rules.models_digest.output,
    log:
        "<logs>/transfer/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.SOURCE_MODELS),
        embedding=TRAINED,


# The same on a translation: the models are one-hot's, and where rows of several sites are joined, one site's words are used.
use rule transfer as transfer_translated with:
    input:
        rows=rows("{target}"),
        translations=lambda w: translations(w.embedding, w.target, w.task),
        sources=models_of_sources,
    log:
        "<logs>/transfer_translated/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.SOURCE_MODELS),
        embedding=TRANSLATED,
    params:
        job=job("transfer_translated"),


use rule pool_sources as pool_sources_translated with:
    input:
        sources_rows,
        translations_of_sources,
    log:
        "<logs>/pool_sources_translated/{task}/{embedding}/{learner}/{strategy}.log",
    wildcard_constraints:
        strategy=that_need(Needs.SHARED_ROWS),
        embedding=TRANSLATED,
    params:
        job=job("pool_sources_translated"),


use rule pool as pool_translated with:
    input:
        rows=rows("{target}"),
        translations=lambda w: translations(w.embedding, w.target, w.task),
        others=others_of,
        of_others=translations_of_sources,
    log:
        "<logs>/pool_translated/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.SHARED_ROWS),
        embedding=TRANSLATED,
    params:
        job=job("pool_translated"),


# The same by rounds: each site's process reads its own rows in the words of the first source.
use rule federate as federate_translated with:
    input:
        sources_rows,
        translations_of_sources,
    log:
        "<logs>/federate_translated/{task}/{embedding}/{learner}/{strategy}.log",
    wildcard_constraints:
        strategy=that_need(Needs.ROUNDS),
        embedding=TRANSLATED,
    params:
        job=job("federate_translated"),


use rule train as use_federated_translated with:
    input:
        rows=rows("{target}"),
        translations=lambda w: translations(w.embedding, w.target, w.task),
        # where the hub's words are
        hub=lambda w: at(
            layout.TOKENS, site=plan.hub(w.strategy, w.target), task=w.task
        ),
        model=at(layout.SOURCES_MODEL),
    log:
        "<logs>/use_federated_translated/{task}/{embedding}/{learner}/{strategy}/{target}.log",
    wildcard_constraints:
        strategy=that_need(Needs.ROUNDS),
        embedding=TRANSLATED,
    params:
        job=job("use_federated_translated"),

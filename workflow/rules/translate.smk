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


READ = [e for e in study.translated if not e.drawn]


rule summarise_translations:
    input:
        profiles=lambda w: [
            at(layout.PROFILE, task=w.task, site=site)
            for site in [w.target, *study.others(w.target)]
        ],
        tokens=lambda w: [
            at(layout.TOKENS, task=w.task, site=site)
            for site in study.others(w.target)
        ],
        translations=[translations(e.id, "{target}", "{task}") for e in READ],
    output:
        readings=at(layout.METRICS, table="translations"),
        shares=at(layout.METRICS, table="translation_shares"),
    log:
        "<logs>/summarise_translations/{task}/{target}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("summarise_translations"),
        sources=lambda w: study.others(w.target),
        embeddings=[f"{e.name}={e.id}" for e in READ],
    shell:
        "python {params.job[script]:q} --task {wildcards.task} --target {wildcards.target} --sources {params.sources:q}"
        " --embeddings {params.embeddings:q} --results {params.job[results]:q}"
        " --min-cell-count {params.job[min_cell_count]} --readings {output.readings:q} --shares {output.shares:q}"
        " > {log:q} 2>&1"


# asked for by name, of the study's first translation
rule review:
    input:
        words=lambda w: [
            file
            for site in [w.target, *study.others(w.target)]
            for file in words(READ[0].id, site, w.task)
        ],
        translations=[translations(e.id, "{target}", "{task}") for e in READ[:1]],
    output:
        directory(at(layout.REVIEW)),
    log:
        "<logs>/review/{task}/{target}.log",
    wildcard_constraints:
        target="|".join(study.own + study.scored) or "none",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("review"),
    shell:
        "python {params.job[script]:q} --job {params.job[translation]:q} --embedding {params.job[embedding]:q}"
        " --results {params.job[results]:q} --out {output:q} > {log:q} 2>&1"


rule translations:
    input:
        expand(rules.review.output, task=TASKS, target=study.reviewed if READ else []),

"""What models look at: the tokens that change the predictions of the models that a target's answer names, at each site.

in:  <results>/metrics/{task}/{target}/comparisons.parquet, which names the models; what these read at the site
out: <results>/importance/{task}/{site}.parquet
"""


rule importance:
    input:
        # of all targets: any of them may use this site's models
        comparisons=expand(
            at(layout.METRICS, table="comparisons"),
            target=study.targets,
            allow_missing=True,
        ),
        rows=rows(),
        vectors=lambda w: of_embeddings(vectors, w.site, w.task),
        arms=lambda w: [
            at(layout.ARM, task=w.task, target=w.site, **arm)
            for arm in plan.arms_looked_at(w.site)
        ],
        sources=lambda w: models_looked_at(w.site, w.task),
        translations=lambda w: [
            translations(e.id, w.site, w.task)
            for e in study.translated
            if w.site in study.targets
        ],
        # what translated tokens are read as
        words=lambda w: [
            at(layout.TOKENS, task=w.task, site=site)
            for site in study.others(w.site)
            if study.translated and w.site in study.targets
        ],
    output:
        at(layout.IMPORTANCE),
    log:
        "<logs>/importance/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(4000, per_mb=20),
        runtime=grow(60, per_mb=5),
    params:
        job=job("importance"),
    shell:
        "python {params.job[script]:q} --looking {params.job[looking]:q} --task {wildcards.task} --site {wildcards.site}"
        " --comparisons {input.comparisons:q} --results {params.job[results]:q} --out {output:q} > {log:q} 2>&1"

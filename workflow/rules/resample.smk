"""Limits for methods (evaluation.training: resampled): the headline arms, trained again on half-samples of training persons.

in:  <results>/metrics/{task}/{target}/comparisons.parquet, which names the headline arms; what these arms read
out: <results>/resamples/{task}/{site}/, <results>/metrics/{task}/{target}/method_limits.parquet
"""


rule resample_local:
    input:
        # of all targets: any of them may use this site's models
        comparisons=expand(
            at(layout.METRICS, table="comparisons"),
            target=study.targets,
            allow_missing=True,
        ),
        rows=rows(),
        vectors=lambda w: of_embeddings(vectors, w.site, w.task),
        arms=expand(
            at(layout.ARM, strategy="local", target="{site}"),
            embedding=[e.id for e in EMBEDDINGS if not e.translated],
            learner=LEARNERS,
            allow_missing=True,
        ),
    output:
        directory(at(layout.RESAMPLED)),
    log:
        "<logs>/resample_local/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(4000, per_mb=60),
        runtime=grow(120, per_mb=20),
    params:
        job=job("resample_local"),
    shell:
        "python {params.job[script]:q} --resampling {params.job[resampling]:q} --task {wildcards.task} --site {wildcards.site}"
        " --comparisons {input.comparisons:q} --results {params.job[results]:q} --processes {threads} --out {output:q}"
        " > {log:q} 2>&1"


rule resample:
    input:
        comparisons=at(layout.METRICS, table="comparisons"),
        rows=rows("{target}"),
        vectors=lambda w: of_embeddings(vectors, w.target, w.task),
        arms=lambda w: [
            at(layout.ARM, task=w.task, target=w.target, **arm)
            for arm in plan.arms_at(w.target)
        ],
        translations=lambda w: [
            translations(e.id, site, w.task)
            for e in study.translated
            for site in plan.modelled(w.target)
            if site in study.own
        ],
        local=lambda w: [
            at(layout.RESAMPLED, task=w.task, site=site) for site in resampled_at(w)
        ],
        others=others_rows,
    output:
        at(layout.METRICS, table="method_limits"),
    log:
        "<logs>/resample/{task}/{target}.log",
    conda:
        "../envs/conceptbridge.yaml"
    threads: 8
    resources:
        mem_mb=grow(4000, per_mb=60),
        runtime=grow(120, per_mb=20),
    params:
        job=job("resample"),
    shell:
        "python {params.job[script]:q} --resampling {params.job[resampling]:q} --task {wildcards.task} --target {wildcards.target}"
        " --comparisons {input.comparisons:q} --results {params.job[results]:q} --processes {threads} --out {output:q}"
        " > {log:q} 2>&1"

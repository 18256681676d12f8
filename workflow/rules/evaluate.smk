"""Evaluation: all arms at one target, on the same rows and the same resamples.

in:  <results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/, predictions of other models, <results>/tasks/{task}/{target}/cohort.parquet,
     sequences.parquet, and each site's tokens.parquet
out: <results>/external/{task}/{external}/{target}/, <results>/metrics/{task}/{target}/*.parquet
"""

from conceptbridge.evaluate.schemas import COLUMNS

METRIC_TABLES = list(COLUMNS)


# What another model predicts, from a file.
rule external:
    input:
        file=lambda w: plan.given("external", **w),
        cohort=at(layout.COHORT, site="{target}"),
    output:
        directory(at(layout.EXTERNAL)),
    log:
        "<logs>/external/{task}/{external}/{target}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("external"),
    shell:
        "python {params.job[script]:q} --file {input.file:q} --cohort {input.cohort:q} --out {output:q} > {log:q} 2>&1"


rule evaluate:
    input:
        cohort=at(layout.COHORT, site="{target}"),
        sequences=at(layout.SEQUENCES, site="{target}"),
        tokens=lambda w: [
            at(layout.TOKENS, task=w.task, site=site)
            for site in plan.modelled(w.target)
        ],
        arms=lambda w: arms_tested_at(w.task, w.target),
    output:
        expand(at(layout.METRICS), table=METRIC_TABLES, allow_missing=True),
    log:
        "<logs>/evaluate/{task}/{target}.log",
    conda:
        "../envs/conceptbridge.yaml"
    threads: 2
    resources:
        mem_mb=grow(4000, per_mb=10),
        runtime=grow(60, per_mb=1),
    params:
        job=job("evaluate"),
        sites=lambda w: plan.modelled(w.target),
        out=subpath(output[0], parent=True),
        embeddings=[f"{e.name}={e.id}" for e in EMBEDDINGS],
        learners=LEARNERS,
        strategies=lambda w: study.strategies_at(w.target),
        external=lambda w: externals_at(w.task, w.target),
    shell:
        "python {params.job[script]:q} --arms {params.job[results]:q}/arms/{wildcards.task} --task {wildcards.task} --target {wildcards.target}"
        " --embeddings {params.embeddings:q} --controls {params.job[controls]:q} --without {params.job[without]:q} --learners {params.learners:q}"
        " --strategies {params.strategies:q} --external {params.external:q} --cohort {input.cohort:q} --sequences {input.sequences:q}"
        " --sites {params.sites:q} --tokens {input.tokens:q} --settings {params.job[settings]:q}"
        " --processes {threads} --out {params.out:q} > {log:q} 2>&1"

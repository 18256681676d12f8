"""MEDS: cohorts as labels and predictions of all arms, for tools that read them (`meds`).

in:  <results>/tasks/{task}/{site}/cohort.parquet, <results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/
out: <results>/meds/{task}/{site}/labels/{split}.parquet, predictions/{embedding}/{learner}/{strategy}/{source}/{seed}.parquet
"""


rule write_meds:
    input:
        cohort=at(layout.COHORT),
        arms=lambda w: arms_tested_at(w.task, w.site),
    output:
        directory(at(layout.MEDS)),
    log:
        "<logs>/write_meds/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("write_meds"),
        embeddings=[f"{e.name}={e.id}" for e in EMBEDDINGS],
        learners=LEARNERS,
        strategies=lambda w: (
            study.strategies_at(w.site) if w.site in study.targets else []
        ),
        external=lambda w: externals_at(w.task, w.site),
    shell:
        "python {params.job[script]:q} --cohort {input.cohort:q} --arms {params.job[results]:q}/arms/{wildcards.task}"
        " --target {wildcards.site} --embeddings {params.embeddings:q} --without {params.job[without]:q}"
        " --learners {params.learners:q} --strategies {params.strategies:q} --external {params.external:q}"
        " --out {output:q} > {log:q} 2>&1"


rule meds:
    input:
        expand(rules.write_meds.output, task=TASKS, site=study.own),

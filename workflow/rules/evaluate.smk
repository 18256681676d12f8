"""Evaluation: all arms at one target, on the same rows and the same resamples.

in:  <results>/arms/{task}/{embedding}/{learner}/{strategy}/{target}/, <results>/tasks/{task}/{target}/cohort.parquet,
     sequences.parquet, and each site's tokens.parquet
out: <results>/metrics/{task}/{target}/*.parquet
"""


rule evaluate:
    input:
        cohort="<results>/tasks/{task}/{target}/cohort.parquet",
        sequences="<results>/tasks/{task}/{target}/sequences.parquet",
        tokens=lambda w: list(tokens_at(w).values()),
        arms=expand(
            "<results>/arms/{{task}}/{embedding}/{learner}/{strategy}/{{target}}",
            embedding=[e.id for e in EMBEDDINGS],
            learner=LEARNERS,
            strategy=STRATEGIES,
        ),
    output:
        [
            f"<results>/metrics/{{task}}/{{target}}/{table}.parquet"
            for table in (
                "metrics",
                "seeds",
                "comparisons",
                "effects",
                "subgroups",
                "unseen",
                "curves",
                "breakeven",
                "points",
                "spent",
                "site",
            )
        ],
    log:
        "<logs>/evaluate/{task}/{target}.log",
    benchmark:
        "<benchmarks>/evaluate/{task}/{target}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    threads: 2
    resources:
        mem_mb=grow(4000, per_mb=20),
        runtime=grow(60, per_mb=1),
    params:
        code=code("evaluate.py"),
        arms=folder("arms/{task}"),
        tokens=lambda w: [
            f"{site}={file}"
            for site, file in zip(tokens_at(w), placed(tokens_at(w).values()))
        ],
        out=subpath(output[0], parent=True),
        embeddings=[f"{e.name}={e.id}" for e in EMBEDDINGS],
        controls=[e.name for e in EMBEDDINGS if e.control],
        learners=LEARNERS,
        strategies=STRATEGIES,
        settings=canonical(
            study.config["evaluation"]
            | {"min_cell_count": study.config["min_cell_count"]}
        ),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/evaluate.py" --arms {params.arms:q} --task {wildcards.task}'
        " --target {wildcards.target} --embeddings {params.embeddings:q} --controls {params.controls:q}"
        " --learners {params.learners:q} --strategies {params.strategies:q} --cohort {input.cohort:q}"
        " --sequences {input.sequences:q} --tokens {params.tokens:q} --settings {params.settings:q}"
        " --processes {threads} --out {params.out:q} > {log:q} 2>&1"

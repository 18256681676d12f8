"""Aggregates: what a site tells of its results leaves in one file (`snakemake aggregates`), and comes in at the coordinator.

in:  <results>/metrics/{task}/{site}/, <results>/tasks/{task}/{site}/, <results>/sites/{site}/; aggregate results files
out: <results>/aggregates/{site}.zip and {site}.md, what leaves in it; of each received file what the site's jobs would be
"""

SITE_AGGREGATES = [
    f"<results>/tasks/{task}/{{reported}}/{file}"
    for task in TASKS
    for file in ("attrition.csv", "leaks.parquet", "tokens.parquet")
] + [
    "<results>/sites/{reported}/quality.json",
    "<results>/sites/{reported}/vocabulary.parquet",
]
METRIC_AGGREGATES = [
    path.replace("{target}", "{reported}")
    for task in TASKS
    for path in expand(rules.evaluate.output, task=task, allow_missing=True)
]


rule write_aggregates:
    input:
        aggregated,
        quality=rules.ingest.output.quality,
        cdm=rules.ingest.output.tables,
        vocabulary=rules.vocabulary.output,
        cohorts=expand(rules.cohort.output.cohort, task=TASKS, allow_missing=True),
    output:
        file="<results>/aggregates/{site}.zip",
        sheet="<results>/aggregates/{site}.md",
    log:
        "<logs>/write_aggregates/{site}.log",
    benchmark:
        "<benchmarks>/write_aggregates/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("write_aggregates.py"),
        results=lambda w: RESULTS,
        about=lambda w: canonical(
            {
                "site": w.site,
                "role": study.config["sites"][w.site]["role"],
                "simulated": study.simulated(w.site),
                "study": study.compared(),
            }
        ),
        config=lambda w: canonical(study.told),
        folders=lambda w: [study.extract(w.site)],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/write_aggregates.py" --results {params.results:q} --about {params.about:q} --cohorts {input.cohorts:q}'
        " --config {params.config:q} --folders {params.folders:q} --out {output.file:q} --sheet {output.sheet:q}"
        " > {log:q} 2>&1"


rule aggregates:
    input:
        expand(rules.write_aggregates.output, site=study.own),


# what a received table may name
NAMES = {
    "embedding": [e.name for e in EMBEDDINGS],
    "learner": LEARNERS,
    "strategy": study.config["strategies"],
    "source": [*study.sites, "all", "others"],
}


rule receive_aggregates:
    input:
        file=lambda w: study.results_file(w.reported),
    output:
        SITE_AGGREGATES + METRIC_AGGREGATES,
    log:
        "<logs>/receive_aggregates/{reported}.log",
    benchmark:
        "<benchmarks>/receive_aggregates/{reported}.tsv"
    wildcard_constraints:
        reported="|".join(s for s in study.reported if s in study.targets) or "none",
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("receive_aggregates.py"),
        task=TASKS,
        results=lambda w: RESULTS,
        names=lambda w: canonical(NAMES),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/receive_aggregates.py" --file {input.file:q} --site {wildcards.reported} --task {params.task:q}'
        " --names {params.names:q} --results {params.results:q} > {log:q} 2>&1"


# of a site where no model is tested there are no metrics
use rule receive_aggregates as receive_source with:
    output:
        SITE_AGGREGATES,
    wildcard_constraints:
        reported="|".join(s for s in study.reported if s not in study.targets) or "none",

"""Aggregates: what a site tells of its results leaves in one file (`snakemake aggregates`), and comes in at the coordinator.

in:  <results>/metrics/{task}/{site}/, <results>/tasks/{task}/{site}/, <results>/sites/{site}/; aggregate results files
out: <results>/aggregates/{site}.zip and {site}.md, what leaves in it; of each received file what the site's jobs would be
"""


rule write_aggregates:
    input:
        told_of_site("{site}"),
        lambda w: told_of_models(w.site) if w.site in study.targets else [],
        cdm=at(layout.CDM),
        cohorts=expand(at(layout.COHORT), task=TASKS, allow_missing=True),
    output:
        file=at(layout.AGGREGATES),
        sheet=at(layout.AGGREGATES_SHEET),
    log:
        "<logs>/write_aggregates/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("write_aggregates"),
    shell:
        "python {params.job[script]:q} --results {params.job[results]:q} --about {params.job[about]:q}"
        " --cohorts {input.cohorts:q} --config {params.job[config]:q} --folders {params.job[folder]:q}"
        " --out {output.file:q} --sheet {output.sheet:q} > {log:q} 2>&1"


rule aggregates:
    input:
        expand(rules.write_aggregates.output, site=study.own),


rule receive_aggregates:
    input:
        file=lambda w: study.results_file(w.reported),
    output:
        told_of_site("{reported}") + told_of_models("{reported}"),
    log:
        "<logs>/receive_aggregates/{reported}.log",
    wildcard_constraints:
        reported="|".join(s for s in study.reported if s in study.targets) or "none",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("receive_aggregates"),
        task=TASKS,
    shell:
        "python {params.job[script]:q} --file {input.file:q} --site {wildcards.reported} --task {params.task:q}"
        " --names {params.job[names]:q} --results {params.job[results]:q} > {log:q} 2>&1"


# of a site where no model is tested there are no metrics
use rule receive_aggregates as receive_source with:
    output:
        told_of_site("{reported}"),
    wildcard_constraints:
        reported="|".join(s for s in study.reported if s not in study.targets) or "none",

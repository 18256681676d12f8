"""Report: the joint tables, figures and the page.

in:  <results>/metrics/{task}/{target}/*.parquet, each site's tokens.parquet, attrition.csv, splits.parquet, quality.json
out: <results>/tables/*.{parquet,csv,md,tex}, <results>/figures/*.{svg,pdf,png}, <results>/report/index.html
"""

from conceptbridge.report.figures.registry import INPUTS, study_figures
from conceptbridge.report.study_tables import OHDSI, STUDY_TABLES

# tables to be read, and long ones
READ_TABLES = [table.name for table in STUDY_TABLES if not table.long]
LONG_TABLES = [table.name for table in STUDY_TABLES if table.long]
FIGURES = list(study_figures(TASKS, LEARNERS))
# sections of the page, which Snakemake's own report has as well
section_of = {
    table.name: (table.section or "all arms").replace("-", " ")
    for table in STUDY_TABLES
}


rule tables:
    input:
        metrics=expand(rules.evaluate.output, task=TASKS, target=study.targets),
        more=expand(
            at(layout.METRICS),
            task=TASKS,
            target=study.targets,
            table=plan.more_tables,
        ),
        tokens=expand(rules.sequences.output.tokens, task=TASKS, site=study.tabled),
        attrition=expand(rules.cohort.output.attrition, task=TASKS, site=study.tabled),
        splits=expand(rules.cohort.output.splits, task=TASKS, site=study.tabled),
        leaks=expand(rules.leaks.output, task=TASKS, site=study.tabled),
        looked_at=expand(rules.importance.output, task=TASKS, site=plan.looked_at),
        # a site that has sent its results keeps its own
        concepts=expand(
            rules.cohort.output.concepts,
            task=TASKS,
            site=[site for site in study.tabled if site in study.own],
        ),
    output:
        expand(at(layout.TABLE), table=READ_TABLES, suffix=["parquet", "md", "tex"]),
        expand(at(layout.TABLE), table=LONG_TABLES, suffix=["parquet", "csv"]),
        expand(at(layout.OHDSI_TABLE), table=OHDSI),
        [
            report(
                at(layout.TABLE, table=name, suffix="csv"),
                caption="../report/table.rst",
                category="Tables",
                subcategory=section_of[name],
                labels={"table": name.replace("_", " ")},
            )
            for name in READ_TABLES
        ],
    log:
        "<logs>/tables.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("tables"),
        task=TASKS,
        site=study.tabled,
        target=study.targets,
    shell:
        "python {params.job[script]:q} --metrics {params.job[results]:q}/metrics --tasks {params.job[results]:q}/tasks"
        " --task {params.task:q} --site {params.site:q} --target {params.target:q}"
        " --min-cell-count {params.job[min_cell_count]} --more {params.job[more]:q}"
        " --looked-at {input.looked_at:q} --out {params.job[results]:q}/tables > {log:q} 2>&1"


rule figures:
    input:
        tables=expand(at(layout.TABLE), table=INPUTS, suffix="parquet"),
    output:
        [
            report(
                at(layout.FIGURE, figure=figure.name, suffix="svg"),
                caption="../report/figure.rst",
                category="Figures",
                subcategory=figure.kind.section,
                labels={"figure": figure.caption},
            )
            for figure in FIGURES
        ],
        expand(
            at(layout.FIGURE),
            figure=[figure.name for figure in FIGURES],
            suffix=["pdf", "png"],
        ),
    log:
        "<logs>/figures.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        job=job("figures"),
    shell:
        "python {params.job[script]:q} --tables {params.job[results]:q}/tables --out {params.job[results]:q}/figures > {log:q} 2>&1"


rule provenance:
    # after the tables: it says what they were made with
    input:
        tables=rules.tables.output,
    output:
        at(layout.PROVENANCE),
    log:
        "<logs>/provenance.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000),
        runtime=grow(10),
    params:
        job=job("provenance"),
    shell:
        "python {params.job[script]:q} --config {params.job[config]:q}"
        " --origins {params.job[origins]:q} --fingerprints {params.job[fingerprints]:q} {params.job[simulated]}"
        " --out {output:q} > {log:q} 2>&1"


rule report:
    input:
        tables=rules.tables.output,
        embeddings=rules.embedding_tables.output,
        figures=rules.figures.output,
        quality=expand(rules.ingest.output.quality, site=study.tabled),
        concepts=rules.tables.input.concepts,
        # the names of concepts at sites whose rows are elsewhere
        vocabulary=expand(
            at(layout.VOCABULARY),
            site=[site for site in study.tabled if site in study.reported],
        ),
        provenance=rules.provenance.output,
    output:
        report(
            at(layout.PAGE),
            caption="../report/page.rst",
            category="Answers",
            labels={"page": "the answers"},
        ),
    log:
        "<logs>/report.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000, per_mb=20),
        runtime=grow(10),
    params:
        job=job("report"),
    shell:
        "python {params.job[script]:q} --tables {params.job[results]:q}/tables --figures {params.job[results]:q}/figures"
        " --sites-folder {params.job[results]:q}/sites --tasks-folder {params.job[results]:q}/tasks --provenance {input.provenance:q} --title {params.job[title]:q} --warnings {params.job[warnings]:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"

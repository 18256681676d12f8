"""Report: the joint tables, figures and the page.

in:  <results>/metrics/{task}/{target}/*.parquet, each site's tokens.parquet, attrition.csv, quality.json
out: <results>/tables/*.{parquet,csv,md,tex}, <results>/figures/*.{svg,png}, <results>/report/index.html
"""

# tables to be read, and long ones (Parquet and CSV alone)
READ_TABLES = [
    "arms",
    "main",
    "summary",
    "comparisons",
    "subgroups",
    "unseen",
    "curves",
    "breakeven",
    "spent",
    "sites",
    "overlap",
    "attrition",
    "leaks",
]
LONG_TABLES = ["metrics", "seeds", "points"]
TASK_FIGURES = ["learning", "depth", "calibration", "roc", "net-benefit", "overlap"]


rule tables:
    input:
        metrics=expand(rules.evaluate.output, task=TASKS, target=study.targets),
        tokens=expand(rules.sequences.output.tokens, task=TASKS, site=study.tabled),
        attrition=expand(rules.cohort.output.attrition, task=TASKS, site=study.tabled),
        leaks=expand(rules.leaks.output, task=TASKS, site=study.tabled),
    output:
        expand(
            "<results>/tables/{table}.{suffix}",
            table=READ_TABLES,
            suffix=["parquet", "md", "tex"],
        ),
        expand("<results>/tables/{table}.parquet", table=LONG_TABLES),
        report(
            expand("<results>/tables/{table}.csv", table=READ_TABLES),
            caption="../report/table.rst",
            category="Tables",
        ),
        expand("<results>/tables/{table}.csv", table=LONG_TABLES),
    log:
        "<logs>/tables.log",
    benchmark:
        "<benchmarks>/tables.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        code=code("tables.py"),
        metrics=folder("metrics"),
        tasks=folder("tasks"),
        out=folder("tables"),
        task=TASKS,
        site=study.tabled,
        target=study.targets,
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/tables.py" --metrics {params.metrics:q} --tasks {params.tasks:q}'
        " --task {params.task:q} --site {params.site:q} --target {params.target:q}"
        " --min-cell-count {params.min_cell_count} --out {params.out:q} > {log:q} 2>&1"


rule figures:
    input:
        tables=expand(
            "<results>/tables/{table}.parquet",
            table=[
                "arms",
                "comparisons",
                "curves",
                "breakeven",
                "points",
                "overlap",
                "alignment",
            ],
        ),
    output:
        report(
            expand(
                "<results>/figures/transfer-{task}-{learner}.svg",
                task=TASKS,
                learner=LEARNERS,
            )
            + expand(
                "<results>/figures/{figure}-{task}.svg",
                figure=TASK_FIGURES,
                task=TASKS,
            )
            + ["<results>/figures/alignment.svg"],
            caption="../report/figure.rst",
            category="Figures",
        ),
        expand(
            "<results>/figures/transfer-{task}-{learner}.png",
            task=TASKS,
            learner=LEARNERS,
        ),
        expand("<results>/figures/{figure}-{task}.png", figure=TASK_FIGURES, task=TASKS),
        "<results>/figures/alignment.png",
    log:
        "<logs>/figures.log",
    benchmark:
        "<benchmarks>/figures.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=20),
        runtime=grow(20),
    params:
        code=code("figures.py"),
        tables=folder("tables"),
        out=folder("figures"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/figures.py" --tables {params.tables:q} --out {params.out:q} > {log:q} 2>&1'


rule provenance:
    # after the tables: it says what they were made with
    input:
        tables=rules.tables.output,
    output:
        "<results>/provenance.json",
    log:
        "<logs>/provenance.log",
    benchmark:
        "<benchmarks>/provenance.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000),
        runtime=grow(10),
    params:
        code=code("provenance.py"),
        config=lambda w: canonical(study.told),
        fingerprints=lambda w: canonical({e.name: e.fingerprint for e in EMBEDDINGS}),
        simulated="--simulated" if SIMULATED_ROWS else "",
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/provenance.py" --config {params.config:q}'
        " --fingerprints {params.fingerprints:q} {params.simulated} --out {output:q} > {log:q} 2>&1"


rule report:
    input:
        tables=rules.tables.output,
        embeddings=rules.embedding_tables.output,
        figures=rules.figures.output,
        quality=expand(rules.ingest.output.quality, site=study.tabled),
        provenance=rules.provenance.output,
    output:
        report(
            "<results>/report/index.html",
            caption="../report/page.rst",
            category="Answers",
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(1000, per_mb=20),
        runtime=grow(10),
    params:
        code=code("report.py"),
        tables=folder("tables"),
        figures=folder("figures"),
        sites=folder("sites"),
        title=study.config["name"],
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/report.py" --tables {params.tables:q} --figures {params.figures:q}'
        " --sites-folder {params.sites:q} --provenance {input.provenance:q} --title {params.title:q}"
        " --min-cell-count {params.min_cell_count} --out {output:q} > {log:q} 2>&1"

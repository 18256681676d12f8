"""Report: the joint tables, figures and the page.

in:  <results>/metrics/{task}/{target}/*.parquet, each site's tokens.parquet, attrition.csv, quality.json
out: <results>/tables/*.{parquet,csv,md}, <results>/figures/*.{svg,png}, <results>/report/index.html
"""


rule tables:
    input:
        metrics=expand(rules.evaluate.output, task=TASKS, target=study.targets),
        tokens=expand(rules.sequences.output.tokens, task=TASKS, site=study.sites),
        attrition=expand(rules.cohort.output.attrition, task=TASKS, site=study.sites),
        leaks=expand(rules.leaks.output, task=TASKS, site=study.sites),
        code=code("tables.py"),
    output:
        expand(
            "<results>/tables/{table}.{suffix}",
            table=[
                "arms",
                "seeds",
                "comparisons",
                "sites",
                "overlap",
                "attrition",
                "leaks",
            ],
            suffix=["parquet", "csv", "md"],
        ),
    log:
        "<logs>/tables.log",
    benchmark:
        "<benchmarks>/tables.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        metrics=folder("metrics"),
        tasks=folder("tasks"),
        out=subpath(output[0], parent=True),
        task=TASKS,
        site=study.sites,
        target=study.targets,
    shell:
        "python {input.code[0]:q} --metrics {params.metrics:q} --tasks {params.tasks:q}"
        " --task {params.task:q} --site {params.site:q} --target {params.target:q} --out {params.out:q} > {log:q} 2>&1"


rule figures:
    input:
        arms="<results>/tables/arms.parquet",
        code=code("figures.py"),
    output:
        expand(
            "<results>/figures/transfer-{task}-{learner}.{suffix}",
            task=TASKS,
            learner=LEARNERS,
            suffix=["svg", "png"],
        ),
    log:
        "<logs>/figures.log",
    benchmark:
        "<benchmarks>/figures.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        tables=subpath(input.arms, parent=True),
        out=subpath(output[0], parent=True),
    shell:
        "python {input.code[0]:q} --tables {params.tables:q} --out {params.out:q} > {log:q} 2>&1"


rule provenance:
    input:
        code=code("provenance.py"),
    output:
        "<results>/provenance.json",
    log:
        "<logs>/provenance.log",
    benchmark:
        "<benchmarks>/provenance.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        config=lambda w: canonical(study.config),
        fingerprints=lambda w: canonical({e.name: e.fingerprint for e in EMBEDDINGS}),
        simulated="--simulated" if any(map(study.simulated, study.sites)) else "",
    shell:
        "python {input.code[0]:q} --config {params.config:q}"
        " --fingerprints {params.fingerprints:q} {params.simulated} --out {output:q} > {log:q} 2>&1"


rule report:
    input:
        tables=rules.tables.output,
        embeddings=rules.embedding_tables.output,
        figures=rules.figures.output,
        quality=expand(rules.ingest.output.quality, site=study.sites),
        provenance=rules.provenance.output,
        code=code("report.py"),
    output:
        "<results>/report/index.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        tables=folder("tables"),
        figures=folder("figures"),
        sites=folder("sites"),
        title=study.config["name"],
        min_cell_count=study.config["min_cell_count"],
    shell:
        "python {input.code[0]:q} --tables {params.tables:q} --figures {params.figures:q}"
        " --sites-folder {params.sites:q} --provenance {input.provenance:q} --title {params.title:q}"
        " --min-cell-count {params.min_cell_count} --out {output:q} > {log:q} 2>&1"

"""Report: the joint tables, figures and the page.

in:  <results>/metrics/{task}/{target}/*.parquet, each site's tokens.parquet, attrition.csv, quality.json
out: <results>/tables/*.{parquet,csv,md}, <results>/figures/*.{svg,png}, <results>/report/index.html
"""

TASKS = list(study.config["tasks"])


rule tables:
    input:
        metrics=expand(rules.evaluate.output, task=TASKS, target=study.sites),
        tokens=expand(rules.sequences.output.tokens, task=TASKS, site=study.sites),
        attrition=expand(rules.cohort.output.attrition, task=TASKS, site=study.sites),
        code=code("tables"),
    output:
        expand(
            "<results>/tables/{table}.{suffix}",
            table=["arms", "seeds", "comparisons", "sites", "overlap", "attrition"],
            suffix=["parquet", "csv", "md"],
        ),
    params:
        metrics=f"{study.config['results']}/metrics",
        tasks=f"{study.config['results']}/tasks",
        out=subpath(output[0], parent=True),
        task=TASKS,
        site=study.sites,
    log:
        "<logs>/tables.log",
    benchmark:
        "<benchmarks>/tables.tsv"
    shell:
        "python {HOME}/workflow/scripts/tables.py --metrics {params.metrics:q} --tasks {params.tasks:q}"
        " --task {params.task:q} --site {params.site:q} --out {params.out:q} > {log} 2>&1"


rule figures:
    input:
        arms="<results>/tables/arms.parquet",
        code=code("figures"),
    output:
        expand(
            "<results>/figures/transfer-{task}-{learner}.{suffix}",
            task=TASKS,
            learner=study.config["learners"],
            suffix=["svg", "png"],
        ),
    params:
        tables=subpath(input.arms, parent=True),
        out=subpath(output[0], parent=True),
    log:
        "<logs>/figures.log",
    benchmark:
        "<benchmarks>/figures.tsv"
    shell:
        "python {HOME}/workflow/scripts/figures.py --tables {params.tables:q} --out {params.out:q} > {log} 2>&1"


rule provenance:
    input:
        code=code("provenance"),
    output:
        "<results>/provenance.json",
    params:
        config=lambda w: canonical(study.config),
        fingerprints=lambda w: canonical({e.name: e.fingerprint for e in study.embeddings.values()}),
        simulated="--simulated" if any(s["extract"] == SIMULATED for s in study.config["sites"].values()) else "",
    log:
        "<logs>/provenance.log",
    benchmark:
        "<benchmarks>/provenance.tsv"
    shell:
        "python {HOME}/workflow/scripts/provenance.py --config {params.config:q}"
        " --fingerprints {params.fingerprints:q} {params.simulated} --out {output:q} > {log} 2>&1"


rule report:
    input:
        tables=rules.tables.output,
        figures=rules.figures.output,
        quality=expand(rules.ingest.output.quality, site=study.sites),
        provenance=rules.provenance.output,
        code=code("report"),
    output:
        "<results>/report/index.html",
    params:
        tables=f"{study.config['results']}/tables",
        figures=f"{study.config['results']}/figures",
        sites=f"{study.config['results']}/sites",
        title=study.config["name"],
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    shell:
        "python {HOME}/workflow/scripts/report.py --tables {params.tables:q} --figures {params.figures:q}"
        " --sites-folder {params.sites:q} --provenance {input.provenance:q} --title {params.title:q}"
        " --out {output:q} > {log} 2>&1"

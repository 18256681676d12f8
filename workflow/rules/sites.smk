"""Sites: an OMOP extract becomes typed Parquet.

in:  the files of each site's extract or findings table, or the built-in network; the study's vocabulary, where it has one
out: <results>/sites/{site}/cdm/{table}.parquet, quality.json
"""


rule simulate:
    output:
        [f"<results>/simulated/{{site}}/{table}.parquet" for table in SIMULATED_TABLES],
    log:
        "<logs>/simulate/{site}.log",
    benchmark:
        "<benchmarks>/simulate/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(3000),
        runtime=grow(30),
    params:
        code=code("simulate.py"),
        network=study.config["simulate"],
        out=folder("simulated/{site}"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/simulate.py" --hospital {wildcards.site} --persons {params.network[persons]}'
        " --seed {params.network[seed]} --out {params.out:q} > {log:q} 2>&1"


rule findings:
    input:
        files=lambda w: findings_files(study.findings(w.site)),
    output:
        [f"<results>/findings/{{site}}/{table}.parquet" for table in FINDINGS_TABLES],
    log:
        "<logs>/findings/{site}.log",
    benchmark:
        "<benchmarks>/findings/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=10),
        runtime=grow(20),
    params:
        code=code("findings.py"),
        findings=lambda w: canonical(study.findings(w.site)),
        out=folder("findings/{site}"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/findings.py" --findings {params.findings:q} --out {params.out:q} > {log:q} 2>&1'


rule ingest:
    input:
        extract=extract_files,
        vocabulary=[str(file) for file in VOCABULARY],
    output:
        # one output, not one a table: Snakemake reads the whole extract again for the record of each
        tables=directory("<results>/sites/{site}/cdm"),
        quality="<results>/sites/{site}/quality.json",
    log:
        "<logs>/ingest/{site}.log",
    benchmark:
        "<benchmarks>/ingest/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    threads: 2
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        code=code("ingest.py"),
        extract=lambda w: study.extract(w.site),
        reading=lambda w: study.reading(w.site),
        vocabulary=(
            f"--vocabulary {shlex.quote(study.vocabulary)}" if study.vocabulary else ""
        ),
        cdm=folder("sites/{site}/cdm"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/ingest.py" --extract {params.extract:q} --reading {params.reading:q} {params.vocabulary}'
        " --cdm {params.cdm:q} --quality {output.quality:q} --threads {threads} > {log:q} 2>&1"

"""Sites: an OMOP extract becomes typed Parquet.

in:  the files of each site's extract or findings table, or the built-in network; the study's vocabulary, where it has one
out: <results>/sites/{site}/cdm/{table}.parquet, quality.json
"""

# the built-in network has no devices
SIMULATED_TABLES = [table for table in TABLES if table != "device_exposure"]
FINDINGS_TABLES = [
    "person",
    "observation_period",
    "visit_occurrence",
    "condition_occurrence",
    "observation",
    "concept",
]


def extract_files(wildcards):
    """The files of a site's extract."""
    if study.simulated(wildcards.site):
        return expand(at(layout.SIMULATED), table=SIMULATED_TABLES, allow_missing=True)
    if study.findings(wildcards.site):
        return expand(at(layout.CONVERTED), table=FINDINGS_TABLES, allow_missing=True)
    return plan.files[wildcards.site]


rule simulate:
    output:
        expand(at(layout.SIMULATED), table=SIMULATED_TABLES, allow_missing=True),
    log:
        "<logs>/simulate/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(3000),
        runtime=grow(30),
    params:
        script=script("simulate"),
        settings=settings("simulate"),
        out=subpath(output[0], parent=True),
    shell:
        "python {params.script[path]:q} --hospital {wildcards.site} --persons {params.settings[persons]}"
        " --seed {params.settings[seed]} --out {params.out:q} > {log:q} 2>&1"


rule findings:
    input:
        files=lambda w: plan.files[w.site],
    output:
        expand(at(layout.CONVERTED), table=FINDINGS_TABLES, allow_missing=True),
    log:
        "<logs>/findings/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=10),
        runtime=grow(20),
    params:
        script=script("findings"),
        settings=settings("findings"),
        out=subpath(output[0], parent=True),
    shell:
        "python {params.script[path]:q} --findings {params.settings[findings]:q} --out {params.out:q} > {log:q} 2>&1"


rule ingest:
    input:
        extract=extract_files,
        vocabulary=plan.vocabulary,
    output:
        # one output, not one per table: Snakemake reads the whole extract again for the record of each
        tables=directory(at(layout.CDM)),
        quality=at(layout.QUALITY),
    log:
        "<logs>/ingest/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    threads: 2
    resources:
        mem_mb=grow(4000),
        runtime=grow(30, per_mb=0.01),
    params:
        script=script("ingest"),
        settings=settings("ingest"),
    shell:
        "python {params.script[path]:q} --extract {params.settings[extract]:q} --reading {params.settings[reading]:q}"
        " --vocabulary {params.settings[vocabulary]:q} --cdm {output.tables:q} --quality {output.quality:q}"
        " --threads {threads} > {log:q} 2>&1"

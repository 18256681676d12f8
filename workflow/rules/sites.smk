"""Sites: an OMOP extract becomes typed Parquet.

in:  the files of each site's extract, what is converted to one, or the built-in network; the study's vocabulary, where it has one
out: <results>/sites/{site}/cdm/{table}.parquet, quality.json
"""

from conceptbridge.sites.cdm import TABLES

# what other tools look for in an extract of the built-in network, and no study reads
FOR_OTHERS = [
    "care_site",
    "concept_relationship",
    "location",
    "provider",
    "visit_detail",
    "vocabulary",
]


rule simulate:
    output:
        expand(
            at(layout.SIMULATED),
            table=[*TABLES, *FOR_OTHERS],
            allow_missing=True,
        ),
    log:
        "<logs>/simulate/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        # the largest table of the largest hospital, twice
        mem_mb=grow(1000 + study.config["simulate"]["persons"] / 250),
        runtime=grow(30 + study.config["simulate"]["persons"] / 1e5),
    params:
        job=job("simulate"),
        out=subpath(output[0], parent=True),
    shell:
        "python {params.job[script]:q} --hospital {wildcards.site} --persons {params.job[persons]}"
        " --seed {params.job[seed]} --out {params.out:q} > {log:q} 2>&1"


rule convert:
    input:
        files=lambda w: plan.files[w.site],
    output:
        directory(at(layout.CONVERTED)),
    log:
        "<logs>/convert/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    resources:
        mem_mb=grow(2000, per_mb=10),
        runtime=grow(20),
    params:
        job=job("convert"),
    shell:
        "python {params.job[script]:q} --converter {params.job[converter]} --settings {params.job[settings]:q}"
        " --out {output:q} > {log:q} 2>&1"


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
        job=job("ingest"),
    shell:
        "python {params.job[script]:q} --extract {params.job[extract]:q} --reading {params.job[reading]:q}"
        " --vocabulary {params.job[vocabulary]:q} --cdm {output.tables:q} --quality {output.quality:q}"
        " --threads {threads} --memory {resources.mem_mb} > {log:q} 2>&1"

"""Sites: an OMOP extract becomes typed Parquet.

in:  the files of each site's extract, or the built-in network
out: <results>/sites/{site}/cdm/{table}.parquet, quality.json
"""

from conceptbridge.sites.cdm import TABLES


def extract_of(site):
    """Folder of a site's extract."""
    extract = study.config["sites"][site]["extract"]
    if extract == SIMULATED:
        return f"{study.config['results']}/simulated/{site}"
    return str(Path(study.config["data"]).expanduser() / Path(extract).expanduser())


def extract_files(wildcards):
    """The files of an extract, listed so that a change inside is noticed."""
    folder = extract_of(wildcards.site)
    if study.config["sites"][wildcards.site]["extract"] == SIMULATED:
        return [f"{folder}/{table}.parquet" for table in TABLES]
    return [str(path) for path in FILES[wildcards.site]]


try:
    FILES = {
        site: list(table_files(Path(extract_of(site))).values())
        for site, spec in study.config["sites"].items()
        if spec["extract"] != SIMULATED
    }
except StudyError as error:
    raise WorkflowError(f"config: sites: {error}") from None


rule simulate:
    input:
        code=code("simulate"),
    output:
        [f"<results>/simulated/{{site}}/{table}.parquet" for table in TABLES],
    params:
        persons=study.config["simulate"]["persons"],
        seed=study.config["simulate"]["seed"],
        out=lambda w: extract_of(w.site),
    log:
        "<logs>/simulate/{site}.log",
    benchmark:
        "<benchmarks>/simulate/{site}.tsv"
    shell:
        "python {HOME}/workflow/scripts/simulate.py --hospital {wildcards.site} --persons {params.persons}"
        " --seed {params.seed} --out {params.out} > {log} 2>&1"


rule ingest:
    input:
        extract=extract_files,
        code=code("ingest"),
    output:
        tables=[f"<results>/sites/{{site}}/cdm/{table}.parquet" for table in TABLES],
        quality="<results>/sites/{site}/quality.json",
    params:
        extract=lambda w: extract_of(w.site),
        cdm=lambda w: f"{study.config['results']}/sites/{w.site}/cdm",
    log:
        "<logs>/ingest/{site}.log",
    benchmark:
        "<benchmarks>/ingest/{site}.tsv"
    shell:
        "python {HOME}/workflow/scripts/ingest.py --extract {params.extract:q} --cdm {params.cdm:q}"
        " --quality {output.quality:q} --threads {threads} > {log} 2>&1"

"""Exchange: hospitals that share no disk send each other bundles (`snakemake bundle`).

in:  <results>/arms/{task}/{embedding}/{learner}/local/{site}/, its vocabulary, tokens and metrics; bundles of others
out: <results>/bundles/{site}/{task}.{embedding}.{learner}.zip; of each received bundle what a local arm would be
"""

# the space of a shuffled embedding holds every text of its source, rare ones too: it stays home
SENT = [e for e in EMBEDDINGS if e.spec["backend"] != "shuffled"]


def measured_at(wildcards):
    """What evaluation found at the site itself, where it is tested."""
    if wildcards.site not in study.targets:
        return []
    folder = f"<results>/metrics/{wildcards.task}/{wildcards.site}"
    return [f"{folder}/{table}.parquet" for table in ("metrics", "site")]


rule write_bundle:
    input:
        arm="<results>/arms/{task}/{embedding}/{learner}/local/{site}/arm.json",
        models="<results>/arms/{task}/{embedding}/{learner}/local/{site}/models",
        vocabulary="<results>/sites/{site}/vocabulary.parquet",
        cdm="<results>/sites/{site}/cdm",
        tokens="<results>/tasks/{task}/{site}/tokens.parquet",
        cohorts=expand(
            "<results>/tasks/{task}/{site}/cohort.parquet",
            task=TASKS,
            allow_missing=True,
        ),
        measured=measured_at,
        code=code("write_bundle.py"),
    output:
        "<results>/bundles/{site}/{task}.{embedding}.{learner}.zip",
    log:
        "<logs>/write_bundle/{site}/{task}/{embedding}/{learner}.log",
    benchmark:
        "<benchmarks>/write_bundle/{site}/{task}/{embedding}/{learner}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        about=lambda w: canonical(
            study.model(w.site, w.task, study.by_id[w.embedding], w.learner)
            | {"min_cell_count": study.config["min_cell_count"]}
        ),
        site=folder("sites/{site}"),
        config=lambda w: canonical(study.config),
    shell:
        "python {input.code[0]:q} --about {params.about:q} --arm {input.arm:q} --site {params.site:q}"
        " --tokens {input.tokens:q} --cohorts {input.cohorts:q} --measured {input.measured:q}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule bundle:
    input:
        expand(
            rules.write_bundle.output,
            site=[
                s for s in study.own if study.config["sites"][s]["role"] != "target"
            ],
            task=TASKS,
            embedding=[e.id for e in SENT],
            learner=LEARNERS,
        ),


def bundle_of(wildcards):
    """The received bundle of a model; none where the source has sent none."""
    model = (
        wildcards.task,
        study.by_id[wildcards.embedding].name,
        wildcards.learner,
    )
    return [str(path) for path in [RECEIVED[wildcards.received].get(model)] if path]


rule receive:
    input:
        bundle=bundle_of,
        code=code("receive.py"),
    output:
        "<results>/arms/{task}/{embedding}/{learner}/local/{received}/arm.json",
        directory("<results>/arms/{task}/{embedding}/{learner}/local/{received}/models"),
    log:
        "<logs>/receive/{task}/{embedding}/{learner}/{received}.log",
    benchmark:
        "<benchmarks>/receive/{task}/{embedding}/{learner}/{received}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        out=subpath(output[0], parent=True),
        expected=lambda w: canonical(
            study.model(w.received, w.task, study.by_id[w.embedding], w.learner)
        ),
        width=lambda w: study.by_id[w.embedding].spec.get("width", ""),
    shell:
        "python {input.code[0]:q} --bundle {input.bundle:q} --expected {params.expected:q} --width {params.width}"
        " --out {params.out:q} > {log:q} 2>&1"


rule receive_tokens:
    input:
        bundles=lambda w: [
            str(path)
            for (task, *_), path in RECEIVED[w.received].items()
            if task == w.task
        ],
        code=code("receive_tokens.py"),
    output:
        "<results>/tasks/{task}/{received}/tokens.parquet",
    log:
        "<logs>/receive_tokens/{task}/{received}.log",
    benchmark:
        "<benchmarks>/receive_tokens/{task}/{received}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    shell:
        "python {input.code[0]:q} --source {wildcards.received} --bundle {input.bundles:q} --tokens {output:q} > {log:q} 2>&1"


rule receive_vocabulary:
    input:
        bundles=lambda w: [str(path) for path in RECEIVED[w.received].values()],
        code=code("receive_tokens.py"),
    output:
        "<results>/sites/{received}/vocabulary.parquet",
    log:
        "<logs>/receive_vocabulary/{received}.log",
    benchmark:
        "<benchmarks>/receive_vocabulary/{received}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    shell:
        "python {input.code[0]:q} --source {wildcards.received} --bundle {input.bundles:q} --vocabulary {output:q}"
        " > {log:q} 2>&1"

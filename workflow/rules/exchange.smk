"""Exchange: hospitals that share no disk send each other bundles (`bundle`), and score patients with them (`score`).

in:  <results>/arms/{task}/{embedding}/{learner}/local/{site}/, its vocabulary, tokens and metrics; bundles of others;
     lists of patients
out: <results>/bundles/{site}/{task}.{embedding}.{learner}.zip; of each received bundle what a local arm would be;
     <results>/scores/{task}/{site}/{source}/{embedding}/{learner}.csv, coverage.csv, coverage.md
"""

# the space of a shuffled embedding holds every text of its source, rare ones too: it stays home
SENT = [e for e in EMBEDDINGS if e.spec["backend"] != "shuffled"]


rule write_bundle:
    input:
        arm="<results>/arms/{task}/{embedding}/{learner}/local/{site}",
        vocabulary="<results>/sites/{site}/vocabulary.parquet",
        cdm="<results>/sites/{site}/cdm",
        tokens="<results>/tasks/{task}/{site}/tokens.parquet",
        cohorts=expand(
            "<results>/tasks/{task}/{site}/cohort.parquet",
            task=TASKS,
            allow_missing=True,
        ),
        measured=measured_at,
    output:
        file="<results>/bundles/{site}/{task}.{embedding}.{learner}.zip",
        # what leaves with it; this one stays
        sheet="<results>/bundles/{site}/{task}.{embedding}.{learner}.md",
    log:
        "<logs>/write_bundle/{site}/{task}/{embedding}/{learner}.log",
    benchmark:
        "<benchmarks>/write_bundle/{site}/{task}/{embedding}/{learner}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("write_bundle.py"),
        about=lambda w: canonical(
            study.model(w.site, w.task, study.by_id[w.embedding], w.learner)
            | {"min_cell_count": study.config["min_cell_count"]}
        ),
        site=folder("sites/{site}"),
        # its dates are no secret
        config=lambda w: canonical(
            {key: study.config[key] for key in ("tasks", "sites")}
        ),
        folders=lambda w: [study.extract(w.site)],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/write_bundle.py" --about {params.about:q} --arm {input.arm:q} --site {params.site:q}'
        " --tokens {input.tokens:q} --cohorts {input.cohorts:q} --measured {input.measured:q}"
        " --config {params.config:q} --folders {params.folders:q} --out {output.file:q} --sheet {output.sheet:q}"
        " > {log:q} 2>&1"


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


rule receive:
    input:
        bundle=bundle_of,
    output:
        directory("<results>/arms/{task}/{embedding}/{learner}/local/{received}"),
    log:
        "<logs>/receive/{task}/{embedding}/{learner}/{received}.log",
    benchmark:
        "<benchmarks>/receive/{task}/{embedding}/{learner}/{received}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=arm_code("receive.py"),
        expected=lambda w: canonical(
            study.model(w.received, w.task, study.by_id[w.embedding], w.learner)
        ),
        width=lambda w: study.by_id[w.embedding].spec.get("width", ""),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/receive.py" --bundle {input.bundle:q} --expected {params.expected:q} --width {params.width}'
        " --out {output:q} > {log:q} 2>&1"


rule receive_tokens:
    input:
        bundles=lambda w: [
            str(path)
            for (task, *_), path in RECEIVED[w.received].items()
            if task == w.task
        ],
    output:
        "<results>/tasks/{task}/{received}/tokens.parquet",
    log:
        "<logs>/receive_tokens/{task}/{received}.log",
    benchmark:
        "<benchmarks>/receive_tokens/{task}/{received}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("receive_tokens.py"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/receive_tokens.py" --source {wildcards.received} --bundle {input.bundles:q} --tokens {output:q}'
        " > {log:q} 2>&1"


rule receive_vocabulary:
    input:
        bundles=lambda w: [str(path) for path in RECEIVED[w.received].values()],
    output:
        "<results>/sites/{received}/vocabulary.parquet",
    log:
        "<logs>/receive_vocabulary/{received}.log",
    benchmark:
        "<benchmarks>/receive_vocabulary/{received}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("receive_tokens.py"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/receive_tokens.py" --source {wildcards.received} --bundle {input.bundles:q} --vocabulary {output:q}'
        " > {log:q} 2>&1"


rule patients:
    input:
        cdm="<results>/sites/{site}/cdm",
        reference="<results>/tasks/{task}/{site}/cohort.parquet",
        patients=lambda w: study.patients(w.site),
    output:
        "<results>/scores/{task}/{site}/cohort.parquet",
    log:
        "<logs>/patients/{task}/{site}.log",
    benchmark:
        "<benchmarks>/patients/{task}/{site}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("patients.py"),
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/patients.py" --cdm {input.cdm:q} --site {wildcards.site} --patients {input.patients:q}'
        " --reference {input.reference:q} --out {output:q} --threads {threads} > {log:q} 2>&1"


# the patients' tokens are made as any cohort's
use rule sequences as patients_sequences with:
    input:
        cdm="<results>/sites/{site}/cdm",
        vocabulary="<results>/sites/{site}/vocabulary.parquet",
        cohort=rules.patients.output,
        files=lambda w: study.concept_files(w.task),
    output:
        tokens="<results>/scores/{task}/{site}/tokens.parquet",
        sequences="<results>/scores/{task}/{site}/sequences.parquet",
    log:
        "<logs>/patients_sequences/{task}/{site}.log",
    benchmark:
        "<benchmarks>/patients_sequences/{task}/{site}.tsv"
    params:
        code=code("sequences.py"),


rule predict:
    input:
        rows=patients_rows,
        table=lambda w: vectors_at(w, w.site),
        arm="<results>/arms/{task}/{embedding}/{learner}/local/{source}",
        known="<results>/tasks/{task}/{source}/tokens.parquet",
    output:
        "<results>/scores/{task}/{site}/{source}/{embedding}/{learner}.csv",
    log:
        "<logs>/predict/{task}/{site}/{source}/{embedding}/{learner}.log",
    benchmark:
        "<benchmarks>/predict/{task}/{site}/{source}/{embedding}/{learner}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=arm_code("predict.py"),
        fingerprint=lambda w: study.by_id[w.embedding].fingerprint,
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/predict.py" --site {wildcards.site} --rows {input.rows:q} --table {input.table:q}'
        " --learner {wildcards.learner} --source {wildcards.source} --arm {input.arm:q}"
        " --fingerprint {params.fingerprint} --known {input.known:q} --min-cell-count {params.min_cell_count}"
        " --out {output:q} > {log:q} 2>&1"


rule coverage_sheet:
    input:
        rows=patients_rows,
        known="<results>/tasks/{task}/{source}/tokens.parquet",
        own=lambda w: vectors_at(w, w.site),
        theirs=lambda w: vectors_at(w, w.source),
    output:
        csv="<results>/scores/{task}/{site}/{source}/{embedding}/coverage.csv",
        sheet="<results>/scores/{task}/{site}/{source}/{embedding}/coverage.md",
    log:
        "<logs>/coverage_sheet/{task}/{site}/{source}/{embedding}.log",
    benchmark:
        "<benchmarks>/coverage_sheet/{task}/{site}/{source}/{embedding}.tsv"
    conda:
        "../../envs/conceptbridge.yaml"
    params:
        code=code("coverage_sheet.py"),
        title=lambda w: f"{w.task} at {w.site}, {study.by_id[w.embedding].name} from {w.source}",
        min_cell_count=study.config["min_cell_count"],
    shell:
        'python "$CONCEPTBRIDGE_SCRIPTS/coverage_sheet.py" --rows {input.rows:q} --known {input.known:q} --own {input.own:q}'
        " --theirs {input.theirs:q} --title {params.title:q} --min-cell-count {params.min_cell_count}"
        " --csv {output.csv:q} --sheet {output.sheet:q} > {log:q} 2>&1"


rule score:
    input:
        SCORES,

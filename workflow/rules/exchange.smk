"""Exchange: hospitals that share no disk send each other bundles (`bundle`), and score patients with them (`score`).

in:  <results>/arms/{task}/{embedding}/{learner}/local/{site}/, its vocabulary, tokens and metrics; bundles of others;
     lists of patients
out: <results>/bundles/{site}/{task}.{embedding}.{learner}.zip; of each received bundle what a local arm would be;
     <results>/scores/{task}/{site}/{source}/{embedding}/{learner}.csv, coverage.csv, coverage.md
"""

# what lists of patients are scored with, and how much of their records each source knows
SCORED = [at(layout.SCORES, **names) for names in plan.scores()]
SCORED += sorted({at(layout.COVERAGE_SHEET, **names) for names in plan.scores()})


rule write_bundle:
    input:
        arm=at(layout.ARM, strategy="local", target="{site}"),
        vocabulary=at(layout.VOCABULARY),
        cdm=at(layout.CDM),
        tokens=at(layout.TOKENS),
        # beside the tokens: who has one in a window
        sequences=at(layout.SEQUENCES),
        profile=sent_profile,
        ancestors=sent_ancestors,
        # to tell what the model looks at
        table=lambda w: known_vectors(w, w.site),
        cohorts=expand(at(layout.COHORT), task=TASKS, allow_missing=True),
        measured=measured_at,
    output:
        file=at(layout.BUNDLE),
        # what leaves with it; this one stays
        sheet=at(layout.BUNDLE_SHEET),
    log:
        "<logs>/write_bundle/{site}/{task}/{embedding}/{learner}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("write_bundle"),
        site=subpath(input.vocabulary, parent=True),
    shell:
        "python {params.job[script]:q} --about {params.job[about]:q} --arm {input.arm:q} --site {params.site:q}"
        " --tokens {input.tokens:q} --profile {input.profile:q} --ancestors {input.ancestors:q}"
        " --table {input.table:q}"
        " --cohorts {input.cohorts:q} --measured {input.measured:q}"
        " --config {params.job[config]:q} --folders {params.job[folder]:q} --out {output.file:q}"
        " --sheet {output.sheet:q} > {log:q} 2>&1"


rule bundle:
    input:
        expand(
            rules.write_bundle.output,
            site=[site for site in study.own if site in study.sources],
            task=TASKS,
            embedding=plan.sent,
            learner=LEARNERS,
        ),


rule receive:
    input:
        bundle=lambda w: plan.bundles_of(w.received, w.task, w.embedding, w.learner),
    output:
        directory(at(layout.ARM, strategy="local", target="{received}")),
    log:
        "<logs>/receive/{task}/{embedding}/{learner}/{received}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("receive"),
    shell:
        "python {params.job[script]:q} --bundle {input.bundle:q} --expected {params.job[expected]:q}"
        " --width {params.job[width]} --out {output:q} > {log:q} 2>&1"


# what was trained over a network takes the place of what `federate` trains
rule receive_federated:
    input:
        bundle=lambda w: plan.federated_bundle(w.task, w.embedding, w.learner),
    output:
        directory(at(layout.SOURCES_MODEL)),
    log:
        "<logs>/receive_federated/{task}/{embedding}/{learner}/{strategy}.log",
    wildcard_constraints:
        strategy=that_need(Needs.ROUNDS) if study.federated_models else "none",
        embedding=TRAINED,
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("receive_federated"),
    shell:
        "python {params.job[script]:q} --bundle {input.bundle:q} --expected {params.job[expected]:q}"
        " --width {params.job[width]} --out {output:q} > {log:q} 2>&1"


rule receive_tokens:
    input:
        bundles=lambda w: plan.bundles_of(w.received, w.task),
    output:
        at(layout.TOKENS, site="{received}"),
    log:
        "<logs>/receive_tokens/{task}/{received}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("receive_tokens"),
    shell:
        "python {params.job[script]:q} --source {wildcards.received} --bundle {input.bundles:q} --tokens {output:q}"
        " > {log:q} 2>&1"


rule receive_profile:
    input:
        bundles=lambda w: plan.bundles_of(w.received, w.task),
    output:
        at(layout.PROFILE, site="{received}"),
    log:
        "<logs>/receive_profile/{task}/{received}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("receive_profile"),
    shell:
        "python {params.job[script]:q} --source {wildcards.received} --bundle {input.bundles:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output:q} > {log:q} 2>&1"


rule receive_vocabulary:
    input:
        bundles=lambda w: plan.bundles_of(w.received),
    output:
        at(layout.VOCABULARY, site="{received}"),
    log:
        "<logs>/receive_vocabulary/{received}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("receive_vocabulary"),
    shell:
        "python {params.job[script]:q} --source {wildcards.received} --bundle {input.bundles:q} --vocabulary {output:q}"
        " > {log:q} 2>&1"


rule patients:
    input:
        cdm=at(layout.CDM),
        reference=at(layout.COHORT),
        patients=lambda w: study.patients(w.site),
    output:
        at(layout.PATIENTS),
    log:
        "<logs>/patients/{task}/{site}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("patients"),
    shell:
        "python {params.job[script]:q} --cdm {input.cdm:q} --site {wildcards.site} --patients {input.patients:q}"
        " --reference {input.reference:q} --out {output:q} --threads {threads} > {log:q} 2>&1"


# the patients' tokens are made as any cohort's
use rule sequences as patients_sequences with:
    input:
        cdm=at(layout.CDM),
        vocabulary=at(layout.VOCABULARY),
        cohort=rules.patients.output,
        files=lambda w: study.concept_files(w.task),
    output:
        tokens=at(layout.PATIENTS_TOKENS),
        sequences=at(layout.PATIENTS_SEQUENCES),
    log:
        "<logs>/patients_sequences/{task}/{site}.log",


PATIENTS_ROWS = [
    at(layout.PATIENTS),
    at(layout.PATIENTS_TOKENS),
    at(layout.PATIENTS_SEQUENCES),
]


rule predict:
    input:
        rows=PATIENTS_ROWS,
        table=lambda w: known_vectors(w, w.site),
        translations=translations_of_patients,
        arm=lambda w: at(
            layout.ARM,
            task=w.task,
            embedding=local_arms(w.embedding),
            learner=w.learner,
            strategy="local",
            target=w.source,
        ),
        known=at(layout.TOKENS, site="{source}"),
    output:
        scores=at(layout.SCORES),
        # beside them: what speaks for and against the outcome in each patient
        explained=at(layout.EXPLAINED),
    log:
        "<logs>/predict/{task}/{site}/{source}/{embedding}/{learner}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("predict"),
    shell:
        "python {params.job[script]:q} --site {wildcards.site} --rows {input.rows:q} --table {input.table:q}"
        " --learner {wildcards.learner} --source {wildcards.source} --arm {input.arm:q}"
        " --translations {input.translations:q} --fingerprint {params.job[fingerprint]} --known {input.known:q}"
        " --min-cell-count {params.job[min_cell_count]} --out {output.scores:q}"
        " --explained {output.explained:q} > {log:q} 2>&1"


rule coverage_sheet:
    input:
        rows=PATIENTS_ROWS,
        known=at(layout.TOKENS, site="{source}"),
        own=lambda w: known_vectors(w, w.site),
        theirs=lambda w: known_vectors(w, w.source),
        translations=translations_of_patients,
    output:
        csv=at(layout.COVERAGE),
        sheet=at(layout.COVERAGE_SHEET),
    log:
        "<logs>/coverage_sheet/{task}/{site}/{source}/{embedding}.log",
    conda:
        "../envs/conceptbridge.yaml"
    params:
        job=job("coverage_sheet"),
    shell:
        "python {params.job[script]:q} --rows {input.rows:q} --known {input.known:q} --own {input.own:q}"
        " --theirs {input.theirs:q} --source {wildcards.source} --translations {input.translations:q} --title {params.job[title]:q}"
        " --min-cell-count {params.job[min_cell_count]} --csv {output.csv:q} --sheet {output.sheet:q}"
        " > {log:q} 2>&1"


rule score:
    input:
        SCORED,

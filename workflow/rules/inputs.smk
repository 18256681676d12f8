"""What jobs read, where that depends on the study: functions of wildcards, and the lists that they are made of."""


def extract_files(wildcards):
    """The files of a site's extract."""
    if study.simulated(wildcards.site):
        return expand(at(layout.SIMULATED), table=list(TABLES), allow_missing=True)
    if study.converter(wildcards.site):
        return at(layout.CONVERTED)
    return plan.files[wildcards.site]


def rows(site="{site}", task="{task}"):
    """Cohort, tokens and sequences of a task at a site."""
    kinds = (layout.COHORT, layout.TOKENS, layout.SEQUENCES)
    return [at(kind, task=task, site=site) for kind in kinds]


def vectors(embedding, site, task):
    """The table of a site's vectors, where the embedding has one."""
    return [at(table) for table in plan.vectors(embedding, site, task)]


def known_vectors(w, site):
    """The same where the vectors that a model was made with come with it."""
    return [at(table) for table in plan.known_vectors(w.embedding, site, w.task)]


def hierarchies(wildcards):
    """Where the ancestors of a site's concepts are found: in its own tables, or, of one that has sent bundles, in those
    of the sites whose rows are here."""
    bundled = wildcards.site in study.bundled
    known = study.own + study.scored if bundled else [wildcards.site]
    return [at(layout.CDM, site=site) for site in known]


def words(embedding, site, task):
    """What a site's tokens are to a translation: the tokens, the vectors of their names, their profiles."""
    names = study.by_id[embedding].parent.tables.id
    kinds = [layout.TOKENS, layout.PROFILE]
    if site in study.scored:
        kinds.append(layout.PATIENTS_TOKENS)
    of_site = [at(kind, task=task, site=site) for kind in kinds]
    return [*of_site, at(layout.VECTORS, embedding=names, site=site)]


def translations(embedding, site, task):
    """The site's tokens in the words of each source."""
    return at(layout.TRANSLATIONS, embedding=embedding, target=site, task=task)


def translations_of_sources(wildcards):
    """The same of each source, where the rows of several sites are joined."""
    return [
        translations(wildcards.embedding, site, wildcards.task)
        for site in study.sources
    ]


def translations_of_patients(w):
    """The same of a site with patients to score, where the models are used on a translation."""
    return (
        translations(w.embedding, w.site, w.task)
        if study.by_id[w.embedding].translated
        else []
    )


def sent_ancestors(w):
    """The ancestors of a site's tokens, which say what columns its models may name."""
    return known_vectors(w, w.site) if w.embedding in plan.with_ancestors else []


def sent_profile(w):
    """The profile that a site's one-hot models take with them, where the study translates."""
    used = study.translated and local_arms(study.translated[0].id) == w.embedding
    return at(layout.PROFILE, site=w.site, task=w.task) if used else []


def local_arms(embedding):
    """The folder of the local arms that are used on an embedding."""
    return study.trained_as[study.by_id[embedding].name].id


def models_of_sources(wildcards):
    """A digest of the local models that a translation uses."""
    embedding = local_arms(wildcards.embedding)
    return at(
        layout.MODELS_DIGEST,
        task=wildcards.task,
        embedding=embedding,
        learner=wildcards.learner,
    )


def arms_tested_at(task, site):
    """The folders of all arms at a site, of the study and of others; none where no model is tested."""
    if site not in study.targets:
        return []
    own = [at(layout.ARM, task=task, target=site, **arm) for arm in plan.arms_at(site)]
    return own + [
        at(layout.EXTERNAL, task=task, target=site, external=name)
        for name in study.external
    ]


def externals_at(task, site):
    """The models of predictions from a file at a site, each with its arm's folder."""
    if site not in study.targets:
        return []
    return [
        f"{name}={RESULTS}/{layout.place(layout.EXTERNAL, task=task, target=site, external=name)}"
        for name in study.external
    ]


def models_looked_at(site, task):
    """Digests of the sources' models that an unchanged one at a target may be."""
    if site not in study.targets or not study.strategies_that_need(Needs.SOURCE_MODELS):
        return []
    trained = dict.fromkeys(local_arms(e.id) for e in EMBEDDINGS)
    return expand(
        at(layout.MODELS_DIGEST), task=task, embedding=trained, learner=LEARNERS
    )


def that_need(needs):
    """The study's strategies that one rule serves, as a regular expression."""
    return "|".join(study.strategies_that_need(needs)) or "none"


def sources_rows(wildcards):
    """The task's rows and the embedding's tables of all sources."""
    return [
        file
        for site in study.sources
        for file in rows(site) + vectors(wildcards.embedding, site, wildcards.task)
    ]


def others_of(wildcards):
    """What stands for the other sites of a pooled arm: the model that they share, or a digest of their rows."""
    shared = plan.shares_model(wildcards.strategy, wildcards.target)
    return at(layout.SOURCES_MODEL if shared else layout.ROWS_DIGEST, **wildcards)


def of_embeddings(tables, site, task):
    """The tables of a site's vectors, of all embeddings."""
    return [file for e in EMBEDDINGS for file in tables(e.id, site, task)]


def resampled_at(wildcards):
    """The sites whose models a target's headline arms may start from: the sources with rows here, and the target."""
    here = [site for site in study.sources if site in study.own]
    return list(dict.fromkeys([*here, wildcards.target]))


def others_rows(wildcards):
    """The rows and vectors of the other sources, where a strategy of the study reads rows of several sites."""
    if not study.strategies_that_need(Needs.SHARED_ROWS):
        return []
    return [
        file
        for site in study.others(wildcards.target)
        for file in rows(site, wildcards.task)
        + of_embeddings(vectors, site, wildcards.task)
    ]


def measured_at(wildcards):
    """What evaluation found at the site itself, where it is tested."""
    if wildcards.site not in study.targets:
        return []
    return [
        at(layout.METRICS, target=wildcards.site, table=table)
        for table in ("metrics", "site")
    ]


def told_of_site(site):
    """What a site's aggregate results file tells of its tables and tasks."""
    of_tasks = expand(
        [
            at(kind, site=site)
            for kind in (layout.ATTRITION, layout.SPLITS, layout.LEAKS, layout.TOKENS)
        ],
        task=TASKS,
        allow_missing=True,
    )
    return [*of_tasks, at(layout.QUALITY, site=site), at(layout.VOCABULARY, site=site)]


def told_of_models(site):
    """What it tells of the models that are tested at the site."""
    metrics = at(layout.METRICS, target=site)
    tables = METRIC_TABLES + plan.more_tables
    return expand(metrics, task=TASKS, table=tables, allow_missing=True)

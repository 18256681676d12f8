"""conceptbridge: one study as one DAG. `snakemake --cores 8` runs config/config.yaml."""

from snakemake.utils import min_version

min_version("9.27")

# a study given by --configfile is whole; it is not mixed with the default one
if "sites" not in config:

    configfile: "config/config.yaml"


include: "workflow/rules/study.smk"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


wildcard_constraints:
    # rows of a site, or a target's, are here; of a received source they are not
    site="|".join(study.own + study.scored) or "none",
    target="|".join(study.own) or "none",
    received="|".join(study.bundled) or "none",
    reported="|".join(study.reported) or "none",
    source="|".join(study.own + study.bundled) or "none",
    task="|".join(TASKS),
    embedding="|".join(study.by_id),
    learner="|".join(LEARNERS),
    strategy="|".join(s for s in STRATEGIES if s != "local") or "none",


rule all:
    default_target: True
    input:
        "<results>/report/index.html" if study.targets else SCORES,


include: "workflow/rules/sites.smk"
include: "workflow/rules/vocabulary.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/feasibility.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/transfer.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/exchange.smk"
include: "workflow/rules/aggregates.smk"

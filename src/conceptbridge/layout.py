"""The layout of the results folder, and the only module that knows it.

An artefact is a path with placeholders, which have the names of the rules' wildcards.
"""

from pathlib import Path

from conceptbridge.core.errors import StudyError

SIMULATED = "simulated/{site}/{table}.parquet"
CONVERTED = "converted/{site}"  # the extract that a converter made

CDM = "sites/{site}/cdm"
QUALITY = "sites/{site}/quality.json"
VOCABULARY = "sites/{site}/vocabulary.parquet"
UNITS = "sites/{site}/units.json"

COHORT = "tasks/{task}/{site}/cohort.parquet"
ATTRITION = "tasks/{task}/{site}/attrition.csv"
SPLITS = "tasks/{task}/{site}/splits.parquet"
CONCEPTS = "tasks/{task}/{site}/concepts.json"  # what the task's concept sets match
TOKENS = "tasks/{task}/{site}/tokens.parquet"
SEQUENCES = "tasks/{task}/{site}/sequences.parquet"
LEAKS = "tasks/{task}/{site}/leaks.parquet"
SURVEY = "tasks/{task}/{site}/survey.json"
FEASIBILITY = "feasibility/index.html"

#: ``embedding`` is the folder of an embedding: its name and a hash of what changes a vector
VECTORS = "embeddings/{embedding}/{site}.parquet"
LEARNED_VECTORS = "embeddings/{embedding}/{task}/{site}.parquet"  # learned from a source's rows, or those of its rows
COMPUTED = "embeddings/{embedding}/{site}.computed.json"
TERMS = "embeddings/{embedding}/terms.json"
EMBEDDING_QUALITY = "embeddings/{embedding}/quality.json"

PROFILE = "profiles/{task}/{site}.parquet"  # what a site's tokens keep company with
TRANSLATIONS = "translations/{task}/{embedding}/{target}"  # one file per source: the target's tokens in its words
REVIEW = "reviews/{task}/{target}"  # sheets of what its tokens are read as, one per source, for a clinician to fill in

ARM = "arms/{task}/{embedding}/{learner}/{strategy}/{target}"
SOURCES_MODEL = "arms/{task}/{embedding}/{learner}/sources/{strategy}"  # for targets that are not sources
ROWS_DIGEST = "arms/{task}/{embedding}/rows.sha256"
MODELS_DIGEST = "arms/{task}/{embedding}/{learner}/models.sha256"

RESAMPLED = "resamples/{task}/{site}"  # a site's local models on half-samples of its training persons

NETWORK = "network/{site}"  # the engine's own files where federated training is over a network
LEFT = "network/{site}.csv"  # what left a site for it, a line per answer
FEDERATED = "federated/{task}.{embedding}.{learner}.zip"  # the bundle of a model that was trained so

EXTERNAL = "external/{task}/{external}/{target}"  # predictions of another model, as an arm's folder

IMPORTANCE = "importance/{task}/{site}.parquet"  # what the models named there look at
METRICS = "metrics/{task}/{target}/{table}.parquet"
TABLE = "tables/{table}.{suffix}"
OHDSI_TABLE = "ohdsi/{table}.csv"  # performance as PatientLevelPrediction keeps it
FIGURE = "figures/{figure}.{suffix}"
PROVENANCE = "provenance.json"
PAGE = "report/index.html"

MEDS = "meds/{task}/{site}"  # the cohort as MEDS labels, and the predictions of its arms

BUNDLE = "bundles/{site}/{task}.{embedding}.{learner}.zip"
BUNDLE_SHEET = "bundles/{site}/{task}.{embedding}.{learner}.md"
AGGREGATES = "aggregates/{site}.zip"
AGGREGATES_SHEET = "aggregates/{site}.md"
PATIENTS = "scores/{task}/{site}/cohort.parquet"
PATIENTS_TOKENS = "scores/{task}/{site}/tokens.parquet"
PATIENTS_SEQUENCES = "scores/{task}/{site}/sequences.parquet"
SCORES = "scores/{task}/{site}/{source}/{embedding}/{learner}.csv"
EXPLAINED = "scores/{task}/{site}/{source}/{embedding}/explained/{learner}.csv"  # what speaks for and against
COVERAGE = "scores/{task}/{site}/{source}/{embedding}/coverage.csv"
COVERAGE_SHEET = "scores/{task}/{site}/{source}/{embedding}/coverage.md"


class _Kept(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


def place(artefact: str, **names: str) -> str:
    """Fill in the named placeholders of an artefact; the others stay."""
    return artefact.format_map(_Kept(names))


def rows(results: Path, task: str, site: str) -> tuple[Path, Path, Path]:
    """Cohort, tokens and sequences of a task at a site."""
    cohort, tokens, sequences = (results / place(kind, task=task, site=site) for kind in (COHORT, TOKENS, SEQUENCES))
    return cohort, tokens, sequences


def vectors(results: Path, embedding: str, site: str, task: str | None = None) -> Path:
    """The table of a site's vectors. Give ``task`` if the vectors are learned from its rows."""
    if task is None:
        return results / place(VECTORS, embedding=embedding, site=site)
    return results / place(LEARNED_VECTORS, embedding=embedding, task=task, site=site)


def arm(results: Path, task: str, embedding: str, learner: str, strategy: str, target: str) -> Path:
    """The folder of an arm."""
    return results / place(ARM, task=task, embedding=embedding, learner=learner, strategy=strategy, target=target)


def sources_model(results: Path, task: str, embedding: str, learner: str, strategy: str) -> Path:
    """The folder of the model of all sources' rows, which all targets that are not sources share."""
    names = {"task": task, "embedding": embedding, "learner": learner, "strategy": strategy}
    return results / place(SOURCES_MODEL, **names)


def model(arm_folder: Path, source: str) -> Path:
    """The folder of a source's model in an arm's folder."""
    return arm_folder / "models" / source


def workflow_folder() -> Path:
    """The folder that has workflow/ and config/: in the installed package, or the checkout that it comes from."""
    package = Path(__file__).resolve().parent
    for folder in (package / "workflow_files", package.parents[1]):
        if (folder / "workflow/Snakefile").is_file():
            return folder
    raise StudyError(f"{package}: this installation lacks the workflow; install conceptbridge again")

"""The command ``conceptbridge``: takes a study from its file to its page, by Snakemake in a process of its own."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from conceptbridge.api import Study
from conceptbridge.core import forked_jobs
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest
from conceptbridge.layout import PAGE, TABLE, workflow_folder
from conceptbridge.study.config import config_schema, package_data
from conceptbridge.study.declared_keys import for_editors
from conceptbridge.study.first_questions import asked
from conceptbridge.study.first_study import first_study

#: Snakemake options that say where jobs run; without any, jobs use all cores of this machine
_PLACED = re.compile(r"--(cores|jobs|profile|executor)(=.*)?|-[cje].*")
#: those of them that send jobs elsewhere
_ELSEWHERE = re.compile(r"--(profile|executor)(=.*)?|-e.*")
#: Snakemake options after which nothing runs, or what runs is shown in another way
_PLANNED = re.compile(
    r"-[a-z]*n|--dry-?run|--unlock|--summary|--lint|--list(-\w+)?|--(dag|rulegraph|d3dag|filegraph|report)(=.*)?"
)
_SHOWN = re.compile(r"(--logger|--quiet|-q|--verbose|--printshellcmds|-p)(=.*)?")
_OWN_PROFILE = re.compile(r"--workflow-profile(=.*)?")
_JOBS = re.compile(r"^total +(\d+)$", re.MULTILINE)

#: beside a study that is written here: what editors know of its keys
SCHEMA = "study.schema.json"

app = typer.Typer(
    help="Carry clinical prediction models between hospitals through the meaning of their concepts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study.", show_default=False)]


class _HandsOn(TyperCommand):
    """A command that passes everything after the study to Snakemake unchanged, ``--`` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        super().parse_args(ctx, args[:1])
        ctx.args = args[1:]
        return args[1:]


@app.callback()
def _on_a_system_that_runs_it() -> None:
    if sys.platform == "win32":
        raise StudyError("conceptbridge runs on Linux, macOS and, on Windows, in WSL (Windows Subsystem for Linux)")


@app.command()
def demo(
    cores: Annotated[str, typer.Option(metavar="N", help="Processor cores.")] = "all",
    results: Annotated[str, typer.Option(metavar="DIR", help="The folder of all outputs.")] = "results",
) -> None:
    """Run the demo, three simulated hospitals, about four minutes on two cores."""
    study = workflow_folder() / "config/config.yaml"
    status = _snakemake(study, ["--cores", cores, "--config", f"results={results}"])
    if status == 0:
        _tell(Path(results))
        print(f"The study is {study}; `conceptbridge init` writes a study to start your own from.")
    raise typer.Exit(status)


@app.command()
def init(
    file: Annotated[Path | None, typer.Argument(help="The file to write.", show_default="my-study.yaml")] = None,
    extract: Annotated[
        list[str] | None,
        typer.Option(metavar="SITE=FOLDER", help="A hospital's name and its OMOP extract. Repeat for others."),
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="CONCEPT", help="When to predict: words of a concept's name, or its id.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="CONCEPT", help="What to predict: words of a concept's name, or its id.")
    ] = None,
    days: Annotated[
        tuple[int, int] | None, typer.Option(metavar="FIRST LAST", help="Days after the index that the outcome has.")
    ] = None,
    example: Annotated[str | None, typer.Option(metavar="NAME", help="Write an example of this name.")] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Write the profile of a SLURM cluster instead.")] = False,
) -> None:
    """Write a study to start your own from, with a comment on each key.

    In a terminal a few questions come first; options answer them. Concepts are searched in the extracts by name.
    """
    root = workflow_folder()
    examples = {path.stem: path for path in sorted((root / "config/studies").glob("*.yaml"))}
    if example is not None and example not in examples:
        raise StudyError(
            f"there is no example {example!r}{nearest(example, examples)}; there are {', '.join(examples)}"
        )
    if slurm:
        target = file or Path("slurm/profile.yaml")
        text = (root / "workflow/profiles/slurm/profile.yaml").read_text(encoding="utf-8")
        then = f"edit its first lines, then: conceptbridge run STUDY.yaml --profile {target.parent}"
    else:
        target = file or Path("my-study.yaml")
        text = (root / "config/template.yaml" if example is None else examples[example]).read_text(encoding="utf-8")
        then = f"edit it, then: conceptbridge check {target}\nEvery key: {root}/config/README.md"
    _check_new(target)
    if not slurm and example is None and (extract or index or outcome or days or sys.stdin.isatty()):
        answers = asked(target.stem, extract or [], index, outcome, days)
        if answers is not None:
            text = first_study(text, answers)
            then = f"now: conceptbridge check {target}\nEvery key: {root}/config/README.md"
    files = {target: text if slurm else f"# yaml-language-server: $schema={SCHEMA}\n{text}"}
    # an example may use a codebook of the package
    for name in re.findall(r"config/codebooks/[\w.-]+", text):
        _check_new(Path(name))
        files[Path(name)] = (root / name).read_text(encoding="utf-8")
    if not slurm:
        files[target.parent / SCHEMA] = _schema()
    for to, content in files.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(content, encoding="utf-8")
    print(f"Wrote {target}; {then}")


def _check_new(file: Path) -> None:
    if file.exists():
        raise StudyError(f"{file}: this file already exists; give another name, or move it")


@app.command()
def schema() -> None:
    """Print the JSON schema of a study, from which editors tell what each key means and which values it has."""
    print(_schema())


@app.command()
def check(
    study: StudyFile,
    counts: Annotated[bool, typer.Option(help="Read the extracts, and count records and persons.")] = True,
) -> None:
    """Check a study and its files, and say what it predicts, for whom, and what will be estimable. Trains nothing."""
    checked = Study.read(study)
    if mistakes := checked.mistakes():
        raise StudyError("\nerror: ".join(mistakes))
    plan = _command(study, ["--dry-run", "--quiet", "host", "rules"])
    planned = subprocess.run(plan, capture_output=True, text=True, check=False)
    if planned.returncode:
        raise StudyError(f"{study}: Snakemake cannot plan it:\n{planned.stdout}{planned.stderr}".rstrip())
    jobs = _JOBS.search(planned.stdout + planned.stderr)
    from conceptbridge.report.preview import described  # with pyarrow and DuckDB, which no other command needs

    logging.getLogger("conceptbridge").addHandler(logging.NullHandler())  # its warnings are among the lines
    cores = os.cpu_count() or 1
    arms, to_run = len(checked.arms()), int(jobs[1]) if jobs else 0
    reading = partial(print, "reading", file=sys.stderr, flush=True)
    lines = list(described(checked, cores, counts, reading, arms, to_run))  # an extract can have mistakes, too
    print(f"{study}: no mistakes found")
    for text in checked.warnings:
        print(f"warning: {text}")
    print("\n".join(lines))


@app.command(cls=_HandsOn)
def run(ctx: typer.Context, study: StudyFile) -> None:
    """Run a study. Options after STUDY.yaml go to snakemake: `-n` only plans, `--cores 8`, `--profile slurm` ..."""
    status = _snakemake(study, ctx.args)
    if status == 0 and not any(map(_PLANNED.fullmatch, ctx.args)):
        _tell(Study.read(study).results)
    raise typer.Exit(status)


def _add_target(name: str, target: str, text: str) -> None:
    def command(ctx: typer.Context, study: StudyFile) -> None:
        raise typer.Exit(_snakemake(study, ctx.args, target))

    app.command(name, cls=_HandsOn, help=f"{text} Options after STUDY.yaml go to snakemake.")(command)


_add_target("feasibility", "feasibility", "Say whether the sample is large enough, before any embedding or training.")
_add_target("score", "score", "Score the study's lists of patients with the models of other sites.")
_add_target("bundle", "bundle", "Pack the sites' models, for other hospitals to use.")
_add_target("meds", "meds", "Write cohorts as MEDS labels, and all predictions for meds-evaluation.")
_add_target("aggregates", "aggregates", "Pack the sites' results, for the coordinator of a study.")
_add_target("fetch-models", "fetch_models", "Download the study's language models, for machines without internet.")


@app.command(cls=_HandsOn)
def translations(ctx: typer.Context, study: StudyFile) -> None:
    """Write what a site's words are read as, for a clinician to correct. Options after STUDY.yaml go to snakemake."""
    checked = Study.read(study)
    if not any(not e.drawn for e in checked.translated):
        raise StudyError(f"{study}: this study translates nothing; add `translated` to its embeddings")
    if not checked.reviewed:
        raise StudyError(f"{study}: no target's rows are here; translations are reviewed where its words are read")
    status = _snakemake(study, ctx.args, "translations")
    if status == 0 and (checked.results / "reviews").is_dir():
        print(
            f"The sheets are in {checked.results}/reviews/. Fill in `stands_for` where a reading is wrong, and name "
            "the files in the study: `translations: [FILE.csv]`."
        )
    raise typer.Exit(status)


@app.command("adapt-encoder")
def adapt_encoder(
    base: Annotated[str, typer.Argument(metavar="EMBEDDING", help="Of the catalogue, or a model's folder.")],
    vocabulary: Annotated[Path, typer.Argument(metavar="VOCABULARY", help="An Athena download, or an extract.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    site: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A site's vocabulary.parquet: only concepts that it uses. Repeat for others."
        ),
    ] = None,
    max_pairs: Annotated[int, typer.Option(min=20, metavar="N", help="Pairs of names to learn from.")] = 20_000,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Passes over them.", show_default="100 steps or more")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Chooses pairs and held-out concepts.")] = 1,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Processor cores.")] = 1,
) -> None:
    """Train an encoder on a vocabulary's names, synonyms, maps and parents, for a study to use as its own."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # those of loading; training has its own
    from conceptbridge.embed.adaptation import RECORD, Training, adapt_encoder

    logging.basicConfig(format="%(message)s")
    logging.getLogger("conceptbridge").setLevel(logging.INFO)
    record = adapt_encoder(base, vocabulary, out, site or [], Training(seed, max_pairs, epochs), threads)
    before, after = record["measures"]["before"], record["measures"]["after"]
    print(f"On {len(record['held_out_terms'])} terms that were held out, before and after:")
    for kind, measure, words in (
        ("polarity", "cosine", "cosine of a name and its Not"),
        ("polarity", "polarity", "polarity (0: Not X is X)"),
        ("synonym", "recall_at_1", "a synonym's name comes first"),
        ("maps_to", "recall_at_1", "the name mapped to comes first"),
        ("parent", "recall_at_1", "the parent's name comes first"),
    ):
        if before[kind][measure] is not None:
            print(f"{words:<31} {before[kind][measure]:.3f} {after[kind][measure]:.3f}")
    print(f"More is in {out / RECORD}. Use the encoder in a study: `embeddings: [{{adapted: {out.absolute()}}}]`")


Kit = Annotated[Path, typer.Argument(metavar="KIT", help="This hospital's kit, a folder.", exists=True)]


@app.command()
def join(study: StudyFile, kit: Kit) -> None:
    """Train `federated` models with other hospitals, over a network. The study has run, so that its rows are there."""
    from conceptbridge.exchange.network.session import join as take_part  # with NumPy, which no other command needs
    from conceptbridge.plan import Plan

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the engine's processes end, too
    checked = Study.read(study)
    take_part(checked, Plan(checked, {}, {}, {}, []).federated_jobs(), kit, partial(print, flush=True))
    print(f"Now: conceptbridge run {study}")


@app.command()
def lead(
    study: StudyFile,
    server: Annotated[Path, typer.Option(metavar="KIT", help="The server's kit.", exists=True)],
    admin: Annotated[Path, typer.Option(metavar="KIT", help="Its administrator's kit.", exists=True)],
) -> None:
    """Train a study's `federated` models with its hospitals, over a network. Each of them runs `conceptbridge join`."""
    from conceptbridge.exchange.network.session import lead as train_with  # as above
    from conceptbridge.plan import Plan

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    checked = Study.read(study)
    jobs = Plan(checked, {}, {}, {}, []).federated_jobs()  # the hospitals' results files need not be there yet
    files = train_with(checked, jobs, server, admin, partial(print, flush=True))
    print(f"Trained {len(files)} models; each hospital has them, too.")


@app.command(name="audit-release")
def audit_release(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Results of a study, or a results file (zip).")],
    min_cell_count: Annotated[int, typer.Option(metavar="N", help="The study's smallest count.")] = 10,
) -> None:
    """Say which small counts follow from what a site shows or sends: none, or status 1 and where they are."""
    from conceptbridge.exchange.egress.audit import audit  # with SciPy, which no other command needs

    found = audit(folder, min_cell_count)
    if found:
        places = "\n".join(f"- {one.where}: {one.what}" for one in found)
        raise StudyError(
            f"{folder}: counts under {min_cell_count} can be worked out from what is shown; do not send it:\n{places}"
        )
    print(f"{folder}: no count under {min_cell_count} can be worked out from the counts and estimates in its tables.")


@app.command()
def mlflow(study: StudyFile) -> None:
    """Log the arms of a study that was run to the MLflow server that MLFLOW_TRACKING_URI names."""
    from conceptbridge.report.mlflow_runs import log_runs  # with MLflow, which no other command needs

    checked = Study.read(study)
    name, metrics = checked.config["name"], checked.results / TABLE.format(table="metrics", suffix="parquet")
    if not metrics.is_file():
        raise StudyError(f"{study}: it has no results yet; run it: conceptbridge run {study}")
    arms, logged = log_runs(metrics, name, os.environ.get("MLFLOW_TRACKING_URI"))
    print(f"Logged {logged} of {arms} arms as runs of the experiment {name}; the others were there.")


def _schema() -> str:
    return json.dumps(for_editors(config_schema(), package_data("catalogue")), indent=1)


def _tell(results: Path) -> None:
    """Print what the study answers, and where its page is; nothing where it has none."""
    from conceptbridge.report.answers import answers_in, not_estimable  # with pyarrow, which no other command needs

    page = results / PAGE
    if not page.is_file():
        return
    for answer in answers_in(results / "tables"):
        print(f"{answer.task} at {answer.target}: {answer.verdict}")
    if missing := not_estimable(results / "tables"):
        print(f"{missing} arms are not estimable: {results}/tables/arms.csv says why.")
    print(f"The study is done. Open {page} in a browser; its tables are in {results}/tables/.")


def _snakemake(study: Path, rest: Sequence[str], target: str | None = None) -> int:
    """Run the workflow on a study, in the working folder; return its status, or 128 + n if signal n ended it."""
    command = _command(study, rest, target)
    env = os.environ.copy()
    # a job's start is shared where jobs run on this machine
    if sys.platform == "linux" and not any(_PLANNED.fullmatch(one) or _ELSEWHERE.fullmatch(one) for one in rest):
        with suppress(OSError):
            env[forked_jobs.VARIABLE] = str(forked_jobs.start())
    with subprocess.Popen(command, env=env) as process:
        # a terminal interrupts both processes; wait while Snakemake ends its jobs
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
    return status if status >= 0 else 128 - status


def _command(study: Path, rest: Sequence[str], target: str | None = None) -> list[str]:
    """Return the command that runs the workflow on a study."""
    if not study.is_file():
        raise StudyError(f"{study}: there is no such study; `conceptbridge init` writes one to start from")
    root = workflow_folder()
    # an option with several values would take a target after it as one more value
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *(
            []
            if any(_PLANNED.fullmatch(one) or _SHOWN.fullmatch(one) for one in rest)
            else ["--logger", "conceptbridge"]
        ),
        "--configfile",
        str(study),
        "--snakefile",
        str(root / "workflow/Snakefile"),
    ]
    if not any(map(_OWN_PROFILE.fullmatch, rest)):
        command += ["--workflow-profile", str(root / "workflow/profiles/default")]
    if not any(map(_PLACED.fullmatch, rest)):
        command += ["--cores", "all"]
    return [*command, *([target] if target else []), *rest]


def main() -> None:
    """Run the command; a StudyError ends it with its message and status 1."""
    try:
        app()
    except StudyError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""The command: what it says, what it hands to Snakemake, and how it ends."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from conceptbridge import cli
from conceptbridge.api import Study
from conceptbridge.core import forked_jobs
from conceptbridge.simulate.network import write_extract as write_simulated
from tiny_extract import write_extract

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config/config.yaml"
EXAMPLES = sorted(path.stem for path in (ROOT / "config/studies").glob("*.yaml"))


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Run the command in this process; return what it ends with."""
    monkeypatch.setattr(sys, "argv", ["conceptbridge", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


@pytest.fixture(scope="module")
def tiny_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracts of two simulated hospitals, 2,000 persons together with a third."""
    folder = tmp_path_factory.mktemp("network")
    for site in ("riverside", "lakeshore"):
        write_simulated(site, 2000, 1, folder / site)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, away from the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "handed"),
    [
        (("run", "S"), ["--cores", "all"]),
        (("run", "S", "-n"), ["--cores", "all", "-n"]),
        (("run", "S", "--cores", "8", "--until", "a", "--", "b"), ["--cores", "8", "--until", "a", "--", "b"]),
        (("run", "S", "-c2"), ["-c2"]),
        (("run", "S", "--jobs=3"), ["--jobs=3"]),
        (("run", "S", "--profile", "slurm"), ["--profile", "slurm"]),
        (("run", "S", "-e", "slurm"), ["-e", "slurm"]),
        (("feasibility", "S", "--forcerun", "ingest"), ["--cores", "all", "feasibility", "--forcerun", "ingest"]),
        (("score", "S"), ["--cores", "all", "score"]),
        (("bundle", "S", "--cores", "1"), ["bundle", "--cores", "1"]),
        (("aggregates", "S"), ["--cores", "all", "aggregates"]),
        (("fetch-models", "S"), ["--cores", "all", "fetch_models"]),
        (("demo",), ["--cores", "all", "--config", "results=results"]),
        (("demo", "--cores", "2", "--results", "out"), ["--cores", "2", "--config", "results=out"]),
    ],
)
def test_the_rest_of_the_line_is_snakemake_s(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], handed: list[str]
) -> None:
    Path("S").write_text("")
    study = str(DEMO) if arguments[0] == "demo" else "S"
    files = ["--configfile", study, "--snakefile", str(ROOT / "workflow/Snakefile")]
    profile = ["--workflow-profile", str(ROOT / "workflow/profiles/default")]
    lines: list[list[str]] = []
    # a process in place of Snakemake, whose status is passed on: 7, or 8 where jobs share a start
    other = [sys.executable, "-c", f"import os; raise SystemExit(7 + ({forked_jobs.VARIABLE!r} in os.environ))"]
    popen = subprocess.Popen
    monkeypatch.setattr(forked_jobs, "start", lambda: here)
    monkeypatch.setattr(subprocess, "Popen", lambda line, env: lines.append(line) or popen(other, env=env))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    here_all_run = sys.platform == "linux" and not {"-n", "--profile", "-e"} & set(handed)
    assert ended(monkeypatch, *arguments) == 7 + here_all_run
    for number, handler in before.items():
        signal.signal(number, handler)
    shown = [] if "-n" in handed else ["--logger", "conceptbridge"]
    assert lines == [[sys.executable, "-m", "snakemake", *shown, *files, *profile, *handed]]


def test_a_run_can_be_shown_as_snakemake_does(here: Path) -> None:
    Path("study.yaml").write_text("")
    for option in ("--verbose", "-q", "--logger", "--dry-run", "-pn"):
        assert "conceptbridge" not in cli._command(Path("study.yaml"), [option])


def test_a_profile_of_one_s_own_takes_the_place_of_the_workflow_s(here: Path) -> None:
    Path("study.yaml").write_text("")
    assert "--workflow-profile" not in cli._command(Path("study.yaml"), ["--workflow-profile=mine"])


def test_a_command_that_is_ended_ends_snakemake(here: Path) -> None:
    """What stands in Snakemake's place here waits until it is ended."""
    waiting = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print(flush=True)"
    code = "import subprocess, sys; from pathlib import Path; from conceptbridge import cli; Path('S').touch(); "
    code += f"cli._command = lambda *_: [sys.executable, '-c', {waiting + '; time.sleep(60)'!r}]; "
    code += "sys.exit(cli._snakemake(Path('S'), []))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        command.stdout.readline()
        time.sleep(0.2)  # until it has its handlers
        os.kill(command.pid, signal.SIGINT)  # a terminal's reaches Snakemake by itself
        os.kill(command.pid, signal.SIGTERM)
        assert command.wait(timeout=30) == 5


def test_a_study_that_is_not_there_is_told_before_snakemake_starts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, "run", "nothing.yaml") == (
        "error: nothing.yaml: there is no such study; `conceptbridge init` writes one to start from"
    )


def test_windows_is_told_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert "in WSL" in str(ended(monkeypatch, "check", "study.yaml"))


def test_a_first_study_is_written_once_and_has_only_its_extracts_to_be_filled_in(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(monkeypatch, "init") == 0
    study = Study.read("my-study.yaml")
    assert [message.split(":")[0] for message in study.mistakes()] == ["/data/north/cdm", "/data/south/cdm"]
    assert "my-study.yaml: this file already exists" in str(ended(monkeypatch, "init"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_written_with_the_codebook_that_it_reads(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert ended(monkeypatch, "init", "new/study.yaml", "--example", name) == 0
    study = Study.read("new/study.yaml")
    assert not [message for message in study.mistakes() if "config/codebooks" in message]


def test_an_example_that_is_not_there_is_told_with_the_nearest(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean 'one-site'" in str(ended(monkeypatch, "init", "--example", "onesite"))


def test_the_profile_of_a_cluster_is_written_to_be_edited(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, "init", "--slurm") == 0
    assert yaml.safe_load(Path("slurm/profile.yaml").read_text())["executor"] == "slurm"


def test_a_first_study_comes_from_answers_and_names_concepts_by_words(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_network: Path
) -> None:
    extracts = [f"--extract={site}={tiny_network / site}" for site in ("riverside", "lakeshore")]
    events = ("--index", "emergency room visit", "--outcome", "4266367", "--days", "1", "7")
    assert ended(monkeypatch, "init", "flu.yaml", *extracts, *events) == 0
    study = Study.read("flu.yaml")
    task = study.config["tasks"]["influenza"]
    assert (task["index"]["domain"], task["index"]["concepts"]) == ("visit", [9203])
    assert (task["outcome"]["concepts"], task["outcome"]["days"]) == ([4266367], [1, 7])
    assert study.mistakes() == []
    shown = json.loads(Path("study.schema.json").read_text())
    assert "Default: 3." in shown["properties"]["seeds"]["description"]
    assert Path("flu.yaml").read_text().startswith("# yaml-language-server: $schema=study.schema.json\n")


def test_words_of_several_concepts_are_answered_with_all_of_them(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_network: Path
) -> None:
    extract = f"--extract=north={tiny_network / 'riverside'}"
    told = str(ended(monkeypatch, "init", extract, "--index", "9203", "--outcome", "influ", "--days", "1", "7"))
    assert "--outcome influ: name one concept" in told
    assert "4266367  Influenza (condition, 2 descendants)" in told
    assert "give `--days FIRST LAST`" in str(
        ended(monkeypatch, "init", extract, "--index", "9203", "--outcome", "4266367")
    )
    assert "give `--extract SITE=FOLDER`" in str(ended(monkeypatch, "init", "--outcome", "influenza"))
    assert not Path("my-study.yaml").exists()


def test_a_terminal_asks_what_no_option_says(here: Path, tiny_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([f"north={tiny_network / 'riverside'}", "", "emergency room visit", "influ", "influenza", 1, 7])
    monkeypatch.setattr(cli.typer, "prompt", lambda *asked, **more: next(answers))
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert ended(monkeypatch, "init") == 0
    assert Study.read("my-study.yaml").config["tasks"]["influenza"]["outcome"]["concepts"] == [4266367]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_editors_are_told_what_the_keys_mean(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "A study"


def test_a_check_of_a_simulated_study_says_that_there_is_nothing_to_count_yet(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "check", str(DEMO)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{DEMO}: no mistakes found"
    assert "  riverside: simulated, so there is no extract to count yet; the run makes it" in told
    (study,) = (line for line in told if line.startswith("study "))
    assert "riverside, lakeshore, prairie: 54 arms" in study
    assert int(study.split()[-4]) > 50
    assert told[-1].startswith("time       roughly ")
    assert not Path("results").exists()


def test_a_check_counts_what_the_extracts_have_and_hides_what_is_small(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_network: Path
) -> None:
    config = yaml.safe_load((ROOT / "config/template.yaml").read_text(encoding="utf-8"))
    config["sites"] = {site: {"extract": str(tiny_network / site)} for site in ("riverside", "lakeshore")}
    monkeypatch.setattr(cli.subprocess, "run", lambda *_, **more: subprocess.CompletedProcess([], 0, "total 7", ""))
    Path("study.yaml").write_text(yaml.safe_dump(config))
    assert ended(monkeypatch, "check", "study.yaml") == 0
    told = capsys.readouterr().out
    assert "For every emergency visit, the models" in told
    assert "4266367 Influenza, and 2 descendants" in told
    assert re.search(r"predicted  [\d,]+ rows of [\d,]+ persons, \d+ rows with the outcome \(\d+\.\d %\)", told)
    assert "training   estimable: " in told
    assert "7 jobs to run" in told
    assert "cost       none" in told
    assert not Path("results").exists()

    config["min_cell_count"] = 500
    Path("study.yaml").write_text(yaml.safe_dump(config))
    assert ended(monkeypatch, "check", "study.yaml") == 0
    told = capsys.readouterr().out
    assert "fewer than 500 records of fewer than 500 persons" in told
    counts = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:rows|records|persons)", told)]
    assert all(count >= 500 for count in counts), told
    assert "testing    not estimable: fewer than 500 persons with, or without, the outcome" in told

    assert ended(monkeypatch, "check", "study.yaml", "--no-counts") == 0
    assert "riverside: not counted" in capsys.readouterr().out


def test_a_check_tells_every_file_that_is_wrong(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_extract(here / "north", visit_occurrence=None)
    config = yaml.safe_load((ROOT / "config/template.yaml").read_text(encoding="utf-8"))
    config["sites"] = {"north": {"extract": "north"}, "south": {"extract": "south"}}
    Path("study.yaml").write_text(yaml.safe_dump(config))
    first, second = str(ended(monkeypatch, "check", "study.yaml")).splitlines()
    assert first.startswith("error: north: the task influenza needs the table visit_occurrence")
    assert second.startswith("error: south: does not exist")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites: [", "study.yaml: this study is not YAML"),
        ("a text", "study.yaml: this study has no keys"),
        ("name: x\nsite: {}\n", "unknown key 'site' (did you mean 'sites'?)"),
    ],
)
def test_a_check_ends_with_a_message_where_the_study_cannot_be_read(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    Path("study.yaml").write_text(text)
    assert message in str(ended(monkeypatch, "check", "study.yaml"))

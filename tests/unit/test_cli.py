"""The command: what it says, what it hands to Snakemake, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from conceptbridge import cli
from conceptbridge.api import Study
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
    # a process in place of Snakemake, whose status is passed on
    other = [sys.executable, "-c", "raise SystemExit(7)"]
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda line: lines.append(line) or popen(other))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert ended(monkeypatch, *arguments) == 7
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


def test_a_check_tells_what_the_study_has(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "check", str(DEMO)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{DEMO}: no mistakes found"
    assert "sites       riverside, lakeshore, prairie" in told
    assert "arms        198" in told
    assert told[-1].endswith(" to run")
    assert int(told[-1].split()[1]) > 100
    assert not Path("results").exists()


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

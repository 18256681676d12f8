"""The workflow as a part of another one: twice in one Snakefile, and deployed from a repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conceptbridge.core import forked_jobs
from tiny_study import ROOT, TINY, forked

pytestmark = pytest.mark.workflow

TWO_STUDIES = f"""
import yaml

module one:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: yaml.safe_load(open("one.yaml"))

use rule * from one as one_*

module two:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: yaml.safe_load(open("two.yaml"))

use rule * from two as two_*

rule mine:
    default_target: True
    input: "one/tables/embeddings.csv", "two/tables/embeddings.csv", "two/sites/prairie/vocabulary.parquet"
    output: "mine.txt"
    shell: "cat {{input[0]}} {{input[1]}} > {{output}}"
"""


def run(folder: Path, snakefile: Path, *arguments: str) -> str:
    command = [str(forked() / "python"), "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(folder)]
    env = os.environ | {forked_jobs.VARIABLE: str(forked())}
    done = subprocess.run([*command, *arguments], env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


def jobs(told: str, rule: str) -> int:
    """How many jobs of a rule a dry run lists."""
    found = re.search(rf"^{rule} +(\d+)$", told, re.MULTILINE)
    return int(found[1]) if found else 0


def test_two_studies_are_modules_of_one_workflow(tmp_path: Path) -> None:
    here, elsewhere = {"simulate": {"persons": 300, "seed": 1}, "embeddings": ["random"]}, {"extract": "simulated"}
    for name, changed in (
        ("one", {}),
        (
            "two",
            {
                "sites": {"riverside": elsewhere, "prairie": elsewhere},
                "states": "words",
                "texts": {"absent": "no {name}"},
            },
        ),
    ):
        study = TINY | here | {"results": name, "embedding_cache": "cache"} | changed
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "Snakefile").write_text(TWO_STUDIES)
    planned = run(tmp_path, tmp_path / "Snakefile", "--dry-run", "--", "one_all", "two_all")
    assert [jobs(planned, f"{study}_train") for study in ("one", "two")] == [4, 4]
    run(tmp_path, tmp_path / "Snakefile", "--cores", "2")
    assert (tmp_path / "mine.txt").read_text().count('"random","random"') == 2
    # a change of one study leaves the other alone
    study = yaml.safe_load((tmp_path / "two.yaml").read_text())
    (tmp_path / "two.yaml").write_text(
        yaml.safe_dump(study | {"states": "words", "texts": {"absent": "without {name}"}})
    )
    planned = run(tmp_path, tmp_path / "Snakefile", "--dry-run")
    assert (jobs(planned, "one_vocabulary"), jobs(planned, "two_vocabulary")) == (0, 2)


def test_snakedeploy_deploys_it_from_a_repository(tmp_path: Path) -> None:
    source, deployed = tmp_path / "source", tmp_path / "deployed"
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, source / name)
    (source / "profiles").symlink_to("workflow/profiles")
    shutil.copy(ROOT / "LICENSE", source)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        [*identity, "commit", "--quiet", "-m", "all"],
    ):
        subprocess.run(["git", *command], cwd=source, check=True)
    snakedeploy = Path(sys.executable).with_name("snakedeploy")
    told = subprocess.run(
        [snakedeploy, "deploy-workflow", source, deployed, "--name", "conceptbridge", "--branch", "main"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert (deployed / "profiles/default/profile.yaml").is_file()
    # what it writes of a repository on this disk is a path within it; of one on a server, an address: git+file is one
    snakefile = deployed / "workflow/Snakefile"
    written = snakefile.read_text(encoding="utf-8")
    assert '"workflow/Snakefile"' in written
    snakefile.write_text(written.replace('"workflow/Snakefile"', f'"git+file://{source}/workflow/Snakefile@main"'))
    planned = run(deployed, snakefile, "--dry-run")
    assert jobs(planned, "train") == 6

"""A rule's code inputs follow from what its script imports, and count by what they mean."""

import ast
import shutil
from pathlib import Path

import pytest

from conceptbridge.core import code_fingerprint
from conceptbridge.core.code_fingerprint import code_files, fingerprint
from conceptbridge.learn.registry import LEARNERS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow/scripts"


def names(script: str, *modules: str) -> set[str]:
    return {path.name for path in code_files(SCRIPTS / f"{script}.py", modules)}


def test_a_script_stands_with_all_that_it_imports_and_no_more() -> None:
    embed = names("embed")
    assert {"embed.py", "command.py", "tables.py", "cache.py", "embeddings.py", "atomic_files.py"} <= embed
    assert not {"cnn.py", "cohort.py", "ingest.py", "figures.py", "models.py", "remote.py"} & embed


def test_a_learner_is_code_of_its_own_arms() -> None:
    assert not {Path(*name.split(".")[1:]).with_suffix(".py").name for name in LEARNERS.values()} & names("train")
    assert {"cnn.py", "descent.py"} <= names("train", LEARNERS["cnn"])
    assert not {"lightgbm.py", "logistic.py", "attention.py"} & names("train", LEARNERS["cnn"])


def test_a_data_file_that_a_module_names_is_code(tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("a\n")
    script = tmp_path / "script.py"
    script.write_text('"""A script."""\n\nFACTS = "facts.csv"\nOTHER = "missing.csv"\n')
    assert code_files(script) == [script, tmp_path / "facts.csv"]
    before = fingerprint(script)
    code_fingerprint._meaning.cache_clear()
    (tmp_path / "facts.csv").write_text("b\n")
    assert fingerprint(script) != before


def test_a_script_means_the_same_where_it_lies_inside_the_installed_package(tmp_path: Path) -> None:
    inside = tmp_path / "package/workflow_files/scripts"
    shutil.copytree(SCRIPTS, inside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_fingerprint, "_root", lambda *_: tmp_path / "package")
        shutil.copytree(ROOT / "src/conceptbridge", tmp_path / "package", dirs_exist_ok=True)
        installed = fingerprint(inside / "cohort.py")
    assert installed == fingerprint(SCRIPTS / "cohort.py")


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("# why\nx = 1\n", True),
        ('"""What."""\n\nx = (\n    1\n)\n', True),
        ("x = 2\n", False),
        ("x = 1\nassert x\n", False),
        ("x = '1'\n", False),
    ],
)
def test_a_comment_a_docstring_and_the_layout_mean_nothing(tmp_path: Path, changed: str, same: bool) -> None:
    for folder, text in (("one", "x = 1\n"), ("other", changed)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "script.py").write_text(text)
    assert (fingerprint(tmp_path / "one/script.py") == fingerprint(tmp_path / "other/script.py")) is same


def test_packages_that_compute_count_by_their_version_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = fingerprint(SCRIPTS / "train.py", [LEARNERS["lightgbm"]])
    assert " lightgbm " in told
    assert "torch" not in told
    assert "tqdm" not in fingerprint(SCRIPTS / "compute_texts.py")
    code_fingerprint._version.cache_clear()
    monkeypatch.setattr(code_fingerprint, "version", lambda package: "99+gpu")
    assert "lightgbm 99," in fingerprint(SCRIPTS / "train.py", [LEARNERS["lightgbm"]])
    code_fingerprint._version.cache_clear()
    assert "lightgbm" not in fingerprint(SCRIPTS / "train.py", [LEARNERS["lightgbm"]], versions=False)


def test_only_registries_import_by_a_name_that_is_computed() -> None:
    # no `import` shows such a module: the rule has to name it (workflow/rules/study.smk)
    by_name = set()
    package = ROOT / "src/conceptbridge"
    for path in {*package.rglob("*.py")} - {package / "__init__.py"}:  # no job asks for a public name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                by_name.add((path.name, ast.unparse(node)))
    assert by_name == {
        ("registry.py", "import_module(LEARNERS[name])"),
        ("strategies.py", "import_module(module_name)"),
        ("backends.py", "import_module(MODULES[backend])"),
        ("compute.py", "import_module(MODULES['openai'])"),
    }

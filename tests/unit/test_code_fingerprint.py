"""A rule's code inputs follow from what its script imports, and count by what they mean."""

import ast
import shutil
import sys
from pathlib import Path

import pytest

from conceptbridge.core import code_fingerprint
from conceptbridge.core.code_fingerprint import code_files, fingerprint
from conceptbridge.learn.registry import LEARNERS
from conceptbridge.sites.converters.converter import CONVERTERS
from conceptbridge.sites.formats.format import FORMATS
from conceptbridge.study.backends import BACKENDS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow/scripts"


def names(script: str, *modules: str) -> set[str]:
    return {path.name for path in code_files(SCRIPTS / f"{script}.py", modules)}


def test_a_script_stands_with_all_that_it_imports_and_no_more() -> None:
    embed = names("embed")
    assert {"embed.py", "command.py", "tables.py", "cache.py", "embeddings.py", "atomic_files.py"} <= embed
    assert not {"cnn.py", "cohort.py", "ingest.py", "figures.py", "models.py", "remote.py"} & embed


def test_a_learner_is_code_of_its_own_arms() -> None:
    assert not {Path(*name.split(".")[1:]).with_suffix(".py").name for name in LEARNERS.values()} & names("arm")
    assert {"cnn.py", "network_settings.py", "gradient_descent.py"} <= names("arm", LEARNERS["cnn"])
    others = {"lightgbm.py", "boosted_trees.py", "logistic.py", "penalised_regression.py", "transformer.py"}
    assert not others & names("arm", LEARNERS["cnn"])


def test_code_of_another_package_counts_with_all_that_it_imports_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "acme/__init__.py": "",
        "acme/learners/__init__.py": "",
        "acme/learners/forest.py": "from typing import TYPE_CHECKING\n\nfrom ..core import grow\nfrom . import prune\n"
        'import acme.shared\nimport yaml, faker\n\nif TYPE_CHECKING:\n    import acme.types\n\nFACTS = "facts.csv"\n'
        "def fit():\n    from conceptbridge.learn import pooled_features\n",
        "acme/learners/prune.py": "from .deeper.one import x\n",
        "acme/learners/facts.csv": "a\n",
        "acme/learners/other.py": "",
        "acme/learners/deeper/one.py": "x = 1\n",  # a folder without __init__.py is a package, too
        "acme/core.py": "import conceptbridge.core.text\n",
        "acme/shared.py": "",
        "acme/types.py": "",
        "faker.py": "",
        "faker-3.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: faker\nVersion: 3.2\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    script, learner = SCRIPTS / "digest.py", "acme.learners.forest"
    found = set(code_files(script, [learner])) - set(code_files(script))
    wanted = ["__init__", "learners/__init__", "learners/forest", "learners/prune", "learners/deeper/one"]
    wanted += ["core", "shared"]
    of_acme = {tmp_path / f"acme/{name}.py" for name in wanted} | {tmp_path / "acme/learners/facts.csv"}
    assert {path for path in found if path.is_relative_to(tmp_path)} == of_acme
    assert {"pooled_features.py", "text.py"} <= {path.name for path in found - of_acme}
    told = fingerprint(script, [learner])
    # what it imports of other packages counts by version, as nobody here knows what computes
    assert "faker 3.2" in told
    assert "faker" not in fingerprint(script)
    for path in of_acme:
        for cached in (code_fingerprint._read, code_fingerprint._meaning):
            cached.cache_clear()
        was = path.read_text()
        path.write_text(f"{was}CHANGED = True\n")
        assert fingerprint(script, [learner]) != told, path
        path.write_text(was)
    assert sys.modules.keys().isdisjoint({"acme", "acme.learners", learner})


def test_imports_for_type_checkers_alone_are_no_code(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    text = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import other\n"
    for name in ("other", "more"):
        (tmp_path / f"{name}.py").touch()
    script.write_text(text)
    assert code_files(script) == [script]
    code_fingerprint._read.cache_clear()
    script.write_text(text + "else:\n    import more\n")
    assert code_files(script) == [script, tmp_path / "more.py"]


def test_a_backend_is_code_of_its_own_embeddings() -> None:
    own = {"onehot.py", "random.py", "language_models.py", "models.py", "remote.py", "openai.py"}
    assert not own & names("compute_texts")
    assert own & names("compute_texts", BACKENDS["random"]) == {"random.py"}
    assert own & names("compute_texts", BACKENDS["openai"]) == {"openai.py", "remote.py"}
    of_models = own & names("compute_texts", BACKENDS["sentence-transformers"])
    assert of_models == {"language_models.py", "models.py"}


def test_a_converter_and_a_format_are_code_where_a_rule_names_them() -> None:
    assert "findings_table.py" not in names("convert")
    assert {"findings.py", "findings_table.py", "codebook.py"} <= names("convert", CONVERTERS["findings"])
    assert "sqlite.py" not in names("ingest")
    assert {"parquet.py", "text.py", "zip.py", "sqlite.py", "duckdb.py"} <= names("ingest", *FORMATS.values())


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
    inside = tmp_path / "conceptbridge/workflow_files/workflow/scripts"
    shutil.copytree(SCRIPTS, inside)
    shutil.copytree(ROOT / "src/conceptbridge", tmp_path / "conceptbridge", dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_fingerprint, "_folders", lambda package: (tmp_path,))
        code_fingerprint._root.cache_clear()
        installed = fingerprint(inside / "arm.py")
    code_fingerprint._root.cache_clear()
    assert installed == fingerprint(SCRIPTS / "arm.py")


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
    told = fingerprint(SCRIPTS / "arm.py", [LEARNERS["lightgbm"]])
    assert " lightgbm " in told
    assert "torch" not in told
    assert "tqdm" not in fingerprint(SCRIPTS / "compute_texts.py")
    code_fingerprint._version.cache_clear()
    monkeypatch.setattr(code_fingerprint, "version", lambda package: "99+gpu")
    assert "lightgbm 99," in fingerprint(SCRIPTS / "arm.py", [LEARNERS["lightgbm"]])
    code_fingerprint._version.cache_clear()
    assert "lightgbm" not in fingerprint(SCRIPTS / "arm.py", [LEARNERS["lightgbm"]], versions=False)


def test_only_registries_import_by_a_name_that_is_computed() -> None:
    # no `import` shows such a module: the rule has to name it (workflow/rules/study.smk)
    by_name = set()
    package = ROOT / "src/conceptbridge"
    no_job_s = {package / "__init__.py", package / "core/forked_jobs.py"}
    for path in {*package.rglob("*.py")} - no_job_s:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                by_name.add((path.name, ast.unparse(node)))
    assert by_name == {
        ("registry.py", "import_module(module)"),  # all that is found by name: ours and other packages'
        ("client.py", "import_module(str(spec.federation))"),  # named by rule `federate` (plan.py)
    }

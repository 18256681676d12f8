"""A rule's code inputs follow from what its script imports."""

from pathlib import Path

from conceptbridge.imports import code_files

ROOT = Path(__file__).parents[2]


def names(script: str) -> set[str]:
    return {path.name for path in code_files(ROOT / "workflow/scripts" / f"{script}.py")}


def test_a_script_stands_with_all_that_it_imports_and_no_more() -> None:
    embed = names("embed")
    assert {"embed.py", "command.py", "tables.py", "cache.py", "catalogue.py", "files.py"} <= embed
    assert not {"cnn.py", "cohort.py", "ingest.py", "figures.py", "models.py", "remote.py"} & embed
    assert {"backends.py", "models.py", "remote.py", "cache.py"} <= names("compute_texts")


def test_learners_named_in_the_registry_are_code_of_training() -> None:
    assert {"cnn.py", "boosting.py"} <= names("train")


def test_a_data_file_that_a_module_names_is_code(tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("a\n")
    script = tmp_path / "script.py"
    script.write_text('"""A script."""\n\nFACTS = "facts.csv"\nOTHER = "missing.csv"\n')
    assert code_files(script) == [script, tmp_path / "facts.csv"]


def test_every_script_is_found_through() -> None:
    for script in (ROOT / "workflow/scripts").glob("*.py"):
        assert code_files(script)[0] == script

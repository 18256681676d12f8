"""A hospital whose rare values are words of the program can still send; elsewhere the same values do not leave."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.schemas import SCHEMAS, to_table
from conceptbridge.exchange.egress.allowlist import DOCUMENTS, TABLES
from conceptbridge.exchange.egress.check import check_about, check_egress
from conceptbridge.exchange.egress.program_words import program_words, words
from conceptbridge.exchange.egress.release_report import write_release_report
from conceptbridge.exchange.egress.released_file import ReleasedFile
from conceptbridge.exchange.egress.site_secrets import SiteSecrets, private_phrases
from conceptbridge.exchange.package import read_package
from conceptbridge.exchange.send.aggregates import write_aggregates
from conceptbridge.exchange.send.model_card import SHOWN, card
from conceptbridge.study.learners import LEARNERS
from conceptbridge.study.strategies import STRATEGIES
from test_exchange_aggregates import ABOUT, MINIMUM, SECRETS, STUDY, TASK, group, measured
from test_exchange_bundle import about

OTHERS = ["other", "unknown"]
CONFIG = (
    '{"tasks": {"influenza": {}}, "sites": {"north": {}, "home": {}}, "embeddings": ["onehot", "BioBERT base", "made"]}'
)
REASONS = ["not shown: a count under 10 could be worked out", "fewer than 10 test persons with the event"]
NAMES = [*LEARNERS, *STRATEGIES, *SHOWN.values(), "north", TASK, "onehot", "BioBERT base", "other", "unknown", "train"]
KEYS = [name for table in TABLES.values() for name in table.schema.names]
KEYS += [key for _, keys, _ in DOCUMENTS.values() for key in keys]
MORE: dict[str, Any] = {"study": STUDY | {"texts": {"other": "x"}, "embeddings": {"BioBERT base": "f7"}}}
METRICS: dict[str, Any] = {"trained": {"train_rows": 400, "train_events": 40}, "cohort": [], "metrics": []}
CARD = card(about("logistic", "onehot") | {"min_cell_count": 10, "reason": None, "version": "1"}, METRICS, 7)
LINES = [line.strip("#|- ") for line in CARD.splitlines() if "fingerprint" not in line]
SAID = sorted({*NAMES, *KEYS, *REASONS, *LINES} - {""})


def keeping(*private: str) -> SiteSecrets:
    """What a site keeps to itself of which few persons have these texts."""
    folded = {text.casefold() for text in private}
    return replace(
        SECRETS,
        texts=frozenset(folded),
        phrases=private_phrases(folded, []),
        study_words=frozenset(words(CONFIG)),
        origins=dict.fromkeys(folded, "person.race_source_value"),
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of a results file, and a model card."""
    folder = tmp_path_factory.mktemp("package")
    groups = [(*group("race", name, 110, 15)[:-1], reason) for name, reason in zip(OTHERS, REASONS, strict=True)]
    results = measured(folder / "results", subgroups=groups)
    write_aggregates(results, ABOUT | MORE, SECRETS, folder / "out.zip", folder / "out.md")
    read_package(folder / "out.zip", "results", folder / "files")
    (folder / "files/card.md").write_text(CARD)
    return folder / "files"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(SAID), min_size=1, max_size=30, unique=True))
def test_a_site_whose_rare_values_are_words_of_the_program_can_send(package: Path, private: list[str]) -> None:
    check_egress(package, keeping(*private))
    check_about(ABOUT | MORE, keeping(*private))


def test_every_word_that_the_program_says_at_once_stops_no_package(package: Path) -> None:
    check_egress(package, keeping(*SAID))
    check_about(ABOUT | MORE, keeping(*SAID))


def test_a_race_that_is_also_a_key_and_a_group_does_not_leave_as_a_text(tmp_path: Path) -> None:
    results = measured(tmp_path / "results")
    path = results / f"tasks/{TASK}/north/tokens.parquet"
    tokens = pq.read_table(path).to_pylist()
    tokens[0]["text"] = "Other"
    pq.write_table(pa.Table.from_pylist(tokens, pq.read_schema(path)), path)
    with pytest.raises(StudyError) as refused:
        write_aggregates(results, ABOUT | MORE, keeping("other"), tmp_path / "x.zip", tmp_path / "x.md")
    said = str(refused.value)
    assert f"tasks/{TASK}/north/tokens.parquet: the column text holds a text of fewer than 10 persons" in said
    assert "person.race_source_value" in said
    assert "change or empty it in the extract and run the study again" in said


@pytest.mark.parametrize("rare", ["Zyxcough", "north ward 7b", "other, per Dr Qwertz"])
def test_a_hospitals_own_word_is_stopped_where_the_program_writes_too(tmp_path: Path, rare: str) -> None:
    row = (*group("race", "other", 110, 15)[:-1], rare)
    pq.write_table(to_table([row], SCHEMAS["subgroups"]), tmp_path / "subgroups.parquet")
    with pytest.raises(StudyError, match=r"the column reason holds a text of fewer than 10 persons"):
        check_egress(tmp_path, keeping(rare))
    with pytest.raises(StudyError, match=r"about\.study\.note holds a text of fewer"):
        check_about({"study": {"note": rare}}, keeping(rare))


def test_what_the_program_says_names_no_illness_and_no_people() -> None:
    assert not program_words() & {"vulcan", "cough", "fever", "hispanic", "asian", "diabetes", "nurse"}


def test_the_release_report_begins_with_a_summary_and_says_what_bare_numbers_are(tmp_path: Path) -> None:
    tokens = ReleasedFile("tokens.parquet", "concepts", 3, ["key"], 20)
    tokens.note_texts(
        [
            ("Cough", "254761|present"),
            ("dry cough", "north/condition:dry cough|present"),
            ("444814009", "north/condition:444814009|present"),
            ("Ward score", "north/2000000001|high"),
        ]
    )
    write_release_report("north.zip", "Results.", [tokens], replace(SECRETS, min_cell_count=MINIMUM), tmp_path / "r.md")
    report = (tmp_path / "r.md").read_text().splitlines()
    short = report[report.index("## In short") + 2 :]
    assert [line[:2] for line in short[:5]] == ["- "] * 5
    assert not short[5]
    assert "| dry cough | unmapped, condition (present) |" in report
    assert "| Ward score | local concept 2000000001 (high) |" in report
    assert "| 444814009 | unmapped, condition (present) |" in report
    assert any("which the extract does not map to standard" in line for line in report)

"""The joint tables, the figures and the page say what the metrics say, every arm of them."""

import base64
import gzip
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import made_study as made
from conceptbridge.core import plot_style
from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.core.markup import latex, markdown
from conceptbridge.embed.quality_tables import TEXTS, write_quality
from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate
from conceptbridge.evaluate.schemas import TRANSLATION_SHARES, TRANSLATIONS, schema
from conceptbridge.evaluate.shared_tables import read_shared
from conceptbridge.report.answers import answers
from conceptbridge.report.characteristics import standardised_difference
from conceptbridge.report.checklist import checklist
from conceptbridge.report.figures.decisions import smooth_calibration
from conceptbridge.report.figures.draw import DRAW, write_figures
from conceptbridge.report.figures.registry import study_figures
from conceptbridge.report.page import write_page
from conceptbridge.report.sections import SECTIONS
from conceptbridge.report.study_tables import STUDY_TABLES
from conceptbridge.report.tables import tables, write_tables
from conceptbridge.tasks.prevalence import SCHEMA as PREVALENCE

NAMES = ("embedding", "learner", "strategy", "source")
TITLE = "Influenza <at> three hospitals"


def evaluate_study(results: Path, noise: bool = False) -> None:
    """Make up a study and evaluate it, as the workflow's rules do."""
    made.write_study(results, noise=noise)
    tasks = results / "tasks" / made.TASK
    for target in made.SITES:
        arms = ArmFolders(results / "arms" / made.TASK, *made.ARMS)
        files = TargetFiles(
            tasks / target / "cohort.parquet",
            tasks / target / "sequences.parquet",
            {site: tasks / site / "tokens.parquet" for site in made.SITES},
        )
        for name, table in evaluate(made.TASK, target, arms, files, made.SETTINGS).items():
            write_parquet(table, results / "metrics" / made.TASK / target / f"{name}.parquet")
    write_json({"simulated": True, "versions": {"torch": "2.13"}}, results / "provenance.json")


def report_of(results: Path, out: Path) -> Path:
    """Write tables, figures and page of evaluated ``results`` to ``out``."""
    write_tables(tables(results / "metrics", results / "tasks", [made.TASK], made.SITES, 10), out / "tables")
    write_quality([], out / "tables", out / "figures")
    write_figures(out / "tables", out / "figures")
    page = out / "report" / "index.html"
    write_page(out / "tables", out / "figures", results / "sites", results / "provenance.json", TITLE, page)
    return out


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    evaluate_study(folder)
    return report_of(folder, folder)


def read(results: Path, name: str) -> list[dict]:
    return pq.read_table(results / "tables" / f"{name}.parquet").to_pylist()


def answers_of(results: Path) -> dict:
    comparisons = [row for row in read(results, "comparisons") if row["metric"] == "auroc"]
    found = answers(read(results, "arms"), comparisons, read(results, "sites"), read(results, "breakeven"))
    return {answer.target: answer for answer in found}


def test_one_row_for_every_arm_with_an_estimate_or_why_not(results):
    arms = read(results, "arms")
    keys = [tuple(row[name] for name in ("embedding", "learner", "strategy", "source", "target")) for row in arms]
    expected = [
        (embedding, learner, strategy, source, target)
        for target in made.SITES
        for embedding, learner, strategy in product(made.EMBEDDINGS, made.LEARNERS, made.STRATEGIES)
        for source in ([target] if strategy == "local" else sorted(set(made.SITES) - {target}))
    ]
    assert keys == expected
    for row in arms:
        if row["source"] == made.SCARCE:
            assert (row["status"], row["reason"], row["auroc"]) == ("not estimable", made.WHY_SCARCE, None)
        else:
            assert (row["status"], row["reason"], row["seeds"]) == ("estimated", None, len(made.SEEDS))
            assert row["auroc_lower"] <= row["auroc"] <= row["auroc_upper"]


def test_wide_rows_hold_the_numbers_of_the_long_ones(results):
    long = read_shared(results / "metrics" / made.TASK / "prairie", "metrics", 10).to_pylist()
    arms = [row for row in read(results, "arms") if row["target"] == "prairie"]
    for row in arms:
        same = [
            each
            for each in long
            if all(each[name] == row[name] for name in ("embedding", "learner", "strategy", "source"))
        ]
        test = {each["metric"]: each for each in same if each["split"] == "test"}
        for metric in ("auroc", "auprc", "brier"):
            assert row[metric] == test[metric]["estimate"]
            for part in ("lower", "upper", "seed_sd"):
                assert row[f"{metric}_{part}"] == test[metric][part]
        [validation] = [each for each in same if (each["split"], each["metric"]) == ("validation", "auroc")]
        assert row["validation_auroc"] == validation["estimate"]


def tables_of(results: Path) -> list[str]:
    return [path.stem for path in sorted((results / "tables").glob("*.parquet"))]


def test_csv_and_parquet_are_the_same_table(results):
    for name in tables_of(results):
        table = pq.read_table(results / "tables" / f"{name}.parquet")
        options = pacsv.ConvertOptions(
            column_types=table.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        assert pacsv.read_csv(results / "tables" / f"{name}.csv", convert_options=options).equals(table)


def test_markdown_is_rounded_and_keeps_its_columns():
    table = pa.table({"step": ["a | b", None], "share": [0.12345, None], "rows": [7, None]})
    assert markdown(table) == ("| step | share | rows |\n| --- | ---: | ---: |\n| a \\| b | 0.123 | 7 |\n|  |  |  |\n")


def test_latex_is_escaped_and_aligned():
    table = pa.table({"step_1": ["90 % & up", "a > b"], "share": [0.12345, None]})
    assert latex(table, "a note").splitlines() == [
        "% a note",
        r"\begin{longtable}{lr}",
        r"\toprule",
        r"step\_1 & share \\",
        r"\midrule",
        r"\endhead",
        r"90 \% \& up & 0.123 \\",
        r"a \textgreater{} b &  \\",
        r"\bottomrule",
        r"\end{longtable}",
    ]


def test_the_auroc_matrix_has_one_column_per_direction(results):
    table = pq.read_table(results / "tables" / "auroc_matrix.parquet")
    assert table.column_names[4:] == [
        "lakeside",
        "prairie > lakeside",
        "riverside > lakeside",
        "prairie",
        "lakeside > prairie",
        "riverside > prairie",
        "riverside",
        "lakeside > riverside",
        "prairie > riverside",
    ]
    [arm] = [
        row
        for row in read(results, "arms")
        if (row["embedding"], row["learner"], row["strategy"], row["source"], row["target"])
        == ("minilm", "cnn", "direct", "riverside", "lakeside")
    ]
    [row] = [
        row
        for row in table.to_pylist()
        if (row["embedding"], row["learner"], row["strategy"]) == ("minilm", "cnn", "direct")
    ]
    assert row["riverside > lakeside"] == f"{arm['auroc']:.3f} [{arm['auroc_lower']:.3f}, {arm['auroc_upper']:.3f}]"
    assert row["prairie > lakeside"] == "not estimable"
    assert row["lakeside"] is None  # the arm is no local one


def test_holm_is_within_the_primary_family_and_behind_chance(results):
    rows = read(results, "comparisons")
    gate = {row["target"]: row["p_holm"] for row in rows if row["kind"] == "gate"}
    assert set(gate) == set(made.SITES)
    primary = [row for row in rows if row["kind"] == "primary" and row["p"] is not None]
    assert {row["metric"] for row in primary} == {"auroc"}
    tests = {tuple(row[name] for name in ("target", *NAMES, *(f"ref_{name}" for name in NAMES))) for row in primary}
    assert len(tests) < len(primary)  # where the reference is the best local arm, two questions are one test
    assert {row["family"] for row in primary} == {len(tests)}
    least = min(primary, key=lambda row: row["p"])
    assert least["p_holm"] == pytest.approx(max(min(least["p"] * len(tests), 1), gate[least["target"]]))
    assert all(row["p_holm"] >= max(row["p"], gate[row["target"]]) for row in primary)
    exploratory = [row for row in rows if row["kind"] == "exploratory"]
    assert {row["question"] for row in exploratory} > {"chance", "control", "vs_control", "transfer_gain"}
    assert {row["p_holm"] for row in exploratory} == {None}


def test_a_summary_over_sites_expects_more_of_a_new_one(results):
    found = [row for row in read(results, "summary") if row["estimate"] is not None]
    assert found
    for row in found:
        assert row["targets"] >= 3
        assert row["new_lower"] <= row["lower"] < row["estimate"] < row["upper"] <= row["new_upper"]


def test_the_checklist_says_what_the_run_knows_and_leaves_the_rest():
    known = {"config": {"sites": {"north": {}, "south": {}}, "seeds": 3, "evaluation": {"thresholds": [0.1]}}}
    items = {one["item"]: one["known"] for one in checklist(known, 10)}
    assert "north, south" in items["Objectives"]
    assert "2 sites" in items["Participants: setting"]
    assert items["Ethics"] is None  # ethics are the authors'
    assert all("{" not in (text or "") for text in items.values())


def test_overlap_counts_keys_and_texts(results):
    [row] = [row for row in read(results, "overlap") if (row["source"], row["target"]) == ("lakeside", "prairie")]
    # five of ten keys are shared, and one more text but for its case; the shared keys hold 250 of 300 rows
    assert (row["tokens"], row["shared_keys"], row["shared_texts"]) == (10, 0.5, 0.6)
    assert row["shared_keys_by_rows"] == pytest.approx(250 / 300)
    assert row["shared_texts_by_rows"] == pytest.approx(260 / 300)


def test_the_predictors_nearest_to_the_outcome_are_listed(results):
    listed = [row for row in read(results, "leaks") if row["site"] == "prairie"]
    assert [row["text"] for row in listed] == [f"finding {i}" for i in [*range(5), *range(15, 20)]]
    assert [row["suspicious"] for row in listed] == [True] + [False] * 9
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert "finding 19" in page
    assert "finding 9<" not in page


def test_attrition_keeps_blanks(results):
    first, second, *_ = read(results, "attrition")
    assert (first["site"], first["step"], first["persons"]) == ("lakeside", "an emergency visit", 400)
    assert (second["persons"], second["events"]) == (None, None)


def test_the_same_numbers_make_the_same_bytes(results, tmp_path, monkeypatch):
    """Figures once more as SVG, which takes an eighth of the time: all their files are compared in the workflow's tests
    of hospitals and a coordinator."""
    monkeypatch.setattr(plot_style, "FORMATS", {"svg": {"Date": None}})
    write_tables(tables(results / "metrics", results / "tasks", [made.TASK], made.SITES, 10), tmp_path / "tables")
    write_quality([], tmp_path / "tables", tmp_path / "quality")
    write_figures(tmp_path / "tables", tmp_path / "figures")
    page = tmp_path / "report/index.html"
    write_page(tmp_path / "tables", results / "figures", results / "sites", results / "provenance.json", TITLE, page)
    again = [path for path in tmp_path.rglob("*.*") if path.parent.name != "quality"]
    assert {path.suffix for path in again} >= {".svg", ".parquet", ".html"}
    for path in again:
        assert path.read_bytes() == (results / path.relative_to(tmp_path)).read_bytes(), path.name


def test_a_figure_has_a_number_or_n_e_for_every_arm(results):
    for learner in made.LEARNERS:
        assert (results / "figures" / f"transfer-{made.TASK}-{learner}.png").stat().st_size > 0
        root = ET.parse(results / "figures" / f"transfer-{made.TASK}-{learner}.svg").getroot()
        texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        arms = [row for row in read(results, "arms") if row["learner"] == learner]
        expected = ["n.e." if row["auroc"] is None else f"{row['auroc']:.2f}" for row in arms]
        cells = [text for text in texts if text and re.fullmatch(r"n\.e\.|\d\.\d\d", text)]
        assert sorted(cells) == sorted(expected)


def test_the_answer_follows_the_numbers(results):
    found = answers_of(results)
    here = found["lakeside"]
    assert re.fullmatch(
        r"Keep your own model for now: no difference is seen between riverside's model on minilm, [\w ]+, and "
        r"your own model on codes\.",
        here.verdict,
    )
    assert re.match(
        r"Riverside's \w+ on minilm, [\w ]+, reaches an AUROC of 0\.\d\d \[0\.\d\d, 0\.\d\d\]\. "
        r"The reference \(local \w+ on onehot\) reaches 0\.\d\d \[",
        here.sentence,
    )
    assert "Exploratory: in place of minilm, onehot 0." in here.sentence
    assert [line.role for line in here.evidence] == [
        "recommended",
        "reference",
        *2 * ["control (exploratory)"],
    ]
    scarce = found[made.SCARCE]
    assert scarce.verdict == "No model of your own can be trained here, so there is nothing to compare with."
    assert "no arm of the reference is estimable" in scarce.sentence


def test_the_page_says_what_to_do_where_texts_say_nothing(results, tmp_path):
    shutil.copytree(results / "tables", tmp_path / "tables")
    shares = {"texts": 40, "without_text": 0.0, "codes": 0.93, "unknown_subwords": None, "one_vector": 0.0}
    row = {"embedding": "minilm", "site": "north", **shares, "advice": "names are codes: give the `vocabulary`"}
    write_parquet(pa.Table.from_pylist([row], TEXTS), tmp_path / "tables/texts.parquet")
    page = tmp_path / "index.html"
    write_page(tmp_path / "tables", results / "figures", results / "sites", results / "provenance.json", TITLE, page)
    text = page.read_text(encoding="utf-8")
    assert "<strong>minilm at north.</strong> names are codes: give the `vocabulary`." in text
    assert "93.0" in text[text.index("Table: texts") :]


def test_the_page_says_which_translation_a_reading_is_of_and_how_many_it_leaves_out(results, tmp_path):
    shutil.copytree(results / "tables", tmp_path / "tables")
    where = {"task": made.TASK, "source": "north", "target": "south"}
    word = where | {"kind": "read", "token": "1|present", "by": "translated", "stands_for": "2|present"}
    rows = [word | {"embedding": name} for name in ("translated", "names-only") for _ in range(600)]
    shares = [where | {"embedding": "translated", "tokens": 1}]
    for name, columns, table in (
        ("translations", TRANSLATIONS, rows), ("translation_shares", TRANSLATION_SHARES, shares)
    ):  # fmt: skip
        write_parquet(pa.Table.from_pylist(table, schema(columns)), tmp_path / f"tables/{name}.parquet")
    page = tmp_path / "index.html"
    write_page(tmp_path / "tables", results / "figures", results / "sites", results / "provenance.json", TITLE, page)
    text = page.read_text(encoding="utf-8")
    said = text[text.index('id="translations-table"') :]
    said = said[: said.index("</table>")]
    assert said.count("<td>translated</td><td>south</td>") == 600
    assert said.count("<td>names-only</td><td>south</td>") == 400
    assert "the first 1000 words; 200 more are in tables/translations.csv" in text


def test_noise_is_called_noise(results, tmp_path):
    evaluate_study(tmp_path, noise=True)
    write_tables(tables(tmp_path / "metrics", tmp_path / "tasks", [made.TASK], made.SITES, 10), tmp_path / "tables")
    write_quality([], tmp_path / "tables", tmp_path / "figures")
    page = tmp_path / "report" / "index.html"
    # the pictures are not looked at
    write_page(tmp_path / "tables", results / "figures", results / "sites", results / "provenance.json", TITLE, page)
    found = answers_of(tmp_path)
    assert {answer.verdict for answer in found.values()} == {"No model is shown to do better than chance."}
    text = page.read_text(encoding="utf-8")
    first_screen = text[text.index('<h3 id="answers-title"') : text.index("<article")]
    assert "Nothing is shown to be better than chance" in first_screen
    claimed = [row for row in read(tmp_path, "comparisons") if row["p_holm"] is not None and row["p_holm"] < 0.05]
    assert claimed == []


def test_every_table_and_figure_has_a_section_of_the_page():
    shown = {table.section for table in STUDY_TABLES} - {None}
    drawn = {figure.kind.section for figure in study_figures(["t"], ["cnn"])}
    assert shown | drawn <= set(SECTIONS)
    assert all(table.note.endswith(".") for table in STUDY_TABLES)
    assert {figure.kind.name for figure in study_figures(["t"], ["cnn"])} == set(DRAW)


def test_rules_read_the_lists_of_tables_and_figures_without_what_makes_them():
    lists = "conceptbridge.evaluate.schemas, conceptbridge.report.study_tables, conceptbridge.report.figures.registry"
    heavy = "{'numpy', 'pandas', 'pyarrow', 'matplotlib'}"
    code = f"import sys, {lists}; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


class Reader(HTMLParser):
    """Collects what a test asks of the page: elements with attributes, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_the_network(results):
    path = results / "report" / "index.html"
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    for tag, attributes in reader.elements:
        for name in ("src", "href", "action", "srcset"):
            inside = ("#", "data:", "../tables/", "../figures/")  # or in the results' folder
            assert attributes.get(name, "#").startswith(inside), (tag, attributes)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_can_be_used_without_seeing_it(results):
    reader = Reader()
    reader.feed((results / "report" / "index.html").read_text(encoding="utf-8"))
    tags = [tag for tag, _ in reader.elements]
    assert tags.count("h1") == 1
    assert all(attributes.get("alt") for tag, attributes in reader.elements if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in reader.elements if tag == "th")
    ids = {attributes.get("id") for _, attributes in reader.elements}
    for tag, attributes in reader.elements:
        for name in ("for", "aria-labelledby"):
            assert attributes.get(name) is None or attributes[name] in ids, (tag, attributes)
        if attributes.get("role") == "region":
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")


def test_the_page_shows_the_study(results):
    text = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert "<h1>Influenza &lt;at&gt; three hospitals</h1>" in text
    assert "Simulated data." in text
    assert text.count("<article") == len(made.SITES)
    arms = text[text.index('id="arms-table"') : text.index('id="comparisons"')]
    assert arms.count("<tr>") == len(read(results, "arms")) + 1
    assert arms.count(f"not estimable: {made.WHY_SCARCE}") == sum(
        row["status"] == "not estimable" for row in read(results, "arms")
    )
    assert "birth date: 15" in text  # data quality
    assert "torch" in text  # provenance


def test_arms_at_an_edge_are_counted(results):
    rows = read(results, "training_budget")
    at_edge = [row for row in rows if row["at_edge"]]
    assert {row["embedding"] for row in at_edge} == {"minilm"}
    assert {row["at_edge"] for row in at_edge} == {row["extended"] for row in at_edge} == {"learning_rate"}
    searched = [row for row in rows if row["trials"] is not None]
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert f"{len(at_edge)} of {len(searched)} arms chose an edge or cap after one extension" in page


def test_real_data_are_not_called_simulated(results, tmp_path):
    write_json({"versions": {}}, tmp_path / "provenance.json")
    out = tmp_path / "index.html"
    write_page(results / "tables", results / "figures", results / "sites", tmp_path / "provenance.json", TITLE, out)
    assert "Simulated data." not in out.read_text(encoding="utf-8")


def test_the_page_shows_what_it_does_not_know_of_data_quality(results, tmp_path):
    for site in made.SITES:
        about = {"tables": {"death": {"read": 9, "refused": "no such column"}}, "cdm": {"version": "5.4"}}
        (tmp_path / site).mkdir()
        (tmp_path / site / "quality.json").write_text(json.dumps(about))
    out = tmp_path / "index.html"
    write_page(results / "tables", results / "figures", tmp_path, results / "provenance.json", TITLE, out)
    text = out.read_text(encoding="utf-8")
    assert "no such column" in text
    assert "5.4" in text


def test_the_page_warns_of_prevalence_that_parts_and_tells_what_looks_ahead_and_which_diagnoses_are_late(
    results, tmp_path
):
    joint = tmp_path / "tables"
    shutil.copytree(results / "tables", joint)
    lines = [
        (split, 900, 1000, events, events / 1000, None, 0.001, parts)
        for split, events, parts in [("before the split", 50, False), ("train", 157, True), ("test", 31, True)]
    ]
    cohort = {"task": ["death"] * 3, "site": [made.SITES[0]] * 3}
    columns = dict(zip(PREVALENCE.names, map(list, zip(*lines, strict=True)), strict=True))
    pq.write_table(pa.table(cohort | columns), joint / "splits.parquet")
    steps = {"step": ["last one of the person (looks ahead)"], "persons": [900], "rows": [1000], "events": [50]}
    pq.write_table(pa.table({"task": ["death"], "site": [made.SITES[0]]} | steps), joint / "attrition.parquet")
    types = {
        "inpatient visit": {"rows": 500, "status_share": 0.5, "status_recorded": True},
        "emergency visit": {"rows": 4000, "status_share": 0.0, "status_recorded": False},
    }
    for site in made.SITES:
        write_json({"tables": {}, "condition_status": types}, tmp_path / site / "quality.json")
    task = {"guards": {"open_visit": "discharge"}, "split": {"by": "hash"}}
    task["outcome"] = {"domain": "death", "concepts": [], "days": [1, 30]}
    task |= {"index": {"domain": "visit", "concepts": [9201], "occurrence": "all"}, "predictors": {"days": [-9, 0]}}
    write_json({"config": {"tasks": {"death": task}}}, tmp_path / "provenance.json")
    out = tmp_path / "index.html"
    write_page(joint, results / "figures", tmp_path, tmp_path / "provenance.json", TITLE, out)
    text = out.read_text(encoding="utf-8")
    assert text.index("more or less frequent in a split than before it") < text.index("<article")
    assert "before the split 5.0 %, train 15.7 % (parts), test 3.1 % (parts)" in text
    assert "A step that <em>looks ahead</em>" in text
    assert text.count("all diagnoses: no status is recorded") == len(made.SITES)
    assert "looks ahead" not in (results / "report" / "index.html").read_text(encoding="utf-8")


def test_a_coordinators_page_has_the_names_that_sites_have_sent(results, tmp_path):
    for site in made.SITES:
        shutil.copytree(results / "sites" / site, tmp_path / site)
    vocabulary = pa.table({"concept_id": [4266367, 1], "name": ["Influenza", "another"]})
    write_parquet(vocabulary, tmp_path / made.SITES[1] / "vocabulary.parquet")
    outcome = {"domain": "condition", "concepts": [4266367], "days": [1, 7]}
    task = {"outcome": outcome, "predictors": {"days": [-9, 0]}, "split": {"by": "hash"}}
    task |= {"index": {"domain": "visit", "concepts": [9203], "occurrence": "all"}}
    write_json({"config": {"tasks": {made.TASK: task}}}, tmp_path / "provenance.json")
    out = tmp_path / "index.html"
    write_page(results / "tables", results / "figures", tmp_path, tmp_path / "provenance.json", TITLE, out)
    said = "For every emergency visit, the models predict a diagnosis of “Influenza” on days 1 to 7 after it"
    assert said in out.read_text(encoding="utf-8")


def test_a_missing_table_is_a_message(tmp_path):
    with pytest.raises(StudyError, match=r"metrics\.parquet is missing"):
        tables(tmp_path, tmp_path, ["t"], ["a"], 10)


def test_table_one_has_shares_and_standardised_differences(results):
    rows = {(row["characteristic"], row["level"]): row for row in read(results, "table_one")}
    assert rows["all rows", ""]["lakeside, with the event"] == "72 (100.0 %)"
    women, men = rows["sex", "female"], rows["sex", "male"]
    # 31 of 72 rows with the event, 90 of 204 without: the difference of shares by its mean standard deviation
    assert (women["lakeside, with the event"], women["lakeside, without"]) == ("31 (43.1 %)", "90 (44.1 %)")
    assert (women["lakeside, difference"], men["lakeside, difference"]) == ("0.02", "")
    assert rows["race", "Asian"]["lakeside, with the event"] == "not shown"


def test_a_standardised_difference_of_two_levels_is_that_of_shares():
    assert standardised_difference([30, 70], [50, 50]) == pytest.approx(0.2 / ((0.3 * 0.7 + 0.5 * 0.5) / 2) ** 0.5)
    assert standardised_difference([10, 20, 30], [1, 2, 3]) == pytest.approx(0)
    assert standardised_difference([0, 0], [1, 2]) is None


def test_a_smooth_calibration_curve_follows_its_bins_and_their_band_holds_them():
    predicted = [0.02 + 0.09 * n for n in range(10)]
    points = [{"share": 0.1, "predicted": p, "observed": min(p * 1.2, 0.95)} for p in predicted]
    grid, middle, lower, upper = smooth_calibration(points, 1000)
    assert np.abs(middle - np.interp(grid, predicted, [point["observed"] for point in points])).max() < 0.03
    assert ((lower < middle) & (middle < upper)).all()
    assert smooth_calibration(points[:3], 1000) is None


def test_what_is_saved_from_the_page_is_the_file_itself(results):
    text = (results / "report" / "index.html").read_text(encoding="utf-8")
    for ending, packed in (("csv", True), ("tex", True), ("pdf", False)):
        folder = results / ("figures" if ending == "pdf" else "tables")
        name = f"roc-{made.TASK}.pdf" if ending == "pdf" else f"arms.{ending}"
        [data] = re.findall(rf'id="file-{re.escape(name)}" href="data:application/\w+;base64,([^"]*)"', text)
        saved = base64.b64decode(data)
        assert (gzip.decompress(saved) if packed else saved) == (folder / name).read_bytes()


def test_latex_tables_compile(results, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex (on Debian: texlive-latex-base, texlive-latex-recommended)")
    parts = [path.read_text(encoding="utf-8") for path in sorted((results / "tables").glob("*.tex"))]
    assert len(parts) == sum(not table.long for table in STUDY_TABLES)
    head = (
        r"\documentclass{article}\usepackage[paperwidth=200cm]{geometry}\usepackage{booktabs,longtable}\begin{document}"
    )
    (tmp_path / "all.tex").write_text("\n".join([head, *parts, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_page(browser, results: Path, width: int = 1280, scheme: str = "light"):
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.goto((results / "report" / "index.html").as_uri())
    return tab


def test_a_browser_shows_words_files_and_folded_sections(results, browser):
    tab = open_page(browser, results)
    tab.focus("#answers .word")  # by keyboard, without a pointer
    means = tab.evaluate("getComputedStyle(document.activeElement, '::after').content")
    assert "one hospital" in means
    with tab.expect_download() as saved:
        tab.click("#arms caption a:text-is('CSV')")
    assert saved.value.suggested_filename == "arms.csv"
    assert Path(saved.value.path()).read_bytes() == (results / "tables/arms.csv").read_bytes()
    with tab.expect_download() as saved:
        tab.click(f"#decisions figure a[data-file='roc-{made.TASK}.svg']")
    assert Path(saved.value.path()).read_bytes() == (results / f"figures/roc-{made.TASK}.svg").read_bytes()
    assert not tab.is_visible("#checklist table")
    tab.evaluate("location.hash = 'checklist'")
    tab.wait_for_selector("#checklist table")


def test_the_page_fits_a_narrow_window_in_the_dark(results, browser):
    tab = open_page(browser, results, 400, "dark")
    assert tab.evaluate("document.documentElement.scrollWidth") == 400
    colour = "getComputedStyle(document.querySelector('{}')).backgroundColor"
    assert tab.evaluate(colour.format("body")) == "rgb(20, 25, 31)"
    assert tab.evaluate(colour.format("figure img")) == "rgb(255, 255, 255)"  # a white card


@pytest.mark.parametrize(("scheme", "rules"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})])
def test_axe_finds_nothing(results, browser, scheme, rules):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tab = open_page(browser, results, scheme=scheme)
    # of the long tables, three rows each: the others are like them, and take a minute
    tab.evaluate("document.querySelectorAll('tbody tr:nth-child(n + 4)').forEach((row) => row.remove())")
    tab.evaluate("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    found = axe.Axe().run(tab, options=rules).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []

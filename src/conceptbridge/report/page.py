"""The study's page: one HTML file that opens from disk, its first screen the answer for every target."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.errors import StudyError
from conceptbridge.evaluate.arms import LOCAL, Arm
from conceptbridge.files import write_text
from conceptbridge.report.figures import transfer_parts
from conceptbridge.sites.shareable import shareable

NOTHING = "\N{EN DASH}"
TABLES = ("arms", "comparisons", "sites", "overlap", "attrition", "leaks", "embeddings")

Row = Mapping[str, Any]


class Interval(NamedTuple):
    """An estimate with its limits, null where there are none."""

    estimate: float | None
    lower: float | None
    upper: float | None

    def __str__(self) -> str:
        if self.estimate is None:
            return "not estimable"
        if self.lower is None:
            return f"{self.estimate:.2f} (no limits)"
        return f"{self.estimate:.2f} [{self.lower:.2f}, {self.upper:.2f}]"

    def side_of(self, value: float) -> int:
        """Return 1 where both limits are above ``value``, -1 where both are below it, otherwise 0."""
        if self.lower is None or self.upper is None:
            return 0
        return int(self.lower > value) - int(self.upper < value)


class Evidence(NamedTuple):
    """One line beside an answer: an arm, its AUROC, and how much better the recommended arm is."""

    role: str
    arm: str
    auroc: Interval
    difference: Interval | None


class Answer(NamedTuple):
    """What the study says about one task at one target."""

    task: str
    target: str
    events: int | None
    verdict: str
    sentence: str
    evidence: Sequence[Evidence]


def write_page(
    tables: Path, figures: Path, sites: Path, provenance: Path, title: str, out: Path, min_cell_count: int = 10
) -> None:
    """Write the page to ``out``.

    ``tables`` holds the joint tables, ``figures`` their pictures, ``sites`` each site's ``quality.json``;
    of these no count under ``min_cell_count`` is shown. ``provenance`` is a JSON object that is shown as it is, and
    says by ``"simulated": true`` where the data are not of patients. Raises StudyError when one of them is missing.
    """
    joint = {name: pq.read_table(_existing(tables / f"{name}.parquet")) for name in TABLES}
    pictures = [
        {
            "caption": caption,
            "svg": base64.b64encode(_existing(figures / f"{name}.svg").read_bytes()).decode(),
        }
        for name, caption, _ in transfer_parts(joint["arms"])
    ]
    names = dict.fromkeys(joint["sites"]["site"].to_pylist())
    quality = {name: shareable(_read_json(sites / name / "quality.json"), min_cell_count) for name in names}
    write_text(page(title, joint, pictures, quality, _read_json(provenance)), out)


def page(
    title: str,
    tables: Mapping[str, pa.Table],
    pictures: Sequence[Mapping[str, str]],
    quality: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """Return the page's HTML; ``pictures`` have a caption and an SVG in base64, ``quality`` is by site."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["count"] = lambda value: NOTHING if value is None else f"{value:,}"
    environment.filters["share"] = lambda value: NOTHING if value is None else f"{100 * value:.1f} %"
    environment.filters["decimal"] = lambda value: NOTHING if value is None else f"{value:.3f}"
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    rows = {name: table.to_pylist() for name, table in tables.items()}
    comparisons = [row for row in rows["comparisons"] if row["metric"] == "auroc"]
    return template.render(
        title=title,
        answers=list(answers(rows["arms"], comparisons, rows["sites"])),
        pictures=pictures,
        arms=rows["arms"],
        comparisons=comparisons,
        describe=describe,
        sites=rows["sites"],
        overlap=rows["overlap"],
        attrition=rows["attrition"],
        leaks=rows["leaks"],
        embeddings=rows["embeddings"],
        quality=quality,
        provenance=provenance,
        simulated=provenance.get("simulated") is True,
    )


def answers(arms: Sequence[Row], comparisons: Sequence[Row], sites: Sequence[Row]) -> Iterator[Answer]:
    """Yield one answer for every task and target, built from the rows of the joint tables alone.

    ``comparisons`` are those of AUROC. The recommended arm and the local arm beside it are the ones that
    evaluation chose on validation rows (question *recommendation*); what is said of them comes from test rows.
    "No difference that this study can see" is said where an interval covers 0.
    """
    for place in dict.fromkeys((row["task"], row["target"]) for row in arms):
        events = [row["events"] for row in sites if (row["task"], row["site"], row["split"]) == (*place, "train")]
        yield _answer(
            place,
            events[0] if events else None,
            [row for row in arms if (row["task"], row["target"]) == place],
            [row for row in comparisons if (row["task"], row["target"]) == place],
        )


def _answer(place: tuple[str, str], events: int | None, arms: Sequence[Row], comparisons: Sequence[Row]) -> Answer:
    by_key = {_key(row): row for row in arms}
    chosen = next((row for row in comparisons if row["question"] == "recommendation"), None)
    if chosen is None or by_key[_key(chosen)]["auroc"] is None:
        sentence = f"No arm can be recommended: {_why_not(arms)}."
        return Answer(*place, events, "Not estimable", sentence, [])

    recommended, local = by_key[_key(chosen)], by_key.get(_key(chosen, "ref_"))
    auroc, difference = _auroc(recommended), _difference(chosen)
    evidence = [Evidence("recommended", describe(recommended), auroc, None)]
    sentence = f"{describe(recommended)}: AUROC {auroc}"
    if local is None:
        why = _why_not([row for row in arms if row["strategy"] == LOCAL])
        sentence += f"; local alone is not estimable ({why})."
    elif local is recommended:
        sentence += "; it is the best local model."
    else:
        evidence.append(Evidence("local alone, best", describe(local), _auroc(local), difference))
        sentence += f"; local alone at its best ({describe(local)}) {_auroc(local)}; difference {difference}."
    controls = [
        (by_key[_key(row, "ref_")], _difference(row))
        for row in comparisons
        if row["question"] == "meaning" and _key(row) == _key(chosen)
    ]
    evidence += [Evidence("control", describe(arm), _auroc(arm), by) for arm, by in controls]
    if controls:
        sentence += f" {_meaning(recommended, controls)}"
    verdict = _verdict(auroc, recommended, local, difference)
    return Answer(*place, events, verdict, sentence, evidence)


def _verdict(auroc: Interval, recommended: Row, local: Row | None, difference: Interval) -> str:
    if auroc.lower is None:
        return "Too few events to say"
    if auroc.side_of(0.5) <= 0:
        return "Nothing better than chance that this study can see"
    if recommended["strategy"] == LOCAL:
        return "Stay local"
    if local is None:
        return "Borrow: there is no local model to compare with"
    return {
        1: "Borrow",
        0: "No difference that this study can see between borrowed and local",
        -1: "Stay local: the borrowed model that validation rows chose is worse on test rows",
    }[difference.side_of(0)]


def _meaning(recommended: Row, controls: Sequence[tuple[Row, Interval]]) -> str:
    """Say what the controls reach in the recommended arm's place, and whether it is better than they are."""
    reached = ", ".join(f"{arm['embedding']} {_auroc(arm)}" for arm, _ in controls)
    known = [(arm["embedding"], by.side_of(0)) for arm, by in controls if by.estimate is not None]
    unclear = [name for name, side in known if side == 0]
    worse = [name for name, side in known if side < 0]
    said = [f"no difference from {' or '.join(unclear)} that this study can see"] if unclear else []
    said += [f"{' and '.join(worse)} did better"] if worse else []
    if known and not said:
        said = ["better than each of them"]
    return f"In the place of {recommended['embedding']}: {reached}" + (f"; {', '.join(said)}." if said else ".")


def _why_not(arms: Sequence[Row]) -> str:
    """Return the most frequent reason of these arms."""
    reasons = Counter(row["reason"] for row in arms if row["reason"]).most_common(1)
    return reasons[0][0] if reasons else "the study has no such arm"


def describe(row: Row, prefix: str = "") -> str:
    """Name an arm in words; with the prefix ``ref_``, the reference arm of a comparison."""
    embedding, learner, strategy, source = _key(row, prefix)
    if strategy == LOCAL:
        return f"local {learner} on {embedding}"
    return f"{source}'s {learner} on {embedding}, {strategy}"


def _key(row: Row, prefix: str = "") -> tuple[str | None, ...]:
    return tuple(row[prefix + name] for name in Arm._fields)


def _auroc(arm: Row) -> Interval:
    return Interval(arm["auroc"], arm["auroc_lower"], arm["auroc_upper"])


def _difference(comparison: Row) -> Interval:
    return Interval(comparison["difference"], comparison["lower"], comparison["upper"])


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StudyError(f"{path} is missing: make the tables and figures of this study first")
    return path


def _read_json(path: Path) -> Any:
    return json.loads(_existing(path).read_text(encoding="utf-8"))

"""Table 1: who the test rows are about at each hospital, with and without the event, and how far apart they are.

From counts that evaluation wrote of each target, so that no count is shown that was not shown before.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from conceptbridge.evaluate.schemas import schema
from conceptbridge.report.study_tables import CHARACTERISTICS

ALL = "all rows"
_GROUPS = {"with_event": "with the event", "without_event": "without"}
_UNSEEN = "unseen"  # depends on the source of a model, so it is no characteristic of rows
_Levels = Mapping[str, Mapping[str, Any]]


def standardised_difference(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return the standardised difference between two groups in a characteristic of K levels, at least 0.

    ``first`` and ``second`` (K,) are counts of rows. It is the Mahalanobis distance between the shares of the levels
    (Yang and Dalton, SAS Global Forum 2012;335), for two levels the difference of shares divided by its mean standard
    deviation. None where a group is empty.
    """
    counts = np.array([first, second], dtype=np.float64)
    if (counts.sum(axis=1) == 0).any():
        return None
    shares = (counts / counts.sum(axis=1, keepdims=True))[:, 1:]
    covariance = np.mean([np.diag(share) - np.outer(share, share) for share in shares], axis=0)
    apart = shares[0] - shares[1]
    return float(np.sqrt(max(apart @ np.linalg.pinv(covariance) @ apart, 0)))


def characteristics(sites: pa.Table, subgroups: pa.Table) -> pa.Table:
    """Return one row per task, site, characteristic and level, from the joint tables ``sites`` and ``subgroups``.

    ``event_difference`` is the standardised difference between the site's rows with and without the event,
    ``site_difference`` that between the site's rows and those of all other sites; each stands at the first level of its
    characteristic, and is null where a count that it needs is not shown.
    """
    of_site = _counts(subgroups)
    lines: list[dict[str, Any]] = []
    for row in sites.to_pylist():
        if row["split"] != "test":
            continue
        place = (row["task"], row["site"])
        lines.append(_line(place, ALL, "", row, row, None, None))
        for name, levels in of_site.get(place, {}).items():
            others = [there[name] for (task, site), there in of_site.items()
                      if task == place[0] and site != place[1] and name in there]  # fmt: skip
            apart = (_by_event(levels), _by_site(levels, others))
            for level, counts in levels.items():
                lines.append(_line(place, name, level, counts, row, *apart))
                apart = (None, None)
    return pa.Table.from_pylist(lines, schema(CHARACTERISTICS))


def table_one(long: pa.Table) -> pa.Table:
    """Lay ``characteristics`` out as papers do: three columns per site, with counts and shares as text."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    names: list[str] = []
    for row in long.to_pylist():
        line = lines.setdefault((row["task"], row["characteristic"], row["level"]), {})
        for group, said in _GROUPS.items():
            names.append(f"{row['site']}, {said}")
            line[names[-1]] = _cell(row[group], row[f"share_{group}"])
        names.append(f"{row['site']}, difference")
        line[names[-1]] = "" if row["event_difference"] is None else f"{row['event_difference']:.2f}"
    keys = {name: [key[place] for key in lines] for place, name in enumerate(("task", "characteristic", "level"))}
    cells = {name: [line.get(name) for line in lines.values()] for name in dict.fromkeys(names)}
    return pa.table({name: pa.array(values, pa.string()) for name, values in (keys | cells).items()})


def _cell(count: int | None, share: float | None) -> str:
    if count is None:
        return "not shown"
    return f"{count:,}" if share is None else f"{count:,} ({100 * share:.1f} %)"


def _counts(subgroups: pa.Table) -> dict[tuple[str, str], dict[str, dict[str, dict[str, Any]]]]:
    """Return (task, site) -> characteristic -> level -> rows and events: the same for every arm that has them."""
    found: dict[tuple[str, str], dict[str, dict[str, dict[str, Any]]]] = {}
    wanted = ("task", "target", "dimension", "group", "rows", "events")
    grouped = subgroups.select(wanted).group_by(wanted[:4], use_threads=False)
    for row in grouped.aggregate([("rows", "max"), ("events", "max")]).to_pylist():
        if row["dimension"] != _UNSEEN:
            levels = found.setdefault((row["task"], row["target"]), {}).setdefault(row["dimension"], {})
            levels[row["group"]] = {"rows": row["rows_max"], "events": row["events_max"]}
    return found


def _line(
    place: tuple[str, str],
    name: str,
    level: str,
    counts: Mapping[str, Any],
    whole: Mapping[str, Any],
    by_event: float | None,
    by_site: float | None,
) -> dict[str, Any]:
    rows, events, without = _split(counts)
    all_rows, all_events, all_without = _split(whole)
    return dict(
        zip(
            (column for column, _ in CHARACTERISTICS),
            (
                *place, name, level, rows, events, without,
                _share(rows, all_rows), _share(events, all_events), _share(without, all_without),
                by_event, by_site,
            ),
            strict=True,
        )
    )  # fmt: skip


def _split(counts: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Return rows, those with the event and those without, as far as they are shown."""
    rows, events = counts["rows"], counts["events"]
    return rows, events, None if rows is None or events is None else rows - events


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _by_event(levels: _Levels) -> float | None:
    parts = [_split(counts)[1:] for counts in levels.values()]
    if len(parts) < 2 or any(count is None for pair in parts for count in pair):
        return None
    return standardised_difference(*np.array(parts, dtype=np.float64).T)


def _by_site(levels: _Levels, others: Sequence[_Levels]) -> float | None:
    counts = list(_rows_of(levels, [levels, *others]))
    if len(levels) < 2 or not others or any(count is None for line in counts for count in line):
        return None
    here, *there = np.array(counts, dtype=np.float64)
    return standardised_difference(here, np.sum(there, axis=0))


def _rows_of(levels: _Levels, sites: Sequence[_Levels]) -> Iterator[list[int | None]]:
    """Yield the rows of each level at each site; None where a site does not show them, or divides them otherwise."""
    for of_site in sites:
        same = of_site.keys() == levels.keys()
        yield [of_site[level]["rows"] if same else None for level in levels]

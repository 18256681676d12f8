"""What makes a row of each table bad, and what can be repaired without guessing."""

from dataclasses import dataclass
from datetime import date

from conceptbridge.sites.cdm import REQUIRED, TABLES
from conceptbridge.sites.typed import UNREADABLE, is_null_sql

#: dates outside these are placeholders (0001-01-01, 1753-01-01, 1840-12-31, 1899-12-30, 1900-01-01; 2099-12-31 ...)
FIRST_DAY, LAST_DAY = "1900-01-02", "2098-12-31"
FIRST_YEAR_OF_BIRTH = 1880

#: the day of a record, and its last day where it has one
DAYS: dict[str, tuple[str, str | None]] = {
    "observation_period": ("observation_period_start_date", "observation_period_end_date"),
    "visit_occurrence": ("visit_start_date", "visit_end_date"),
    "condition_occurrence": ("condition_start_date", "condition_end_date"),
    "drug_exposure": ("drug_exposure_start_date", "drug_exposure_end_date"),
    "procedure_occurrence": ("procedure_date", None),
    "measurement": ("measurement_date", None),
    "observation": ("observation_date", None),
    "device_exposure": ("device_exposure_start_date", "device_exposure_end_date"),
    "death": ("death_date", None),
}
#: ids by which other tables refer to a row, so each may occur once
KEYS = {"person": "person_id", "visit_occurrence": "visit_occurrence_id", "concept": "concept_id"}
#: a row's own id: rows that repeat each other share it
OWN_IDS = {table: f"{table}_id" for table in TABLES if f"{table}_id" in TABLES[table]}

SHIFTED = "a century after the extract"
REPEATS = "it repeats another row"


@dataclass(frozen=True)
class Bounds:
    """Which dates can be: ``last`` is the extract's last day (ISO), where it is known; after ``latest`` is no date."""

    last: str | None = None
    latest: str = LAST_DAY
    #: what is said of dates after ``latest``: a log must not hold a date of the data
    after: str = f"after {LAST_DAY}"

    @classmethod
    def until(cls, last: str | None) -> "Bounds":
        """The bounds of an extract with this last day, which may be far in the future."""
        latest = max(LAST_DAY, last or "")
        return cls(last, latest, f"after {latest}")

    @classmethod
    def shifted(cls, start: date) -> "Bounds":
        """The bounds of an extract whose dates were shifted into the future: ``start`` is a late one."""
        return cls(None, f"{min(start.year + 100, 9989)}-12-31", SHIFTED)

    @property
    def no_date(self) -> str:
        """What is said of a date outside them."""
        return f"stands for no date (before {FIRST_DAY} or {self.after})"


@dataclass(frozen=True)
class Repair:
    """A column's new value (SQL) in the rows for which ``condition`` (SQL) is true."""

    column: str
    reason: str
    condition: str
    value: str


def drops(table: str, bounds: Bounds) -> list[tuple[str, str]]:
    """Return the reasons for which a row is dropped, each with its condition in SQL; the first that is true counts.

    Conditions refer to the table's columns, to ``faults``, and to ``born``
    and ``known`` of the row's person.
    """
    last = bounds.last
    index = {column: n for n, column in enumerate(TABLES[table])}
    reasons: list[tuple[str, str]] = []
    for column in REQUIRED[table]:
        reasons.append((f"{column} cannot be read", f"{fault(index[column])} = {UNREADABLE}"))
        reasons.append((f"{column} is empty", f"{column} IS NULL"))
    if table == "person":
        year = (last or bounds.latest)[:4]
        reasons.append((f"year_of_birth is before {FIRST_YEAR_OF_BIRTH}", f"year_of_birth < {FIRST_YEAR_OF_BIRTH}"))
        reasons.append(("year_of_birth is after the extract", f"year_of_birth > {year}"))
    if table not in DAYS:
        return reasons
    day, end = DAYS[table]
    reasons.append(("its person is not in the person table", "known IS NULL"))
    reasons.append((f"{day} {bounds.no_date}", _sentinel(day, bounds)))
    if last:
        reasons.append((f"{day} is after the extract", f"{day} > DATE '{last}'"))
    if table == "observation_period":
        # a start before birth and a placeholder as end are repaired
        if not last:
            reasons.append((f"{end} {bounds.no_date}", _sentinel(str(end), bounds)))
        reasons.append((f"{end} is before {day}", f"{end} < greatest({day}, born)"))
    else:
        reasons.append((f"{day} is before the person's birth", f"{day} < born"))
    return reasons


def repairs(table: str, bounds: Bounds) -> list[Repair]:
    """Return what is repaired in a kept row; of two repairs of one column the first that applies is made."""
    if table == "person":
        return [
            Repair(
                "month_of_birth",
                "month_of_birth is not a month: left empty",
                "month_of_birth NOT BETWEEN 1 AND 12",
                "NULL",
            ),
            Repair(
                "day_of_birth", "day_of_birth is not a day: left empty", "day_of_birth NOT BETWEEN 1 AND 31", "NULL"
            ),
        ]
    if table == "concept":
        # None is an answer in a questionnaire
        answer = "coalesce(domain_id = 'Meas Value' OR concept_class_id = 'Answer', false)"
        nothing = f"{is_null_sql('concept_name')} AND NOT {answer}"
        return [Repair("concept_name", "concept_name stands for no name: left empty", nothing, "NULL")]
    (day, end), last = DAYS.get(table, ("", None)), bounds.last
    if end is None:
        return []
    if table == "observation_period":
        cut = [
            Repair(end, f"{end} is after the extract: cut to its last day", f"{end} > DATE '{last}'", f"DATE '{last}'")
        ]
        return [
            Repair(day, f"{day} is before the person's birth: cut to it", f"{day} < born", "born"),
            *(cut if last else []),
        ]
    return [
        Repair(end, f"{end} stands for no date: left empty", _sentinel(end, bounds), "NULL"),
        Repair(end, f"{end} is before {day}: left empty", f"{end} < {day}", "NULL"),
    ]


def fault(index: int) -> str:
    """Return SQL of what typed.py says of the schema's column ``index``."""
    return f"((faults >> {2 * index}) & 3)"


def verdict_sql(reasons: list[tuple[str, str]]) -> str:
    """Return SQL of the index of the first reason that is true, -1 if none is."""
    cases = " ".join(f"WHEN {condition} THEN {n}" for n, (_, condition) in enumerate(reasons))
    return f"CASE {cases} ELSE -1 END" if cases else "-1"


def applies_sql(change: Repair, changes: list[Repair]) -> str:
    """Return SQL of the rows that a repair changes: not those where an earlier one of the same column applies."""
    earlier = [other.condition for other in changes[: changes.index(change)] if other.column == change.column]
    return " AND ".join([f"({change.condition})", *(f"({condition}) IS NOT TRUE" for condition in earlier)])


def _sentinel(column: str, bounds: Bounds) -> str:
    return f"{column} NOT BETWEEN DATE '{FIRST_DAY}' AND DATE '{bounds.latest}'"

"""Canaries: a person, a date and a label of one record alone, planted in every table of an extract; where they sing.

What is searched are bytes, whatever they are wrapped in: zip, gzip, Parquet, Arrow, chunks of a PNG, base64 in a page.
"""

import base64
import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PERSON, VISIT, LOCAL = 918_273_645, 1_918_273_645, 2_000_918_273
#: long before any other record, and a day on which the person comes to the emergency department
LONG_AGO, TODAY = date(1931, 5, 17), date(2023, 10, 5)
LABEL = "Zyxqwv label of nobody else"

_OWN_ID = re.compile(r"(occurrence|exposure|period|measurement|observation)_id")
_TYPES = {"emergency": 9203, "female": 8532}


def plant(tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables with rows of that person in each: on either date, unmapped, and of a local concept."""
    return {name: pa.concat_tables([table, _rows(name, table.schema)]) for name, table in tables.items()}


def _rows(name: str, schema: pa.Schema) -> pa.Table:
    variants = [(TODAY, LOCAL, 1), (LONG_AGO, 0, 2), (TODAY, 0, 3)]
    if name in ("person", "observation_period", "death", "cdm_source", "concept_ancestor", "concept"):
        variants = variants[:1]
    rows = [{one.name: _value(name, one, *variant) for one in schema} for variant in variants]
    if name == "visit_occurrence":  # one a date
        rows = [row | {"visit_occurrence_id": VISIT + n} for n, row in enumerate(rows[:2])]
    return pa.Table.from_pylist(rows, schema)


def _value(table: str, column: pa.Field, day: date, concept: int, number: int) -> Any:
    name = column.name
    if (table, name) in _FIXED:
        return _FIXED[table, name]
    if pa.types.is_string(column.type):
        return LABEL
    if pa.types.is_date(column.type):
        return LONG_AGO if "period_start" in name or table in ("concept", "cdm_source") else day
    if name == "person_id":
        return PERSON
    if name == "visit_occurrence_id":
        return VISIT
    if _OWN_ID.fullmatch(name.removeprefix(table.split("_")[0] + "_")) or name == f"{table}_id":
        return PERSON + number
    if name == f"{table.split('_')[0]}_concept_id" and table != "visit_occurrence":
        return concept
    return 0 if pa.types.is_integer(column.type) else None


_FIXED = {
    ("person", "gender_concept_id"): _TYPES["female"],
    ("person", "year_of_birth"): 1925,
    ("person", "month_of_birth"): 3,
    ("person", "day_of_birth"): 3,
    ("visit_occurrence", "visit_concept_id"): _TYPES["emergency"],
    ("concept", "concept_id"): LOCAL,
    ("concept", "domain_id"): "Condition",
    ("concept", "vocabulary_id"): "Local",
    ("concept", "standard_concept"): None,
    ("concept", "invalid_reason"): None,
    ("concept_ancestor", "ancestor_concept_id"): LOCAL,
    ("concept_ancestor", "descendant_concept_id"): LOCAL,
    ("cdm_source", "cdm_version"): "5.4",
    ("cdm_source", "source_release_date"): date(2025, 1, 1),
    ("cdm_source", "cdm_release_date"): date(2025, 1, 1),
    ("death", "death_date"): date(2024, 12, 31),
    ("observation_period", "observation_period_end_date"): date(2024, 12, 31),
}


def _whole_numbers(number: int) -> Iterator[bytes]:
    for code in ("<q", ">q", "<i", ">i") if abs(number) < 2**31 else ("<q", ">q"):
        yield struct.pack(code, number)
    yield struct.pack("<d", number)


def songs() -> dict[str, list[bytes]]:
    """Kind of canary -> the bytes by which it is known; texts are in lower case."""
    found: dict[str, list[bytes]] = {"person": [], "visit": [], "date": [], "label": []}
    for kind, number in (("person", PERSON), ("visit", VISIT), ("visit", VISIT + 1)):
        found[kind] += [str(number).encode(), *_whole_numbers(number)]
    for day in (LONG_AGO, TODAY):
        found["date"] += [day.strftime(form).encode() for form in ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y")]
        seconds = (day - date(1970, 1, 1)).days * 86_400
        found["date"] += [struct.pack("<q", seconds * unit) for unit in (1, 10**3, 10**6, 10**9)]
    days = (LONG_AGO - date(1970, 1, 1)).days  # of the other day: a number that any count can be
    found["date"] += [str(days).encode(), struct.pack("<i", days), struct.pack("<q", days), struct.pack("<d", days)]
    found["label"] += [LABEL.lower().encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")]
    found["label"] += [LABEL.lower().replace(" ", space).encode() for space in ("_", "%20", "&nbsp;", "\\u0020")]
    return found


def heard_in(path: Path) -> set[str]:
    """The kinds of canaries whose bytes are in a file, however it is packed."""
    return {
        kind
        for data in unpacked(path.name, path.read_bytes())
        for kind, of_kind in songs().items()
        if any(song in data or song in data.lower() for song in of_kind)
    }


def unpacked(name: str, data: bytes) -> Iterator[bytes]:
    """The bytes of a file, and of all that is within it."""
    yield data
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            for member in package.namelist():
                yield member.encode()
                yield from unpacked(member, package.read(member))
    elif data[:2] == b"\x1f\x8b":
        yield from unpacked(name, gzip.decompress(data))
    elif data[:4] == b"PAR1":
        yield from _arrow(pq.ParquetFile(io.BytesIO(data)).read())
        yield str(pq.ParquetFile(io.BytesIO(data)).metadata.to_dict()).encode()
    elif data[:6] == b"ARROW1":
        yield from _arrow(pa.ipc.open_file(io.BytesIO(data)).read_all())
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png(data)
    for packed in re.findall(rb"data:[\w/+.-]+;base64,([A-Za-z0-9+/=]+)", data):
        yield from unpacked(name, base64.b64decode(packed))


def _arrow(table: pa.Table) -> Iterator[bytes]:
    yield str(table.schema.metadata).encode()
    for column in table.columns:
        yield "\n".join(map(str, column.unique().to_pylist() if _plain(column.type) else [])).encode()
        for chunk in column.chunks:
            yield from (buffer.to_pybytes() for buffer in chunk.buffers() if buffer is not None)


def _plain(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind)


def _png(data: bytes) -> Iterator[bytes]:
    at, pixels = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            pixels += body
        elif kind in (b"zTXt", b"iTXt") and b"\0" in body:
            yield body
            for start in range(len(body)):
                if body[start : start + 1] == b"\x78":
                    try:
                        yield zlib.decompress(body[start:])
                    except zlib.error:
                        continue
        else:
            yield body
        at += length + 12
    yield zlib.decompress(pixels)

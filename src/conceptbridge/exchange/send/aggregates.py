"""An aggregate results file: what the joint tables, figures and page need to know of one site, and no row of it.

metrics/{task}/{site}/*.parquet      as evaluation wrote them, where models are tested at the site
tasks/{task}/{site}/                 tokens.parquet (``tasks.shared``), attrition.csv, leaks.parquet
sites/{site}/                        quality.json (``sites.shareable``), vocabulary.parquet: concepts of enough persons
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.quality_report import shareable
from conceptbridge.disclosure.suppress import keep_enough
from conceptbridge.disclosure.token_counts import shared_tokens, train_rows
from conceptbridge.evaluate.schemas import SCHEMAS
from conceptbridge.exchange.egress.allowlist import CSV, SHARED_TOKENS, TABLES
from conceptbridge.exchange.egress.check import check_about, check_egress
from conceptbridge.exchange.egress.release_report import write_sheet
from conceptbridge.exchange.egress.site_secrets import Private
from conceptbridge.exchange.package import read_package, strict_json, write_package
from conceptbridge.sites.records import LOCAL
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY

#: bytes of a received table, unpacked: far above any study's
LARGEST = 1 << 30


def write_aggregates(results: Path, about: Mapping[str, Any], private: Private, out: Path, sheet: Path) -> None:
    """Write the aggregate results file of a site to ``out``, and to ``sheet`` what leaves with it.

    ``results`` is the study's folder; ``about`` names the ``site``, its ``role``, and the ``study`` that it took part
    in (its ``tasks`` among others). Raises StudyError where a file is missing, or something must not leave.
    """
    site, min_cell_count = about["site"], private.min_cell_count
    about = {**about, "version": version("conceptbridge")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "aggregates"
        for task in about["study"]["tasks"]:
            measured, at = (Path(kind) / task / site for kind in ("metrics", "tasks"))
            if about["role"] != "source":
                for table in SCHEMAS:
                    _copy(results / measured / f"{table}.parquet", folder / measured / f"{table}.parquet")
            for name in ("attrition.csv", "leaks.parquet"):
                _copy(results / at / name, folder / at / name)
            tokens = pq.read_table(_existing(results / at / "tokens.parquet"), columns=SHARED_TOKENS.names)
            shared = shared_tokens(tokens, train_rows(results / measured / "site.parquet"), min_cell_count)
            write_parquet(shared.cast(SHARED_TOKENS), folder / at / "tokens.parquet")
        here = Path("sites") / site
        quality = json.loads(_existing(results / here / "quality.json").read_text(encoding="utf-8"))
        write_json(shareable(quality, min_cell_count), folder / here / "quality.json")
        vocabulary = pq.read_table(_existing(results / here / "vocabulary.parquet"))
        write_parquet(shared_vocabulary(vocabulary, min_cell_count), folder / here / "vocabulary.parquet")
        check_about(about, private)
        leaving = check_egress(folder, private)
        purpose = f"Aggregate results of {site}, for the coordinator's tables, figures and page."
        write_sheet(out.name, purpose, leaving, private, sheet)
        write_package(folder, "results", about, out)


def shared_vocabulary(vocabulary: pa.Table, min_cell_count: int) -> pa.Table:
    """The concepts that at least ``min_cell_count`` persons have, without counts, and without codes of local ones."""
    kept = keep_enough(vocabulary.filter(pc.invert(vocabulary["private"])), "persons", min_cell_count)
    standard = pc.and_(pc.greater(kept["concept_id"], 0), pc.less(kept["concept_id"], LOCAL))
    nothing = pa.nulls(len(kept), pa.int64())
    columns = {name: kept[name] for name in VOCABULARY.names}
    columns |= {"records": nothing, "persons": nothing}
    columns["concept_code"] = pc.if_else(standard, kept["concept_code"], pa.scalar(None, pa.string()))
    return pa.table(columns, schema=VOCABULARY)


def receive_aggregates(
    file: Path, site: str, tasks: Sequence[str], names: Mapping[str, Sequence[str]], results: Path
) -> None:
    """Check a site's aggregate results file and put its tables where the joint tables read them, below ``results``.

    ``names``: the study's embeddings, learners, strategies and sources; a table that names another is refused. Raises
    StudyError where the package is not whole, lacks a file or has one too many, or a table is not as declared.
    """
    with tempfile.TemporaryDirectory(dir=results) as temporary:
        folder = Path(temporary) / "aggregates"
        about = read_package(file, "results", folder)
        if about.get("site") != site:
            raise StudyError(f"{file}: is of another site than {site}; the config names it there")
        expected = set(files_of(site, tasks, about.get("role") != "source"))
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if wrong := sorted(there ^ expected):
            what = "is missing" if wrong[0] in expected else "does not belong to an aggregate results file"
            raise StudyError(f"{file}: {wrong[0]}: {what}")
        for name in sorted(expected):
            where = f"{file}: {name}"
            parts = Path(name).parts
            if name.endswith(".parquet"):
                place = {"task": [parts[1]], "target": [site], "site": [site]} if parts[0] != "sites" else {}
                _check_received(folder / name, where, dict(names) | place)
            elif name.endswith(".json"):
                strict_json((folder / name).read_bytes(), where)
            else:
                head = (folder / name).read_text(encoding="utf-8").splitlines()[:1]
                if head != [",".join(CSV["attrition"][1])]:
                    raise StudyError(f"{where}: has not the columns {', '.join(CSV['attrition'][1])}")
        for name in sorted(expected):
            _copy(folder / name, results / name)


def files_of(site: str, tasks: Sequence[str], target: bool) -> Iterator[str]:
    """The files of a site's aggregates, relative to the study's results."""
    for task in tasks:
        if target:
            yield from (f"metrics/{task}/{site}/{table}.parquet" for table in SCHEMAS)
        yield from (f"tasks/{task}/{site}/{name}" for name in ("attrition.csv", "leaks.parquet", "tokens.parquet"))
    yield from (f"sites/{site}/{name}" for name in ("quality.json", "vocabulary.parquet"))


def _check_received(path: Path, where: str, names: Mapping[str, Sequence[str]]) -> None:
    try:
        file = pq.ParquetFile(path)
        groups = (file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
        if sum(groups) > LARGEST:
            raise StudyError(f"{where}: is larger than {LARGEST >> 30} GiB when it is unpacked")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{where}: cannot be read as Parquet; ask for it again") from error
    declared = TABLES[path.stem].schema
    if not table.schema.equals(declared, check_metadata=False):
        raise StudyError(f"{where}: has not the columns that this version of the table has; ask for it again")
    for column in table.column_names:
        known = names.get(column.removeprefix("ref_").removeprefix("local_"))
        if known is not None and not set(table[column].unique().drop_null().to_pylist()) <= set(known):
            raise StudyError(f"{where}: {column}: names another {column} than those of the study")


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_existing(path), to)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StudyError(f"{path} is missing: run the site's own study first")
    return path

"""Write an aggregate results file: what the joint tables, figures and page need of one site, and no row of it.

metrics/{task}/{site}/*.parquet      the tables of evaluation (``read_shared``), if models are tested at the site
tasks/{task}/{site}/                 tokens.parquet (``shared_tokens``), attrition.csv, splits.parquet, leaks.parquet
sites/{site}/                        quality.json (``shareable``), vocabulary.parquet: concepts of enough persons
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.quality_report import shareable
from conceptbridge.disclosure.suppress import keep_enough
from conceptbridge.disclosure.token_counts import read_tokens, shared_tokens, train_rows
from conceptbridge.evaluate.shared_tables import read_shared
from conceptbridge.exchange.egress.allowlist import SHARED_TOKENS, target_tables
from conceptbridge.exchange.egress.audit import check_audit
from conceptbridge.exchange.egress.check import check_about, check_egress
from conceptbridge.exchange.egress.release_report import write_release_report
from conceptbridge.exchange.egress.site_secrets import SiteSecrets, existing
from conceptbridge.exchange.package import write_package
from conceptbridge.sites.records import LOCAL
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY


def write_aggregates(results: Path, about: Mapping[str, Any], secrets: SiteSecrets, out: Path, report: Path) -> None:
    """Write the aggregate results file of a site to ``out``, and what leaves with it to ``report``.

    ``results`` is the study's folder; ``about`` names the ``site``, its ``role``, and the ``study`` that it took part
    in (its ``tasks`` among others). Raises StudyError if a file is missing, or holds what must not leave.
    """
    site, min_cell_count = about["site"], secrets.min_cell_count
    about = {**about, "version": version("conceptbridge")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "aggregates"
        for task in about["study"]["tasks"]:
            metrics, of_task = (Path(kind) / task / site for kind in ("metrics", "tasks"))
            if about["role"] != "source":
                for table in target_tables(about["study"]):
                    existing(results / metrics / f"{table}.parquet")
                    shared = read_shared(results / metrics, table, min_cell_count)
                    write_parquet(shared, folder / metrics / f"{table}.parquet")
            for name in ("attrition.csv", "leaks.parquet", "splits.parquet"):
                _copy(results / of_task / name, folder / of_task / name)
            tokens = read_tokens(existing(results / of_task / "tokens.parquet"), *SHARED_TOKENS.names[:-1])
            shared = shared_tokens(tokens, train_rows(results / of_task / "splits.parquet"), min_cell_count)
            write_parquet(shared.cast(SHARED_TOKENS), folder / of_task / "tokens.parquet")
        of_site = Path("sites") / site
        quality = json.loads(existing(results / of_site / "quality.json").read_text(encoding="utf-8"))
        write_json(shareable(quality, min_cell_count), folder / of_site / "quality.json")
        vocabulary = read_table(existing(results / of_site / "vocabulary.parquet"))
        write_parquet(shared_vocabulary(vocabulary, min_cell_count), folder / of_site / "vocabulary.parquet")
        check_about(about, secrets)
        released = check_egress(folder, secrets)
        check_audit(folder, min_cell_count, about["study"])
        purpose = f"Aggregate results of {site}, for the coordinator's tables, figures and page."
        write_release_report(out.name, purpose, released, secrets, report)
        write_package(folder, "results", about, out)


def shared_vocabulary(vocabulary: pa.Table, min_cell_count: int) -> pa.Table:
    """Return the concepts of at least ``min_cell_count`` persons, without counts, and without codes of local ones."""
    kept = keep_enough(vocabulary.filter(pc.invert(vocabulary["private"])), "persons", min_cell_count)
    standard = pc.and_(pc.greater(kept["concept_id"], 0), pc.less(kept["concept_id"], LOCAL))
    blank = pa.nulls(len(kept), pa.int64())
    columns = {name: kept[name] for name in VOCABULARY.names}
    columns |= {"records": blank, "persons": blank}
    columns["concept_code"] = pc.if_else(standard, kept["concept_code"], pa.scalar(None, pa.string()))
    return pa.table(columns, schema=VOCABULARY)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(existing(path), to)

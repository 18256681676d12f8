"""How large the page of a large study is, and how soon it is painted: `python benchmarks/page.py OUT`.

The study is made up: that of the tests, with its tables stretched to 20 hospitals and 15 embeddings. Times need
Chromium and the package playwright.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/unit"))

import made_study as made
import test_report
from conceptbridge.core.atomic_files import write_json
from conceptbridge.core.markup import latex
from conceptbridge.report.figures.draw import write_figures
from conceptbridge.report.page import write_page
from conceptbridge.report.study_tables import STUDY_TABLES

LIKE, ELSEWHERE, THIRD = "lakeside", "riverside", "prairie"
MEANT = "minilm"


def stretch(table: pa.Table, sites: list[str], embeddings: int) -> pa.Table:
    """Return the rows of one hospital for every hospital, those of an embedding for several, and those of a model from
    elsewhere for every source."""
    frame = table.to_pandas()
    place = next((name for name in ("target", "site") if name in frame.columns), None)
    if place is None or frame.empty:
        return table
    of_one = frame[frame[place] == LIKE]
    arms = "embedding" in of_one and "role" not in of_one  # of curves only the arms that answers name
    if arms:
        copies = [of_one[of_one["embedding"] == MEANT].replace(MEANT, f"{MEANT}-{k}") for k in range(2, embeddings - 1)]
        of_one = pd.concat([of_one, *copies])
    parts = []
    for number, site in enumerate(sites):
        others = [sites[(number + step) % len(sites)] for step in range(1, len(sites))]
        own = of_one.replace({LIKE: site, ELSEWHERE: others[0], THIRD: others[1]})
        parts.append(own)
        if arms and "source" in of_one and "question" not in of_one:
            moved = own[own["source"] == others[0]]
            parts += [moved.replace({others[0]: other}) for other in others[2:]]
    return pa.Table.from_pandas(pd.concat(parts), table.schema, preserve_index=False)


def write_study(results: Path, hospitals: int, embeddings: int) -> None:
    """Write the tables, figures and page of a stretched study below ``results``."""
    test_report.evaluate_study(results)
    small = test_report.report_of(results, results / "small")
    sites = [f"hospital-{number:02d}" for number in range(1, hospitals + 1)]
    (results / "tables").mkdir()
    notes = {one.name: one for one in STUDY_TABLES}
    for path in sorted((small / "tables").glob("*.parquet")):
        table = stretch(pq.read_table(path), sites, embeddings)
        pq.write_table(table, results / "tables" / path.name)
        pacsv.write_csv(table, results / "tables" / f"{path.stem}.csv")
        if path.stem in notes and not notes[path.stem].long and len(table) < 20_000:
            (results / "tables" / f"{path.stem}.tex").write_text(latex(table, notes[path.stem].note))
    for site in sites:
        shutil.copytree(results / "sites" / LIKE, results / "sites" / site)
    started = time.process_time()
    write_figures(results / "tables", results / "figures")
    drawn = time.process_time()
    write_json({"simulated": True, "config": {"sites": {site: {} for site in sites}}}, results / "provenance.json")
    page = results / "report" / "index.html"
    write_page(results / "tables", results / "figures", results / "sites", results / "provenance.json", "Large", page)
    print(f"figures: {drawn - started:.1f} CPU s; page: {time.process_time() - drawn:.1f} CPU s")
    print(f"page: {page.stat().st_size / 1e6:.2f} MB")


def measure_paint(page: Path) -> dict[str, float]:
    """Return the milliseconds to the first paint and to the end of loading, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.resolve().as_uri())
        asked = """({...Object.fromEntries(performance.getEntriesByType("paint").map((e) => [e.name, e.startTime])),
                     loaded: performance.getEntriesByType("navigation")[0].loadEventEnd})"""
        times: dict[str, float] = tab.evaluate(asked)
        browser.close()
    return times


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", help="keep the results here")
    parser.add_argument("--hospitals", type=int, default=20)
    parser.add_argument("--embeddings", type=int, default=15)
    given = parser.parse_args()
    folder = given.out or Path(tempfile.mkdtemp())
    if not (folder / "report/index.html").is_file():
        made.LEARNERS = ("cnn",)
        made.ARMS = (made.EMBEDDINGS, made.CONTROLS, made.LEARNERS, made.STRATEGIES)
        write_study(folder, given.hospitals, given.embeddings)
    print(json.dumps(measure_paint(folder / "report/index.html")))

"""Write the bundle of a site's own model, after looking at all that would leave with it."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.exchange.egress.site_secrets import read_site_secrets
from conceptbridge.exchange.send.bundle import write_bundle


def main(a: argparse.Namespace) -> None:
    secrets = read_site_secrets([a.site], a.cohorts, a.config, a.about["min_cell_count"], a.folders)
    measured = a.measured[0].parent if a.measured else None
    files, more = (a.site / "vocabulary.parquet", a.tokens, measured), (a.profile, a.ancestors, a.table)
    write_bundle(a.about, a.arm, *files, secrets, a.out, a.sheet, *more)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--about", type=json.loads, required=True, help="source, task, embedding, learner, as JSON")
    p.add_argument("--arm", type=Path, required=True, help="folder of its local arm")
    p.add_argument("--site", type=Path, required=True, help="folder of the site: cdm and vocabulary.parquet")
    p.add_argument("--tokens", type=Path, required=True, help="of the task at the site")
    p.add_argument("--profile", type=Path, nargs="?", help="of the task's tokens at the site, to go with the model")
    p.add_argument("--ancestors", type=Path, nargs="?", help="of its tokens, if the model has columns for them")
    p.add_argument("--table", type=Path, nargs="?", help="the embedding's table of the site; none for one-hot")
    p.add_argument("--cohorts", type=Path, nargs="+", required=True, help="of all tasks at the site")
    p.add_argument("--measured", type=Path, nargs="*", default=[], help="its metrics.parquet and site.parquet")
    p.add_argument("--config", required=True, help="the study's config, whose dates are no secret, as JSON")
    p.add_argument("--folders", type=Path, nargs="*", default=[], help="of this machine, not to be named")
    p.add_argument("--out", type=Path, required=True, help="the zip to write")
    p.add_argument("--sheet", type=Path, required=True, help="the Markdown file to write beside it")
    run(p, main)

"""Write a task's cohort at a site as MEDS labels, and the predictions of all arms for meds-evaluation."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.evaluate.evaluate import ArmFolders
from conceptbridge.evaluate.meds_files import write_meds


def main(a: argparse.Namespace) -> None:
    embeddings, external = (dict(pair.split("=", 1) for pair in pairs) for pairs in (a.embeddings, a.external))
    folders = {name: Path(folder) for name, folder in external.items()}
    arms = ArmFolders(a.arms, embeddings, {}, a.learners, a.strategies, a.without, folders)
    write_meds(a.cohort, arms.at(a.target), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cohort", type=Path, required=True, help="cohort.parquet of the task at the site")
    p.add_argument("--arms", type=Path, required=True, help="results/arms/{task}")
    p.add_argument("--target", required=True, help="the site")
    p.add_argument("--embeddings", nargs="*", default=[], metavar="NAME=ID")
    p.add_argument("--learners", nargs="*", default=[])
    p.add_argument("--strategies", nargs="*", default=[], help="none where no model is tested at the site")
    p.add_argument("--without", type=json.loads, default={}, help="strategies without arms on an embedding, as JSON")
    p.add_argument("--external", nargs="*", default=[], metavar="NAME=FOLDER")
    p.add_argument("--out", type=Path, required=True, help="folder of labels/ and predictions/")
    run(p, main)

"""Write the sheets in which a clinician corrects what a target's tokens are read as."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.translate.sheet import write_sheets
from conceptbridge.translate.translation_job import TranslationJob


def main(a: argparse.Namespace) -> None:
    write_sheets(TranslationJob.from_json(a.job), a.results, a.embedding, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--job", required=True, help="task, target, sources, names, profiles, as JSON")
    p.add_argument("--embedding", required=True, help="the folder of the translation")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)

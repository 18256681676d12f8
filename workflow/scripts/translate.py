"""Translate a target's tokens into the words of each source."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.translate.run_translation import run_translation
from conceptbridge.translate.translation_job import TranslationJob


def main(a: argparse.Namespace) -> None:
    run_translation(TranslationJob.from_json(a.job), a.results, [Path(file) for file in a.corrections], a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--job", required=True, help="task, target, sources, names, profiles, as JSON")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--corrections", type=json.loads, default=[], help="CSV files of a clinician's words, as JSON")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)

"""Make one site's vocabulary: its concepts in every state that they could take, with their texts."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.sites.memory import MEMORY_MB
from conceptbridge.vocabulary.build import make_vocabulary


def main(a: argparse.Namespace) -> None:
    make_vocabulary(a.cdm, a.site, a.texts, a.roll_up, a.min_cell_count, a.out, a.threads, a.memory)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cdm", type=Path, required=True, help="folder of typed tables")
    p.add_argument("--site", required=True)
    p.add_argument("--texts", type=json.loads, required=True, help="templates, as JSON")
    p.add_argument("--roll-up", type=json.loads, required=True, help="what drugs and conditions become, as JSON")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--memory", type=int, default=MEMORY_MB, help="MB that the job has")
    run(p, main, pandas=False)

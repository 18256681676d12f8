"""Write what the run was made of: packages, embeddings, config, commit."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_json
from conceptbridge.core.provenance import provenance


def main(a: argparse.Namespace) -> None:
    write_json(provenance(a.config, a.origins, a.fingerprints, a.simulated, Path(__file__).parent), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--config", type=json.loads, required=True, help="the study's config, as JSON")
    p.add_argument("--origins", type=json.loads, required=True, help="site -> its file or folder, as JSON")
    p.add_argument("--fingerprints", type=json.loads, required=True, help="name -> fingerprint, as JSON")
    p.add_argument("--simulated", action="store_true", help="a site of the study is of the built-in network")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)

"""The paper's own settings on 1,000 target rows, raw and standardised: AUROC of its network, trained locally.

    python benchmarks/paper.py --data ../shared/data

Runs config/studies/paper.yaml with one site, one learner and the preset `paper`, twice, and prints both columns beside
reference figures for raw vectors.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
#: what the paper's settings are expected to give on raw vectors
REFERENCE = {
    "onehot": 0.937,
    "published-bert": 0.961,
    "published-biobert": 0.961,
    "published-clinicalbert": 0.877,
    "published-3-small": 0.900,
}


def measure(data: Path, standardise: bool, seeds: int, cores: int, folder: Path) -> dict[str, str]:
    """AUROC on the test rows by embedding, with its 95 % limits."""
    study = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text(encoding="utf-8"))
    site = study["sites"]["target-1000"]
    site["findings"]["codebook"] = str(ROOT / site["findings"]["codebook"])
    named = {next(iter(e)) if isinstance(e, dict) else e: e for e in study["embeddings"]}
    study |= {
        "results": "results",
        "data": str(data.resolve()),
        "embedding_cache": str(folder / "cache"),
        "sites": {"target-1000": site},
        "embeddings": [named[name] for name in REFERENCE],
        "learners": {"cnn": None},
        "strategies": ["local"],
        "preset": "paper",
        "scale": standardise,
        "seeds": seeds,
    }
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(study))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "workflow/Snakefile"),
        "--directory",
        str(folder),
    ]
    command += ["--configfile", str(config), "--cores", str(cores), "--quiet"]
    subprocess.run([*command, "all", "--", "results/tables/arms.csv"], check=True)
    with (folder / "results/tables/arms.csv").open(encoding="utf-8", newline="") as file:
        return {
            arm[
                "embedding"
            ]: f"{float(arm['auroc']):.3f} [{float(arm['auroc_lower']):.3f}, {float(arm['auroc_upper']):.3f}]"
            for arm in csv.DictReader(file)
        }


def main() -> None:
    """Print one line an embedding."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--cores", type=int, default=2)
    a = p.parse_args()
    found = {}
    for standardise in (False, True):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found[standardise] = measure(a.data, standardise, a.seeds, a.cores, Path(folder))
        kind = "standardised" if standardise else "raw"
        print(f"{kind}: {time.perf_counter() - start:.0f} s on {a.cores} cores", file=sys.stderr)
    print("| embedding | raw | reference, raw | standardised |\n| --- | --- | --- | --- |")
    for name, expected in REFERENCE.items():
        print(f"| {name} | {found[False][name]} | {expected:.3f} | {found[True][name]} |")


if __name__ == "__main__":
    main()

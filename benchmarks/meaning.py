"""Is it the meaning of names that transfers? `direct` with minilm against the controls, over seeds of the network.

    python benchmarks/meaning.py --seeds 1 2 3 --cores 2

Runs the demo's study with the strategies local and direct once a seed, and prints for every control how much better
AUROC is with minilm: a line a learner and direction with the paired 95 % interval of each seed, then the means.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]


def comparisons(seed: int, cores: int, folder: Path) -> pd.DataFrame:
    """The study's paired differences of minilm from each control, at one seed of the network."""
    study = yaml.safe_load((ROOT / "config/studies/three-winters.yaml").read_text(encoding="utf-8"))
    study["simulate"]["seed"] = seed
    study |= {"name": f"meaning-{seed}", "results": str(folder / str(seed)), "strategies": ["local", "direct"]}
    config = folder / f"{seed}.yaml"
    config.write_text(yaml.safe_dump(study), encoding="utf-8")
    command = [
        "snakemake",
        "--snakefile",
        str(ROOT / "workflow/Snakefile"),
        "--directory",
        str(folder),
        "--quiet",
        "all",
    ]
    subprocess.run([*command, "--configfile", str(config), "--cores", str(cores)], check=True)
    table = pd.read_parquet(folder / str(seed) / "tables/comparisons.parquet")
    chosen = table[(table.question == "meaning") & (table.metric == "auroc") & (table.strategy == "direct")]
    return chosen.assign(seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = pd.concat([comparisons(seed, arguments.cores, Path(name)) for seed in arguments.seeds])
    found["interval"] = [
        f"{d:+.3f} [{low:+.3f}, {high:+.3f}]"
        for d, low, high in zip(found.difference, found.lower, found.upper, strict=True)
    ]
    rows = found.pivot(index=["ref_embedding", "learner", "source", "target"], columns="seed", values="interval")
    print("minilm minus control, AUROC of `direct`, paired 95 % interval, a column a seed of the network\n")
    print(rows.to_string())
    summary = found.groupby(["ref_embedding", "learner"]).agg(
        mean=("difference", "mean"),
        cells=("difference", "size"),
        better=("lower", lambda low: int((low > 0).sum())),
        worse=("upper", lambda high: int((high < 0).sum())),
    )
    print("\nmean over directions and seeds; cells whose interval lies above 0 (better) or below it (worse)\n")
    print(summary.round(3).to_string())


if __name__ == "__main__":
    sys.exit(main())

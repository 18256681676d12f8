"""Where a study's time goes: processor time and wall time of its jobs, by stage, learner and strategy.

    snakemake --cores 8 --configfile config/studies/demo-full.yaml
    python benchmarks/where.py results-demo-full

Reads the last line of each job's log. The cheapest job of each learner that trains nothing (direct) tells what starting
Python and importing the learner's library takes.
"""

import argparse
import re
from pathlib import Path

import pandas as pd


def read(results: Path) -> pd.DataFrame:
    """One row per job: its stage, learner and strategy (empty before training), CPU and wall seconds."""
    rows = []
    for log in sorted((results / "logs").glob("**/*.log")):
        parts = log.relative_to(results / "logs").with_suffix("").parts
        times = re.findall(r" ([\d.]+) s, ([\d.]+) CPU s on ", log.read_text(encoding="utf-8"))
        if not times:  # the job was stopped
            continue
        wall, cpu = map(float, times[-1])
        in_arms = parts[0] in ("train", "pool_sources", "transfer", "pool")
        rows.append(
            {
                "stage": parts[0],
                "learner": parts[3] if in_arms else "",
                "strategy": parts[4] if in_arms else "",
                "cpu": cpu,
                "wall": wall,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the study's results folder")
    jobs = read(parser.parse_args().results)
    by = ["stage", "learner", "strategy"]
    table = jobs.groupby(by).agg(jobs=("cpu", "size"), cpu=("cpu", "sum"), wall=("wall", "sum"))
    table["share"] = table["cpu"] / table["cpu"].sum()
    print(table.sort_values("cpu", ascending=False).round({"cpu": 0, "wall": 0, "share": 3}).to_string())
    arms = jobs[jobs["learner"] != ""]
    start = arms[arms["strategy"] == "direct"].groupby("learner")["cpu"].min()
    starting = float(start.reindex(arms["learner"]).sum())
    hours, share = jobs["cpu"].sum() / 3600, starting / arms["cpu"].sum()
    print(
        f"\n{len(jobs)} jobs, {hours:.2f} h of processor time; starting Python takes at most {share:.0%} of the arms'"
    )


if __name__ == "__main__":
    main()

"""What memory jobs took of what their rules ask for: `python benchmarks/asks.py FOLDER`, where a study has run.

Reads the jobs of Snakemake's logs (FOLDER/.snakemake/log) and the last line of each job's own. The status is 1 where a
job took more than four fifths. A command with several processes says what the largest of them took.
"""

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

MOST = 0.8
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


def read(folder: Path) -> pd.DataFrame:
    """One row per job that has a log: rule, MB taken, MB asked for."""
    rows = {}
    for told in sorted((folder / ".snakemake/log").glob("*.log")):
        for rule, block in _JOB.findall(told.read_text(encoding="utf-8")):
            log, asked = re.search(r"^    log: (\S+)", block, re.MULTILINE), re.search(r"mem_mb=(\d+)", block)
            if log and asked and (path := folder / log[1]).is_file():
                took = re.findall(r" CPU s on .* threads, (\d+) MB$", path.read_text(encoding="utf-8"), re.MULTILINE)
                rows[log[1]] = (rule, int(took[-1]) if took else None, int(asked[1]))
    return pd.DataFrame(rows.values(), columns=["rule", "took", "asked"]).dropna()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that Snakemake ran in")
    jobs = read(parser.parse_args().folder)
    jobs["share"] = jobs["took"] / jobs["asked"]
    worst = jobs.loc[jobs.groupby("rule")["share"].idxmax()].set_index("rule")
    worst.insert(0, "jobs", jobs.groupby("rule").size())
    print(worst.sort_values("share", ascending=False).round(2).to_string())
    sys.exit(int((jobs["share"] > MOST).any()))


if __name__ == "__main__":
    main()

"""What jobs took of what their rules ask for, by size of the study, where studies have run.

    python benchmarks/asks.py FOLDER
    python benchmarks/asks.py 20,000=FOLDER 100,000=FOLDER 1,000,000=FOLDER

Prints a Markdown table, a line a rule: MB taken of MB asked for, of the job that came closest; CPU seconds of the
dearest job; and the largest share of memory and of time (seconds of `runtime`, on a machine with other work) over all
folders. Reads the jobs of Snakemake's logs (FOLDER/.snakemake/log) and the last line of each job's own. The status is 1
where a job took more than four fifths of the memory. A command with several processes says what the largest of them
took.
"""

import argparse
import platform
import re
import sys
from pathlib import Path

import pandas as pd

MOST = 0.8
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)
_TOOK = re.compile(r" ([\d.]+) s, ([\d.]+) CPU s on .* threads, (\d+) MB$", re.MULTILINE)


def read(folder: Path) -> pd.DataFrame:
    """One row per job that has a log: its rule, what it took (seconds, CPU seconds, MB) and asked for (MB, minutes)."""
    rows = {}
    for told in sorted((folder / ".snakemake/log").glob("*.log")):
        for rule, block in _JOB.findall(told.read_text(encoding="utf-8")):
            log, asked = re.search(r"^    log: (\S+)", block, re.MULTILINE), re.search(r"mem_mb=(\d+)", block)
            if not (log and asked and (path := folder / log[1]).is_file()):
                continue
            if took := _TOOK.findall(path.read_text(encoding="utf-8")):
                minutes = re.search(r"runtime=(\d+)", block)
                rows[log[1]] = (rule, *map(float, took[-1]), int(asked[1]), int(minutes[1]) if minutes else None)
    return pd.DataFrame(rows.values(), columns=["rule", "seconds", "cpu", "took", "asked", "minutes"])


def table(studies: dict[str, pd.DataFrame]) -> str:
    """The Markdown table of some studies' jobs."""
    lines = [
        f"| rule | {' | '.join(f'{name}: MB of MB asked; CPU s' for name in studies)} | most of memory, of time |",
        f"|---|{'---|' * len(studies)}---|",
    ]
    jobs = pd.concat(studies, names=["study"]).reset_index("study")
    jobs["share"], jobs["of_time"] = jobs["took"] / jobs["asked"], jobs["seconds"] / (60 * jobs["minutes"])
    for rule, of_rule in sorted(jobs.groupby("rule"), key=lambda part: -part[1]["share"].max()):
        cells = []
        for name in studies:
            here = of_rule[of_rule["study"] == name]
            if here.empty:
                cells.append("")
                continue
            closest = here.loc[here["share"].idxmax()]
            cells.append(f"{closest['took']:,.0f} of {closest['asked']:,.0f}; {here['cpu'].max():,.0f}")
        of_time = of_rule["of_time"].max()
        shares = f"{of_rule['share'].max():.0%}, {'' if pd.isna(of_time) else f'{of_time:.0%}'}".rstrip(", ")
        lines.append(f"| `{rule}` | {' | '.join(cells)} | {shares} |")
    return "\n".join(lines)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return found[1] if found else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", nargs="+", metavar="[NAME=]FOLDER", help="the folder that Snakemake ran in, and what to call it"
    )
    studies = {}
    for given in parser.parse_args().folders:
        name, _, folder = given.rpartition("=")
        studies[name or Path(folder).name] = read(Path(folder))
    print(f"{_processor()}; {', '.join(f'{name}: {len(jobs)} jobs' for name, jobs in studies.items())}\n")
    print(table(studies))
    sys.exit(int(any((jobs["took"] > MOST * jobs["asked"]).any() for jobs in studies.values())))


if __name__ == "__main__":
    main()

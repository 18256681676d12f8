"""The paper's claims on its authors' encounters and vectors: the tables of docs/paper.md, written into it from results.

    snakemake --cores 8 --configfile config/studies/paper-tenth.yaml
    snakemake --cores 8 --configfile config/studies/paper-tenth.yaml \
        --config preset=paper steps=500 results=results-paper-preset-tenth
    python benchmarks/claims.py fair=results-paper-tenth paper=results-paper-preset-tenth

Every number is of the same 10,000 test encounters. Limits are 95 %: DeLong's variance from encounter to encounter plus
that of the mean from seed to seed. They are not corrected for the number of lines.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from where import read

from conceptbridge.evaluate.bootstrap import degrees, quantile
from conceptbridge.evaluate.delong import Clusters, Components, clusters, components, variance
from conceptbridge.evaluate.measured import mean_of

ROOT = Path(__file__).parents[1]
DOMAIN = ("published-biobert", "published-clinicalbert")
GENERIC = ("published-bert", "published-ada-002", "published-3-small", "published-3-large")
CONTROLS = ("onehot", "random", "shuffled")
SOURCES = ("base", "ita06", "ita27")
LEARNER = "cnn"  # the paper's


class Arm(NamedTuple):
    """What has an AUROC; ``depth`` is None but on the way of tuning."""

    embedding: str
    strategy: str
    source: str
    target: str
    depth: float | None


class Result(NamedTuple):
    """The AUROC of each seed, and the components of their mean."""

    seeds: np.ndarray
    mean: Components


def results_of(folder: Path) -> tuple[dict[Arm, Result], Clusters]:
    """All arms of the paper's learner, on test rows."""
    made, of = {}, None
    for path in sorted((folder / "arms/influenza").glob(f"*/{LEARNER}/*/*/*.parquet")):
        target, strategy = path.parent.name, path.parent.parent.name
        embedding = path.parents[3].name.rsplit("-", 1)[0]
        test = pq.read_table(path, filters=[("split", "=", "test")]).to_pandas()
        if "depth" not in test:
            test = test.assign(depth=np.nan, size=np.nan)
        test = test[test["size"].isna()]
        for (source, depth), rows in test.groupby(["source", "depth"], dropna=False):
            parts = []
            for _, of_seed in rows.groupby("seed"):
                of = of or clusters(of_seed["label"], of_seed["row_id"])
                parts.append(components(of_seed["label"], of_seed["probability"], of))
            arm = Arm(embedding, strategy, str(source), target, None if np.isnan(depth) else float(depth))
            made[arm] = Result(np.array([part.auroc for part in parts]), mean_of(parts))
    if of is None:
        raise SystemExit(f"{folder}: no predictions of the {LEARNER}; run the study first")
    return made, of


def limits(parts: Sequence[tuple[float, Result]], of: Clusters) -> tuple[float, float, float]:
    """A weighted sum of AUROCs with its 95 % limits."""
    seeds = np.sum([weight * result.seeds for weight, result in parts], axis=0)
    events, others = (
        np.sum([weight * getattr(result.mean, side) for weight, result in parts], axis=0)
        for side in ("events", "non_events")
    )
    estimate = float(seeds.mean())
    spread = np.array(
        [[float(variance(events, others, of))], [seeds.var(ddof=1) / len(seeds) if len(seeds) > 1 else 0.0]]
    )
    freedom = degrees(spread, np.array([[of.freedom], [max(len(seeds) - 1, 1)]]))
    reach = float(quantile(freedom)[0] * np.sqrt(spread.sum()))
    return estimate, estimate - reach, estimate + reach


class Preset(NamedTuple):
    """The results of one run of the study."""

    name: str
    arms: Mapping[Arm, Result]
    of: Clusters
    jobs: pd.DataFrame

    def mean(
        self, embeddings: Sequence[str], strategy: str, source: str, target: str, depth: float | None = None
    ) -> list[tuple[float, Result]]:
        """The mean over ``embeddings``; of ``local`` the source is the target."""
        source = target if strategy == "local" else source
        return [
            (1 / len(embeddings), self.arms[Arm(embedding, strategy, source, target, depth)])
            for embedding in embeddings
        ]

    @property
    def targets(self) -> list[str]:
        """Targets by the rows of their training file."""
        return sorted({arm.target for arm in self.arms if arm.target not in SOURCES}, key=rows_of)

    @property
    def embeddings(self) -> list[str]:
        """Embeddings as they are grouped here, the controls last."""
        known = {arm.embedding for arm in self.arms}
        others = sorted(known - {*DOMAIN, *GENERIC, *CONTROLS})
        return [name for name in (*DOMAIN, *GENERIC, *others, *CONTROLS) if name in known]


def rows_of(target: str) -> int:
    """How many encounters a target's training file has."""
    return int(target.rsplit("-", 1)[1])


def minus(first: list[tuple[float, Result]], second: list[tuple[float, Result]]) -> list[tuple[float, Result]]:
    """A difference."""
    return first + [(-weight, result) for weight, result in second]


def claims(of: Preset) -> Iterator[tuple[str, str, list[tuple[float, Result]]]]:
    """Claim, what is compared, and the sum of AUROCs that has to be above 0 for it to hold."""
    most = of.targets[-1]
    controls = {"generic": GENERIC} | {name: (name,) for name in CONTROLS}
    for target in of.targets:
        for name, others in controls.items():
            yield (
                "1 domain-specific wins locally",
                f"local, {rows_of(target)} rows: domain-specific less {name}",
                minus(of.mean(DOMAIN, "local", "", target), of.mean(others, "local", "", target)),
            )
    for source in SOURCES:
        for name, others in controls.items():
            yield (
                "2 domain-specific wins in direct transfer",
                f"direct from {source}: domain-specific less {name}",
                minus(of.mean(DOMAIN, "direct", source, most), of.mean(others, "direct", source, most)),
            )
    for source in SOURCES:
        gains = [
            minus(of.mean(group, "tune-all", source, most), of.mean(group, "direct", source, most))
            for group in (GENERIC, DOMAIN)
        ]
        yield (
            "3 generic ones need tuning",
            f"gain of tune-all over direct from {source}, {rows_of(most)} rows: generic less domain-specific",
            minus(*gains),
        )
    real = (*DOMAIN, *GENERIC)
    for target in of.targets:
        for source in SOURCES:
            head, whole = (of.mean(real, strategy, source, target) for strategy in ("tune-head", "tune-all"))
            yield (
                "4 too much tuning hurts",
                f"from {source}, {rows_of(target)} rows: convolution frozen less all weights tuned",
                minus(head, whole),
            )
    for target in of.targets:
        for source in SOURCES:
            some, all_steps = (of.mean(real, "tune-all", source, target, depth) for depth in (0.1, 1.0))
            yield (
                "4 too much tuning hurts",
                f"from {source}, {rows_of(target)} rows, all weights: after a tenth of the steps less after all",
                minus(some, all_steps),
            )


def claim_table(presets: Sequence[Preset]) -> str:
    """One line a comparison, with a column a preset."""
    columns = [list(claims(preset)) for preset in presets]
    lines = [
        "| claim | AUROC | " + " | ".join(preset.name for preset in presets) + " |",
        "|---|---|" + "---|" * len(presets),
    ]
    for of_line in zip(*columns, strict=True):
        cells = []
        for (_, _, parts), preset in zip(of_line, presets, strict=True):
            estimate, lower, upper = limits(parts, preset.of)
            verdict = "holds" if lower > 0 else "the opposite" if upper < 0 else "undecided"
            cells.append(f"{estimate:+.3f} [{lower:+.3f}, {upper:+.3f}] {verdict}")
        lines.append(f"| {of_line[0][0]} | {of_line[0][1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def auroc_table(presets: Sequence[Preset], columns: Sequence[tuple[str, str, str, str]]) -> str:
    """One line an embedding, a column for each (title, strategy, source, target) of each preset."""
    heads = [f"{preset.name}: {title}" for preset in presets for title, *_ in columns]
    lines = ["| embedding | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for embedding in presets[0].embeddings:
        cells = []
        for preset in presets:
            for _, strategy, source, target in columns:
                estimate, lower, upper = limits(preset.mean([embedding], strategy, source, target), preset.of)
                cells.append(f"{estimate:.3f} ± {(upper - lower) / 2:.3f}")
        group = "domain" if embedding in DOMAIN else "generic" if embedding in GENERIC else ""
        group = "control" if embedding in CONTROLS else group
        lines.append(f"| {embedding}{group and f' ({group})'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_table(presets: Sequence[Preset]) -> str:
    """What each run took."""
    lines = ["| preset | jobs | processor hours | of these in arms |", "|---|---|---|---|"]
    for name, _, _, jobs in presets:
        arms = jobs.loc[jobs["learner"] != "", "cpu"].sum() / 3600
        lines.append(f"| {name} | {len(jobs)} | {jobs['cpu'].sum() / 3600:.2f} | {arms:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Write each table between its markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="PRESET=RESULTS", help="a column each")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/paper.md")
    a = parser.parse_args()
    runs = [(name, Path(folder)) for name, folder in (run.split("=", 1) for run in a.runs)]
    presets = [Preset(name, *results_of(folder), read(folder)) for name, folder in runs]
    targets = presets[0].targets
    most = targets[-1]
    blocks = {
        "time": time_table(presets),
        "local": auroc_table(presets, [(f"{rows_of(t)} rows", "local", "", t) for t in targets]),
        "direct": auroc_table(presets, [(source, "direct", source, most) for source in SOURCES]),
        "tuned": auroc_table(presets, [(strategy, strategy, "ita27", most) for strategy in ("tune-head", "tune-all")]),
        "claims": claim_table(presets),
    }
    page = a.page.read_text(encoding="utf-8")
    for name, table in blocks.items():
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = marked.subn(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", page)
        if not found:
            raise SystemExit(f"{a.page}: no place for the table {name}: <!-- table: {name} --> ... <!-- end -->")
    a.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

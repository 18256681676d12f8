"""The paper's claims on its authors' encounters and vectors: writes the tables of docs/paper.md from results.

    snakemake --cores 8 --configfile config/studies/paper.yaml
    snakemake --cores 8 --configfile config/studies/paper.yaml --config preset=paper results=results-paper-preset
    python benchmarks/claims.py fair=results-paper paper=results-paper-preset --learners cnn logistic
    python benchmarks/claims.py fair=results-paper paper=results-paper-preset --learners lightgbm

The page marks where each table goes, and for which learners: <!-- table: NAME (LEARNERS) --> ... <!-- end -->

All numbers come from the same 10,000 test encounters. Limits are 95 %: DeLong's variance between encounters plus the
variance of the mean between seeds. They are not corrected for the number of lines.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from where import read

from conceptbridge.evaluate.delong import Clusters, Components, components, mean_of, person_clusters, variance
from conceptbridge.evaluate.scales import degrees, quantile

ROOT = Path(__file__).parents[1]
DOMAIN = ("published-biobert", "published-clinicalbert")
GENERIC = ("published-bert", "published-ada-002", "published-3-small", "published-3-large")
CONTROLS = ("onehot", "random", "shuffled")
SOURCES = ("base", "ita06", "ita27")
REAL = (*DOMAIN, *GENERIC)
SHOWN = (100, 1000, 10000)  # training rows of the targets that are shown with more than `local`
DEPTHS = (0.1, 1.0)  # shares of the steps of tuning


class Arm(NamedTuple):
    """What has an AUROC; ``depth`` is the share of tuning, None for the final model."""

    learner: str
    embedding: str
    strategy: str
    source: str
    target: str
    depth: float | None


class Result(NamedTuple):
    """The AUROC of each seed, and the components of their mean."""

    seeds: np.ndarray
    mean: Components


# a weighted sum of AUROCs
Parts = list[tuple[float, Result]]


def results_of(folder: Path, learners: Sequence[str]) -> tuple[dict[Arm, Result], Clusters]:
    """The arms that the tables show, on test rows."""
    made, of = {}, None
    for learner in learners:
        for path in sorted((folder / "arms/influenza").glob(f"*/{learner}/*/target-*")):
            strategy, target = path.parts[-2:]
            if strategy == "recalibrate" or (strategy != "local" and rows_of(target) not in SHOWN):
                continue
            test = pq.read_table(path / "predictions.parquet", filters=[("split", "=", "test")]).to_pandas()
            tables = [test.assign(depth=np.nan)]
            if strategy == "tune-all":
                way = [("split", "=", "test"), ("depth", "in", DEPTHS)]
                tables.append(pq.read_table(path / "curves.parquet", filters=way).to_pandas())
            for table in tables:
                for (source, depth), rows in table.groupby(["source", "depth"], dropna=False):
                    parts = []
                    for _, of_seed in rows.groupby("seed"):
                        of = of or person_clusters(of_seed["label"], of_seed["row_id"])
                        parts.append(components(of_seed["label"], of_seed["probability"], of))
                    embedding = path.parts[-4].rsplit("-", 1)[0]
                    reached = None if np.isnan(depth) else float(depth)
                    arm = Arm(learner, embedding, strategy, str(source), target, reached)
                    made[arm] = Result(np.array([part.auroc for part in parts]), mean_of(parts))
    missing = set(learners) - {arm.learner for arm in made}
    if of is None or missing:
        raise SystemExit(f"{folder}: no predictions of {', '.join(sorted(missing))}; run the study first")
    return made, of


def limits(parts: Parts, of: Clusters) -> tuple[float, float, float]:
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
        self,
        learner: str,
        embeddings: Sequence[str],
        strategy: str,
        source: str,
        target: str,
        depth: float | None = None,
    ) -> Parts:
        """The mean over ``embeddings``; the source of ``local`` is the target."""
        source = target if strategy == "local" else source
        arms = [Arm(learner, embedding, strategy, source, target, depth) for embedding in embeddings]
        if missing := [arm for arm in arms if arm not in self.arms]:
            raise SystemExit(
                f"{self.name}: no predictions of {' '.join(map(str, missing[0]))}; run the study to its end"
            )
        return [(1 / len(arms), self.arms[arm]) for arm in arms]

    @property
    def targets(self) -> list[str]:
        """Targets by the rows of their training file."""
        return sorted({arm.target for arm in self.arms}, key=rows_of)

    @property
    def shown(self) -> list[str]:
        """Those that are shown with more than ``local``."""
        return [target for target in self.targets if rows_of(target) in SHOWN]

    @property
    def embeddings(self) -> list[str]:
        """The embeddings by group, controls last."""
        known = {arm.embedding for arm in self.arms}
        others = sorted(known - {*REAL, *CONTROLS})
        return [name for name in (*REAL, *others, *CONTROLS) if name in known]


def rows_of(target: str) -> int:
    """How many encounters a target's training file has."""
    return int(target.rsplit("-", 1)[1])


def minus(first: Parts, second: Parts) -> Parts:
    """A difference."""
    return first + [(-weight, result) for weight, result in second]


# A claim's lines: what is compared, and the sum of AUROCs that is above 0 where the claim holds.
Lines = Iterator[tuple[str, Parts]]
RIVALS = {"generic": GENERIC} | {name: (name,) for name in CONTROLS}


def wins_locally(of: Preset, learner: str) -> Lines:
    """Domain-specific embeddings win locally."""
    for target in of.shown:
        for name, others in RIVALS.items():
            domain, rival = (of.mean(learner, group, "local", "", target) for group in (DOMAIN, others))
            yield f"{rows_of(target):,} rows: domain-specific less {name}", minus(domain, rival)


def wins_directly(of: Preset, learner: str) -> Lines:
    """Domain-specific embeddings win in direct transfer."""
    for source in SOURCES:
        for name, others in RIVALS.items():
            domain, rival = (of.mean(learner, group, "direct", source, of.shown[-1]) for group in (DOMAIN, others))
            yield f"from {source}: domain-specific less {name}", minus(domain, rival)


def needs_tuning(of: Preset, learner: str) -> Lines:
    """Generic ones need tuning."""
    for target in of.shown:
        for source in SOURCES:
            generic, domain = (
                minus(
                    of.mean(learner, group, "tune-all", source, target),
                    of.mean(learner, group, "direct", source, target),
                )
                for group in (GENERIC, DOMAIN)
            )
            yield (
                f"from {source}, {rows_of(target):,} rows: what generic ones gain less what domain-specific ones gain",
                minus(generic, domain),
            )


def whole_hurts(of: Preset, learner: str) -> Lines:
    """Too much tuning hurts: of the weights."""
    for target in of.shown:
        for source in SOURCES:
            head, whole = (of.mean(learner, REAL, strategy, source, target) for strategy in ("tune-head", "tune-all"))
            yield f"from {source}, {rows_of(target):,} rows: tune-head less tune-all", minus(head, whole)


def steps_hurt(of: Preset, learner: str) -> Lines:
    """Too much tuning hurts: of the steps."""
    for target in of.shown:
        for source in SOURCES:
            some, all_steps = (of.mean(learner, REAL, "tune-all", source, target, depth) for depth in DEPTHS)
            yield f"from {source}, {rows_of(target):,} rows: a tenth of the steps less all", minus(some, all_steps)


def claim_table(presets: Sequence[Preset], learners: Sequence[str], claim: Callable[[Preset, str], Lines]) -> str:
    """One line per comparison, one column per preset and learner."""
    runs = [(preset, learner) for preset in presets for learner in learners]
    columns = [list(claim(preset, learner)) for preset, learner in runs]
    heads = " | ".join(f"{preset.name}: {learner}" for preset, learner in runs)
    lines = [f"| AUROC | {heads} |", "|---|" + "---|" * len(runs)]
    for of_line in zip(*columns, strict=True):
        cells = []
        for (_, parts), (preset, _) in zip(of_line, runs, strict=True):
            estimate, lower, upper = limits(parts, preset.of)
            verdict = "holds" if lower > 0 else "the opposite" if upper < 0 else "undecided"
            cells.append(f"{estimate:+.3f} [{lower:+.3f}, {upper:+.3f}] {verdict}")
        lines.append(f"| {of_line[0][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def auroc(preset: Preset, parts: Parts) -> str:
    """A cell: the estimate and half the width of its limits."""
    estimate, lower, upper = limits(parts, preset.of)
    return f"{estimate:.3f} ± {(upper - lower) / 2:.3f}"


def embedding_table(presets: Sequence[Preset], columns: Mapping[str, Callable[[Preset, str], Parts]]) -> str:
    """One line per embedding, one column per preset and title."""
    heads = [f"{preset.name}: {title}" for preset in presets for title in columns]
    lines = ["| embedding | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for embedding in presets[0].embeddings:
        cells = [auroc(preset, parts(preset, embedding)) for preset in presets for parts in columns.values()]
        group = "domain" if embedding in DOMAIN else "generic" if embedding in GENERIC else ""
        group = "control" if embedding in CONTROLS else group
        lines.append(f"| {embedding}{group and f' ({group})'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def strategy_table(preset: Preset, learners: Sequence[str], embeddings: Sequence[str]) -> str:
    """The mean of ``embeddings``: one line per strategy and source, one column per learner and target."""
    told = [("local", "")]
    told += [(strategy, source) for source in SOURCES for strategy in ("direct", "tune-head", "tune-all")]
    told += [("leave-one-out", "others"), ("pooled", "all")]
    heads = [f"{learner}, {rows_of(target):,}" for learner in learners for target in preset.shown]
    lines = ["| strategy | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for strategy, source in told:
        cells = [
            auroc(preset, preset.mean(learner, embeddings, strategy, source, target))
            for learner in learners
            for target in preset.shown
        ]
        title = f"{strategy} from {source}" if source in SOURCES else strategy
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_table(presets: Sequence[Preset], learners: Sequence[str]) -> str:
    """The time that each run took."""
    heads = " | ".join(f"arms of {learner}" for learner in learners)
    lines = [f"| preset | jobs | processor hours | {heads} |", "|---|---|---|" + "---|" * len(learners)]
    for name, _, _, jobs in presets:
        jobs = jobs[jobs["learner"].isin(["", *learners])]
        hours = [jobs.loc[jobs["learner"] == learner, "cpu"].sum() / 3600 for learner in learners]
        of_learners = " | ".join(f"{hour:.2f}" for hour in hours)
        lines.append(f"| {name} | {len(jobs):,} | {jobs['cpu'].sum() / 3600:.2f} | {of_learners} |")
    return "\n".join(lines)


def main() -> None:
    """Write the tables of these learners that the page has marks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="PRESET=RESULTS", help="one column per preset")
    parser.add_argument("--learners", nargs="+", required=True, help="the first alone has tables of single embeddings")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/paper.md")
    a = parser.parse_args()
    runs = [(name, Path(folder)) for name, folder in (run.split("=", 1) for run in a.runs)]
    presets = [Preset(name, *results_of(folder, a.learners), read(folder)) for name, folder in runs]
    first, most = a.learners[0], presets[0].shown[-1]

    def reached(strategy: str, source: str, target: str) -> Callable[[Preset, str], Parts]:
        return lambda preset, embedding: preset.mean(first, [embedding], strategy, source, target)

    def gained(source: str) -> Callable[[Preset, str], Parts]:
        whole, unchanged = (reached(strategy, source, "target-1000") for strategy in ("tune-all", "direct"))
        return lambda preset, embedding: minus(whole(preset, embedding), unchanged(preset, embedding))

    blocks = {
        "time": time_table(presets, a.learners),
        "wins locally": claim_table(presets, a.learners, wins_locally),
        "wins directly": claim_table(presets, a.learners, wins_directly),
        "needs tuning": claim_table(presets, a.learners, needs_tuning),
        "whole hurts": claim_table(presets, a.learners, whole_hurts),
        "steps hurt": claim_table(presets, [first], steps_hurt),
        "gains": embedding_table(presets, {source: gained(source) for source in SOURCES}),
        "direct": embedding_table(presets, {source: reached("direct", source, most) for source in SOURCES}),
        "tuned": embedding_table(presets, {way: reached(way, "ita27", most) for way in ("tune-head", "tune-all")}),
    }
    for preset in presets:
        sizes = {f"{rows_of(target):,}": reached("local", "", target) for target in preset.targets}
        blocks[f"local {preset.name}"] = embedding_table([preset], sizes)
        for name, group in (("language models", [*REAL, "published-negbert"]), ("onehot", ["onehot"])):
            blocks[f"{name} {preset.name}"] = strategy_table(preset, a.learners, group)
    page = a.page.read_text(encoding="utf-8")
    of_learners = f"({' '.join(a.learners)})"
    marked = re.compile(rf"(<!-- table: ([^(\n]*) {re.escape(of_learners)} -->\n).*?(<!-- end -->)", re.DOTALL)
    asked = {name for _, name, _ in marked.findall(page)}
    if not asked or not asked <= set(blocks):
        raise SystemExit(
            f"{a.page}: its tables of {of_learners} are {sorted(asked)}; there can be any of {sorted(blocks)}"
        )
    page = marked.sub(lambda m: f"{m[1]}{blocks[m[2]]}\n{m[3]}", page)
    a.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

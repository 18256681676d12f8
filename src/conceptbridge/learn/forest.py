"""A forest: its members, and how they are saved."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb

#: what replaces the values of a line in LightGBM's text that must stay at the site; 0 for other lines
HIDDEN = {"feature_infos": "none"}
#: parameters that LightGBM's text keeps: those that its own reader would go on with
KEPT = {
    *("boosting", "objective", "metric", "min_data_in_leaf"),
    *("seed", "deterministic", "force_col_wise", "num_threads", "verbosity"),
}


@dataclass(frozen=True)
class Forest:
    """One booster a run, its seed, its loss on the rows that checked it, and what it used of its cap
    (``learner.Model.capped``); ``steps`` trees were grown for all runs together. ``counts``: whether the number of
    tokens is one of the features. ``first``: how many trees of each booster make the forest, None for all."""

    boosters: list[lgb.Booster]
    seeds: list[int]
    losses: list[float]
    steps: int
    capped: list[int]
    counts: bool
    first: list[int] | None = None

    @property
    def kept(self) -> list[int]:
        """Trees of each booster."""
        return self.first or [booster.current_iteration() for booster in self.boosters]

    def take(self, members: Sequence[int]) -> "Forest":
        """The forest of these members, in this order."""
        return Forest(
            [self.boosters[i] for i in members],
            [self.seeds[i] for i in members],
            [self.losses[i] for i in members],
            self.steps,
            [self.capped[i] for i in members],
            self.counts,
            self.first and [self.first[i] for i in members],
        )

    def join(self, others: Sequence["Forest"]) -> "Forest":
        """The forest of these members and those of ``others``."""
        each = [self, *others]
        return Forest(
            [booster for one in each for booster in one.boosters],
            [seed for one in each for seed in one.seeds],
            [loss for one in each for loss in one.losses],
            sum(one.steps for one in each),
            [used for one in each for used in one.capped],
            self.counts,
            self.first and [trees for one in each for trees in one.first or []],
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``seed-{n}.txt`` to ``folder`` and return what model.json has to hold.

        LightGBM's text has the count and weight of the training rows at each node, the gain of each split (which
        reveals as much), and the minimum and maximum of each feature, which are values of single rows. All of that
        stays at the site. The sizes of the trees in
        bytes would then be wrong, so they are left out, and LightGBM reads tree after tree. Only the parameters that
        its reader would continue with stay; others name files and machines.
        """
        for seed, booster in zip(self.seeds, self.boosters, strict=True):
            text = re.sub(r"^tree_sizes=.*\n", "", booster.model_to_string(), flags=re.MULTILINE)
            text = re.sub(
                r"^((?:leaf|internal)_(?:count|weight)|internal_value|split_gain|feature_infos)=(.*)$",
                lambda line: f"{line[1]}={' '.join(HIDDEN.get(line[1], '0') for _ in line[2].split())}",
                text,
                flags=re.MULTILINE,
            )
            text = re.sub(r"^\[(\w+):.*\]\n", lambda line: line[0] if line[1] in KEPT else "", text, flags=re.MULTILINE)
            (folder / f"seed-{seed}.txt").write_text(text, encoding="utf-8")
        return {"seeds": self.seeds, "kept": self.kept, "counts": self.counts}

"""LightGBM on pooled vectors: of each record the mean and the maximum of its tokens' vectors, and how many they are."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from conceptbridge.learn.pooled_features import Features, pool
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Part, Run, cross_entropy

logger = logging.getLogger(__name__)

#: coarse histograms, their bounds from a sample of rows: half the time at the same accuracy
HISTOGRAM = {"max_bin": 63, "bin_construct_sample_cnt": 2_000, "data_random_seed": 1}

#: of trees added to a source's forest. Where that is wrong and sure of it, the loss has next to no curvature: by
#: itself LightGBM leaves such rows alone, or takes a Newton's step so long that no later tree mends it. The most that a
#: tree adds to a row's log odds is this step times the learning rate.
ADDED = {"min_sum_hessian_in_leaf": 0.0, "max_delta_step": 3.0}

#: what replaces the values of a line in LightGBM's text that must stay at the site; 0 for other lines
HIDDEN = {"feature_infos": "none"}
#: parameters that LightGBM's text keeps: those that its own reader would go on with
KEPT = {
    *("boosting", "objective", "metric", "min_data_in_leaf"),
    *("seed", "deterministic", "force_col_wise", "num_threads", "verbosity"),
}


@dataclass(frozen=True)
class Forest:
    """One booster a run, its seed, the number of its trees, and its loss on the rows that checked it; ``steps`` trees
    were grown for all runs together. ``counts``: whether the number of tokens is one of the features. ``first``: how
    many trees of each booster make the forest, None for all."""

    boosters: list[lgb.Booster]
    seeds: list[int]
    losses: list[float]
    steps: int
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
            self.counts,
            self.first and [trees for one in each for trees in one.first or []],
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``seed-{n}.txt`` to ``folder`` and return what model.json has to hold.

        LightGBM's text has the count and weight of the training rows at each node, the gain of each split (which
        reveals as much), and the minimum and maximum of each feature, which are values of single rows. All of that
        stays at the site. The sizes of the trees in bytes would then be wrong, so they are left out, and LightGBM reads
        tree after tree. Only the parameters that its reader would continue with stay; others name files and machines.
        """
        for seed, booster in zip(self.seeds, self.boosters, strict=True):
            text = re.sub(
                r"^((?:leaf|internal)_(?:count|weight)|split_gain|feature_infos)=(.*)$",
                lambda line: f"{line[1]}={' '.join(HIDDEN.get(line[1], '0') for _ in line[2].split())}",
                re.sub(r"^tree_sizes=.*\n", "", booster.model_to_string(), flags=re.MULTILINE),
                flags=re.MULTILINE,
            )
            text = re.sub(r"^\[(\w+):.*\]\n", lambda line: line[0] if line[1] in KEPT else "", text, flags=re.MULTILINE)
            (folder / f"seed-{seed}.txt").write_text(text, encoding="utf-8")
        return {"seeds": self.seeds, "kept": self.kept, "counts": self.counts}


def fit(examples: Examples, runs: Sequence[Run]) -> Forest:
    """Boost one forest a run, and keep of each the number of trees with the lowest loss on its checked rows."""
    counts = runs[0].settings["counts"]
    return _boost([None] * len(runs), examples, runs, counts)[0]


def tune(
    source: Forest, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Forest, list[Forest]]:
    """Go on from the source's members, one a run: new leaf values (``head_only``), or more trees.

    Where that makes the loss on the checked rows no lower, the source's own trees are kept. Also returns the forests
    after each of ``depths``, shares of the trees that may be added; new leaf values come in one step, which has no
    depth.
    """
    if not head_only:
        made, grown = _boost(source.boosters, examples, runs, source.counts, whole=bool(depths))
        return made, [_after(source, grown, round(depth * runs[0].settings["num_iterations"])) for depth in depths]
    features, kept, losses = pool(examples, source.counts), [], []
    leaves: dict[Any, NDArray[np.int32]] = {}  # of a source's forest, for all trials
    for booster, run in zip(source.boosters, runs, strict=True):
        rows, of = run.part.train, (id(booster), id(run.part))
        if of not in leaves:
            found = booster.predict(features[rows], pred_leaf=True, num_threads=1)
            leaves[of] = np.asarray(found, dtype=np.int32).reshape(len(rows), -1)
        tuned = refit(booster, leaves[of], examples.labels[rows], run.settings["refit_decay"])
        loss = [_loss(one, features, examples.labels, run.part.check) for one in (tuned, booster)]
        kept.append(tuned if loss[0] <= loss[1] else booster)
        losses.append(min(loss))
    return Forest(kept, [run.seed for run in runs], losses, len(runs), source.counts), []


def refit(booster: lgb.Booster, leaves: NDArray[np.int32], labels: NDArray[np.int8], decay: float) -> lgb.Booster:
    """New values for the leaves of a forest: the old ones times ``decay``, the rest what Newton's step gives on these
    rows, tree after tree, times the tree's shrinkage.

    ``leaves``: at which leaf of each tree a row ends, shape (rows, trees); ``labels`` (rows,). It is what
    ``lightgbm.Booster.refit`` does (SerialTreeLearner::FitByExistingTree), which bins all features anew every time,
    though no split is looked for.
    """
    made = lgb.Booster(model_str=booster.model_to_string())
    logits = np.zeros(len(labels))
    for tree, described in enumerate(booster.dump_model()["tree_info"]):
        count, at = described["num_leaves"], leaves[:, tree]
        probability = expit(logits)
        slope, curvature = (
            np.bincount(at, of_row, minlength=count)
            for of_row in (probability - labels, probability * (1 - probability))
        )
        newton = -slope / (curvature + 1e-15) * described["shrinkage"]
        old = np.array([booster.get_leaf_output(tree, leaf) for leaf in range(count)])
        values = decay * old + (1 - decay) * newton
        for leaf, value in enumerate(values):
            made.set_leaf_output(tree, leaf, value)
        logits += values[at]
    return made


def predict(forest: Forest, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    if len(examples) == 0:
        return np.empty((len(forest.seeds), 0))
    features = pool(examples, forest.counts)
    if forest.first is None:
        return np.stack([_probability(booster, features) for booster in forest.boosters])
    along = zip(forest.boosters, forest.first, strict=True)
    logits = np.stack([_logits(booster, trees, features, examples) for booster, trees in along])
    return np.asarray(expit(logits))


def load(folder: Path, description: Mapping[str, Any]) -> Forest:
    """The forest that ``Forest.save`` wrote."""
    seeds = description["seeds"]
    boosters = [lgb.Booster(model_file=folder / f"seed-{seed}.txt") for seed in seeds]
    return Forest(boosters, seeds, [float("nan")] * len(seeds), 0, description["counts"])


def _boost(
    starts: Sequence[lgb.Booster | None],
    examples: Examples,
    runs: Sequence[Run],
    counts: bool,
    whole: bool = False,
) -> tuple[Forest, list[lgb.Booster]]:
    """Add at most ``num_iterations`` trees to each of ``starts``; the loss on the checked rows decides how many of them
    are kept. Also returns the boosters with every tree that was grown: with ``whole`` all of them, without it up to
    where the loss had not fallen for ``early_stopping_round`` trees."""
    boosters, losses, steps, grown = [], [], 0, []
    features, labels = pool(examples, counts), examples.labels
    for start, run in zip(starts, runs, strict=True):
        # the first seed's forest of the chosen candidate is there since its trial
        same = ("grown", id(start), id(run.part), run.seed, whole, *sorted(run.settings.items()))
        _, made, curve = examples.cached(same, partial(_grow, start, examples, run, counts, whole))
        grown.append(made)
        before = 0 if start is None else start.current_iteration()
        loss, added = float("inf"), made.current_iteration() - before
        if curve:
            best, added = _lowest(curve, run.settings["early_stopping_round"])
            check = run.part.check
            loss, unchanged = curve[best], _loss(start, features, labels, check) if start else float("inf")
            if start is not None and unchanged < loss:
                made, loss = start, unchanged
            else:
                made = lgb.Booster(model_str=made.model_to_string(num_iteration=before + best + 1))
            logger.info("seed %d: %d trees, lowest validation loss %.4f", run.seed, made.current_iteration(), loss)
        boosters.append(made)
        losses.append(loss)
        steps += added
    return Forest(boosters, [run.seed for run in runs], losses, steps, counts), grown


def _grow(
    start: lgb.Booster | None, examples: Examples, run: Run, counts: bool, whole: bool
) -> tuple[lgb.Booster | None, lgb.Booster, list[float]]:
    """``start``; it with every tree that was added; the loss on the checked rows, if there are any, after each of
    these."""
    settings, features = run.settings, pool(examples, counts)
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": settings["num_leaves"],
        "min_data_in_leaf": settings["min_data_in_leaf"],
        "learning_rate": settings["learning_rate"],
        "feature_fraction": min(1.0, settings["features_per_tree"] / features.shape[1]),
        "bagging_fraction": settings["bagging_fraction"],
        "bagging_freq": 1,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
        "seed": run.seed,
        # rarely filled columns are bundled only where most are: of dense ones a tree that may use a few would add up
        # whole bundles for them, and takes twice the time
        "enable_bundle": sparse.issparse(features),
        **HISTOGRAM,
        **(ADDED if start else {}),
    }
    data, *watched = _binned(examples, counts, run.part, parameters, shown=start is not None)
    curves: dict[str, dict[str, list[float]]] = {}
    callbacks = [lgb.record_evaluation(curves)] if watched else []
    if watched and not whole:
        callbacks.append(lgb.early_stopping(settings["early_stopping_round"], first_metric_only=True, verbose=False))
    made = lgb.train(
        parameters, data, settings["num_iterations"], valid_sets=watched, init_model=start, callbacks=callbacks or None
    )
    return start, made, curves["valid_0"]["binary_logloss"] if watched else []


def _binned(examples: Examples, counts: bool, part: Part, parameters: dict[str, Any], shown: bool) -> list[lgb.Dataset]:
    """The rows that train a forest as LightGBM keeps them, and those that check it, if there are any.

    Dense ones are put in bins column by column, in half the time. ``shown``: they are to be shown to a source's forest.
    """
    features = pool(examples, counts)

    def make() -> tuple[Part, list[lgb.Dataset]]:
        made: list[lgb.Dataset] = []
        for rows in filter(len, (part.train, part.check)):
            given = features[rows]
            if not sparse.issparse(given):
                turned = np.asfortranarray(given)
                names = [f"Column_{i}" for i in range(given.shape[1])]  # what LightGBM calls those of a matrix
                given = pa.Table.from_arrays([pa.array(turned[:, i]) for i in range(len(names))], names=names)
            like = made[0] if made else None
            labels = examples.labels[rows]
            data = lgb.Dataset(given, labels, reference=like, params=parameters, free_raw_data=False).construct()
            data.data = features[rows] if shown else None  # of columns it would be slow to read a row
            made.append(data)
        return part, made  # as long as the part is kept, no other has its id

    return examples.cached(("binned", id(part), parameters["min_data_in_leaf"], shown), make)[1]


def _lowest(curve: Sequence[float], patience: int) -> tuple[int, int]:
    """Position of the lowest loss before it has not fallen for ``patience`` trees, and the trees grown until then."""
    best = 0
    for tree, loss in enumerate(curve):
        if loss < curve[best]:
            best = tree
        elif tree - best >= patience:
            return best, tree + 1
    return best, len(curve)


def _after(source: Forest, grown: Sequence[lgb.Booster], trees: int) -> Forest:
    """The grown forest with only the first ``trees`` of those that were added."""
    first = [kept + trees for kept in source.kept]
    return Forest(list(grown), source.seeds, [float("nan")] * len(first), 0, source.counts, first)


def _logits(booster: lgb.Booster, trees: int, features: Features, examples: Examples) -> NDArray[np.float64]:
    """What the first ``trees`` say of the rows: on the way of tuning, each tree is asked once for all depths."""
    _, said = examples.cached(("logits", id(booster)), lambda: (booster, {0: np.zeros(len(examples))}))
    if trees not in said:
        known = max(n for n in said if n < trees)
        more = booster.predict(
            features, start_iteration=known, num_iteration=trees - known, raw_score=True, num_threads=1
        )
        said[trees] = said[known] + np.asarray(more)
    return said[trees]


def _probability(booster: lgb.Booster, features: Features) -> NDArray[np.float64]:
    return np.asarray(booster.predict(features, num_threads=1), dtype=np.float64)


def _loss(booster: lgb.Booster, features: Features, labels: NDArray[np.int8], rows: NDArray[np.int64]) -> float:
    if not len(rows):
        return float("inf")
    return cross_entropy(labels[rows], _probability(booster, features[rows]))

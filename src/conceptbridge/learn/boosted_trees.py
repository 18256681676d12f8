"""LightGBM on a record's tokens, one-hot, or on the mean and the maximum of their vectors, and how many they are."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from conceptbridge.core.paced_log import PacedLog
from conceptbridge.learn.binned_features import datasets
from conceptbridge.learn.feature_blocks import of_rows
from conceptbridge.learn.forest import Forest
from conceptbridge.learn.leaf_digits import round_leaves
from conceptbridge.learn.leaf_lookup import leaves_of
from conceptbridge.learn.leaf_values import remake_leaves
from conceptbridge.learn.pooled_features import Features, pool
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import WITHIN, Part, Run, cap_use, cross_entropy
from conceptbridge.learn.split_digits import shorten_thresholds, values_of_feature

logger = logging.getLogger(__name__)

#: coarse histograms, their bounds from a sample of rows: half the time at the same accuracy
HISTOGRAM = {"max_bin": 63, "bin_construct_sample_cnt": 2_000, "data_random_seed": 1}

#: dense features that a tree may use by itself
DENSE_FEATURES = 128

#: of trees added to a source's forest. Where that is wrong and sure of it, the loss has next to no curvature: by
#: itself LightGBM leaves such rows alone, or takes a Newton's step so long that no later tree mends it. The most that a
#: tree adds to a row's log odds is this step times the learning rate.
ADDED = {"min_sum_hessian_in_leaf": 0.0, "max_delta_step": 3.0}


def fit(examples: Examples, runs: Sequence[Run]) -> Forest:
    """Boost one forest a run, and keep of each the number of trees with the lowest loss on its checked rows.

    No leaf has a value of few persons (``leaf_values``); values and thresholds have few digits (``leaf_digits``,
    ``split_digits``). So the model can be sent as it is used here.
    """
    counts = runs[0].settings["counts"]
    made = _boost([None] * len(runs), examples, runs, counts)[0]
    features = pool(examples, counts)
    boosters = [_shareable(*of_run, features, examples) for of_run in zip(made.boosters, runs, strict=True)]
    each = zip(boosters, runs, strict=True)
    losses = [_loss(booster, features, examples.labels, run.part.check) for booster, run in each]
    return replace(made, boosters=boosters, losses=losses)


def _shareable(booster: lgb.Booster, run: Run, features: Features, examples: Examples) -> lgb.Booster:
    """The booster with leaf values and thresholds that tell no small count of the rows that trained it, nor a row."""
    rows, text = run.part.train, booster.model_to_string()
    persons = np.arange(len(examples)) if examples.persons is None else examples.persons
    told = (_leaves(booster, features[rows], text), examples.labels[rows], persons[rows])
    text = remake_leaves(text, *told, run.settings["learning_rate"], run.min_cell_count)
    return lgb.Booster(model_str=shorten_thresholds(round_leaves(text), _values(examples, features, run.part)))


def _values(examples: Examples, features: Features, part: Part) -> Callable[[int], NDArray[np.float64]]:
    """What looks up the values of a feature in the rows that train a part, once for all of its forests."""

    def make() -> tuple[Part, Callable[[int], NDArray[np.float64]]]:
        given = features[part.train]
        columns = given.tocsc() if sparse.issparse(given) else given
        return part, cache(partial(values_of_feature, columns))  # as long as the part is kept, no other has its id

    return examples.cached(("values", id(part)), make)[1]


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
    leaves: dict[Any, NDArray[np.unsignedinteger]] = {}  # of a source's forest, for all trials
    for booster, run in zip(source.boosters, runs, strict=True):
        rows, of = run.part.train, (id(booster), id(run.part))
        if of not in leaves:
            leaves[of] = _leaves(booster, features[rows], booster.model_to_string())
        tuned = refit(booster, leaves[of], examples.labels[rows], run.settings["refit_decay"])
        loss = [_loss(one, features, examples.labels, run.part.check) for one in (tuned, booster)]
        kept.append(tuned if loss[0] <= loss[1] else booster)
        losses.append(min(loss))
    return Forest(kept, [run.seed for run in runs], losses, len(runs), [WITHIN] * len(runs), source.counts), []


def widen(source: Forest, vectors: OneHot, head_only: bool) -> Forest | None:
    """The source's trees on more features, none of which they use: every prediction is as it was. None where no tree is
    added that could use them."""
    if head_only:
        return None
    width = vectors.width + source.counts
    fields = {
        "max_feature_idx": str(width - 1),
        "feature_names": " ".join(f"Column_{i}" for i in range(width)),
        "feature_infos": " ".join(["none"] * width),
    }
    boosters = []
    for booster in source.boosters:
        text = booster.model_to_string()
        for name, value in fields.items():
            text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, count=1, flags=re.MULTILINE)
        boosters.append(lgb.Booster(model_str=text))
    return replace(source, boosters=boosters)


def translate(source: Forest, mix: sparse.csr_array, center: float) -> None:
    """None: a tree asks whether a token is there, and a part of one is nothing that it has seen."""


def refit(
    booster: lgb.Booster, leaves: NDArray[np.unsignedinteger], labels: NDArray[np.int8], decay: float
) -> lgb.Booster:
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


def _leaves(booster: lgb.Booster, features: Features, text: str) -> NDArray[np.unsignedinteger]:
    """At which leaf of each tree each row ends: shape (rows, trees), in a byte where that is enough. ``text``: the
    booster's."""
    if sparse.issparse(features):
        return leaves_of(text, features)
    most = max(map(int, re.findall(r"^num_leaves=(\d+)$", text, re.MULTILINE)), default=1)
    few = np.min_scalar_type(most)
    ask = partial(booster.predict, pred_leaf=True, num_threads=1)
    found = of_rows(features, lambda some: np.asarray(ask(some)).reshape(some.shape[0], -1).astype(few))
    return np.asfortranarray(found)  # they are read tree by tree


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
    return Forest(boosters, seeds, [float("nan")] * len(seeds), 0, [WITHIN] * len(seeds), description["counts"])


def _boost(
    starts: Sequence[lgb.Booster | None],
    examples: Examples,
    runs: Sequence[Run],
    counts: bool,
    whole: bool = False,
) -> tuple[Forest, list[lgb.Booster]]:
    """Add at most ``num_iterations`` trees to each of ``starts``, twice as many where validation loss has not stopped
    them by then; the loss on the checked rows decides how many of them are kept. Also returns the boosters with every
    tree that was grown: until the loss had not fallen for ``early_stopping_round`` trees, and with ``whole`` at least
    ``num_iterations``."""
    boosters, losses, steps, capped, grown = [], [], 0, [], []
    features, labels = pool(examples, counts), examples.labels
    for start, run in zip(starts, runs, strict=True):
        made, curve, used = _grow(start, examples, run, counts, whole)
        grown.append(made)
        before = 0 if start is None else start.current_iteration()
        loss, added = float("inf"), made.current_iteration() - before
        if curve:
            check, best = run.part.check, int(np.argmin(curve))
            loss, unchanged = curve[best], _loss(start, features, labels, check) if start else float("inf")
            if start is not None and unchanged < loss:
                made, loss = start, unchanged
            else:
                made = lgb.Booster(model_str=made.model_to_string(num_iteration=before + best + 1))
            added = len(curve)
            logger.info("seed %d: %d trees, lowest validation loss %.4f", run.seed, made.current_iteration(), loss)
        boosters.append(made)
        losses.append(loss)
        capped.append(used)
        steps += added
    return Forest(boosters, [run.seed for run in runs], losses, steps, capped, counts), grown


def _grow(
    start: lgb.Booster | None, examples: Examples, run: Run, counts: bool, whole: bool
) -> tuple[lgb.Booster, list[float], int]:
    """``start`` with every tree that was added; the loss on the checked rows, if there are any, after each of these
    until it had not fallen for long enough; what was used of the cap."""
    settings, features = run.settings, pool(examples, counts)
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": settings["num_leaves"],
        "min_data_in_leaf": settings["min_data_in_leaf"],
        "learning_rate": settings["learning_rate"],
        "feature_fraction": _fraction(settings["feature_fraction"], features),
        "bagging_fraction": settings["bagging_fraction"],
        "bagging_freq": 1,
        "deterministic": True,
        # which histograms are added up faster
        "force_row_wise" if sparse.issparse(features) else "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
        "seed": run.seed,
        # rarely filled columns are bundled only where most are: of dense ones a tree that may use a few would add up
        # whole bundles for them, and takes twice the time
        "enable_bundle": sparse.issparse(features),
        # a column of weights has a value or none, which is not 0 (``windows.ALMOST_ZERO``)
        "zero_as_missing": sparse.issparse(features) and examples.weights is not None,
        **HISTOGRAM,
        **(ADDED if start else {}),
    }
    data, *watched = _binned(examples, counts, run.part, parameters, shown=start is not None)
    cap, patience = settings["num_iterations"], settings["early_stopping_round"]
    # without rows that check it, and where patience cannot end it before, the cap is a number of trees and no limit
    end = 2 * cap if watched and patience < cap else cap
    stop = _Stop(patience, cap if whole else 0, end)
    made = lgb.train(parameters, data, end, valid_sets=watched, init_model=start, callbacks=[stop] if watched else None)
    return made, stop.curve, cap_use(len(stop.curve), cap, end, stop.over)


def _fraction(given: float | str, features: Features) -> float:
    """The share of the features that a tree may use: by itself all of sparse ones, which LightGBM bundles, so that some
    of them cost twice as much as all, and few of dense ones, each of which costs the same."""
    if given != "auto":
        return float(given)
    return 1.0 if sparse.issparse(features) else min(1.0, DENSE_FEATURES / features.shape[1])


class _Stop:
    """Ends boosting after ``patience`` trees without a lower loss, but not before ``least`` of the ``most`` trees."""

    def __init__(self, patience: int, least: int, most: int) -> None:
        self.patience, self.least, self.most, self.log = patience, least, most, PacedLog(logger)
        self.curve: list[float] = []
        self.best, self.trees, self.over = 0, 0, False

    def __call__(self, env: Any) -> None:
        """Note the loss after a tree; LightGBM calls it."""
        [(_, _, loss, *_)], self.trees = env.evaluation_result_list, self.trees + 1
        if not self.over:
            self.curve.append(loss)
            if loss < self.curve[self.best]:
                self.best = len(self.curve) - 1
            self.over = len(self.curve) - 1 - self.best >= self.patience
        self.log.info(
            "tree %d of at most %d, lowest validation loss %.4f", self.trees, self.most, self.curve[self.best]
        )
        if self.over and self.trees >= self.least:
            # the number is of all trees, a source's too, and LightGBM drops those after it
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list)


def _binned(examples: Examples, counts: bool, part: Part, parameters: dict[str, Any], shown: bool) -> list[lgb.Dataset]:
    """The rows that train a forest as LightGBM keeps them, and those that check it, if there are any.

    ``shown``: they are to be shown to a source's forest.
    """
    features = pool(examples, counts)

    def make() -> tuple[Part, list[lgb.Dataset]]:
        rows = [rows for rows in (part.train, part.check) if len(rows)]
        labels, given = [examples.labels[some] for some in rows], [features[some] for some in rows]
        made = datasets(given, labels, parameters)
        for data, some in zip(made, given if shown else [], strict=shown):
            data.data = some
        return part, made  # as long as the part is kept, no other has its id

    return examples.cached(("binned", id(part), parameters["min_data_in_leaf"], shown), make)[1]


def _after(source: Forest, grown: Sequence[lgb.Booster], trees: int) -> Forest:
    """The grown forest with only the first ``trees`` of those that were added."""
    first = [kept + trees for kept in source.kept]
    return Forest(list(grown), source.seeds, [float("nan")] * len(first), 0, source.capped, source.counts, first)


def _logits(booster: lgb.Booster, trees: int, features: Features, examples: Examples) -> NDArray[np.float64]:
    """What the first ``trees`` say of the rows: on the way of tuning, each tree is asked once for all depths."""
    _, said = examples.cached(("logits", id(booster)), lambda: (booster, {0: np.zeros(len(examples))}))
    if trees not in said:
        known = max(n for n in said if n < trees)
        asked: dict[str, Any] = {
            "start_iteration": known,
            "num_iteration": trees - known,
            "raw_score": True,
            "num_threads": 1,
        }
        said[trees] = said[known] + of_rows(features, lambda some: np.asarray(booster.predict(some, **asked)))
    return said[trees]


def _probability(booster: lgb.Booster, features: Features) -> NDArray[np.float64]:
    return of_rows(features, lambda some: np.asarray(booster.predict(some, num_threads=1), dtype=np.float64))


def _loss(booster: lgb.Booster, features: Features, labels: NDArray[np.int8], rows: NDArray[np.int64]) -> float:
    if not len(rows):
        return float("inf")
    return cross_entropy(labels[rows], _probability(booster, features[rows]))

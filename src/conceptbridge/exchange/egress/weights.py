"""Weights that leave a site: arrays and LightGBM's text, with nothing in them but what a learner declares.

``learner`` is whose model it is; None where that is not known: then what any learner declares may be in it.
"""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.exchange.egress.site_secrets import Private
from conceptbridge.learn.learner import Saves
from conceptbridge.learn.registry import LEARNERS
from conceptbridge.learn.registry import learner as find

#: the arrays of the space that every model's inputs are in
_SPACE = frozenset({"center", "carried"})


def model_fields(learner: str | None) -> frozenset[str]:
    """What a model's model.json may hold beside what all have."""
    return frozenset(name for saves in _saves(learner) for name in saves.fields)


def check_arrays(path: Path, file: str, private: Private, learner: str | None) -> list[str]:
    """Look at every array of a safetensors file, and return their names. Raises StudyError, which begins with ``file``,
    where one is not declared, or is as long as a cohort has rows."""
    declared = _SPACE.union(*(arrays for saves in _saves(learner) for arrays in saves.arrays.values()))
    try:
        with safe_open(path, framework="numpy") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            beside = opened.metadata()
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise StudyError(f"{file}: cannot be read as safetensors, so it is not sent") from error
    if beside:
        raise StudyError(f"{file}: has metadata beside its arrays; write it without")
    widths = {size for name, array in arrays.items() if name == "center" for size in array.shape}
    for name, array in arrays.items():
        if name not in declared:
            raise StudyError(f"{file}: no array {name!r} is declared, so nobody knows what is in it; leave it out")
        if array.dtype.kind != "f":
            raise StudyError(f"{file}: the array {name} is not of floating-point numbers, as weights are")
        flat = array.ndim < 3 and set(array.shape) & private.lengths - widths
        if flat and max(array.shape) in private.lengths and array.size > private.min_cell_count:
            raise StudyError(
                f"{file}: the array {name} is as long as a cohort has rows; values of single rows stay at the "
                "site (if it is a coincidence, change the learner's size by one)"
            )
    return list(arrays)


_TREE = {
    *("Tree", "num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type", "left_child"),
    *("right_child", "leaf_value", "leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count"),
    *("is_linear", "shrinkage", "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx"),
    *("objective", "feature_names", "feature_infos", "average_output", "monotone_constraints", "pandas_categorical"),
}
#: how many training rows, of what weight, reached a node; gain and weight together tell as much
_COUNTED = ("leaf_count", "internal_count", "leaf_weight", "internal_weight", "split_gain")


def check_lightgbm_text(path: Path, file: str, private: Private, learner: str | None) -> None:
    """Look at every line of LightGBM's text. Raises StudyError, which begins with ``file``, where its learner saves no
    text of this name, or it tells how many training rows are in a leaf, or values of single rows."""
    names = [saves.lightgbm_text for saves in _saves(learner) if saves.lightgbm_text is not None]
    if not any(re.fullmatch(re.escape(name).replace(r"\{seed\}", r"\d+"), path.name) for name in names):
        raise StudyError(f"{file}: no learner saves a text of this name, and no other text file may leave")
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("tree\n"):
        raise StudyError(f"{file}: is no LightGBM model, and no other text file may leave")
    for line in text.splitlines():
        if re.fullmatch(r"|tree|end of (trees|parameters)|parameters:|feature_importances:|Column_\d+=\d+", line):
            continue
        if parameter := re.fullmatch(r"\[(\w+): ?(.*)\]", line):
            if finding := private.finding(parameter[2]):
                raise StudyError(
                    f"{file}: the parameter {parameter[1]} holds {finding}, which must not leave the site; train "
                    "without it"
                )
            if parameter[1] == "min_data_in_leaf" and not is_enough(int(parameter[2]), private.min_cell_count):
                raise StudyError(
                    f"{file}: a leaf of this LightGBM model can tell of {parameter[2]} rows, and min_cell_count is "
                    f"{private.min_cell_count}; train it with `min_data_in_leaf: {private.min_cell_count}` or more, or leave "
                    "it out"
                )
            continue
        name, _, value = line.partition("=")
        if name.partition(":")[0] == "pandas_categorical":
            name, value = "pandas_categorical", line.partition(":")[2]
        if name not in _TREE:
            raise StudyError(f"{file}: the line {name[:40]!r} is not of a LightGBM model; leave it out")
        if name in _COUNTED and any(float(one) != 0 for one in value.split()):
            raise StudyError(
                f"{file}: {name} tells how many training rows reached a node (counts under min_cell_count among them, "
                "if only by subtraction); set it to 0"
            )
        if name == "feature_infos" and any(one != "none" for one in value.split()):
            raise StudyError(f"{file}: feature_infos has values of single rows, least and largest; set it to none")
        if name == "feature_names" and not re.fullmatch(r"(Column_\d+ ?)*", value):
            raise StudyError(f"{file}: feature_names are not LightGBM's own; train without names")


def _saves(learner: str | None) -> list[Saves]:
    return [find(name).saves for name in (LEARNERS if learner is None else [learner])]

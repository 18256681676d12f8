"""Check a model's weights that leave: arrays and LightGBM's text, with only what its learner declares.

``learner`` is whose model it is; None if that is not known: then it may have what any learner declares.
"""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.exchange.egress.released_file import FEW, ReleasedFile, reject
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.learn.federated.answers import array_names
from conceptbridge.learn.learner import Saves
from conceptbridge.learn.registry import LEARNERS
from conceptbridge.learn.registry import learner as find

#: the arrays of the input space that every model has
_SPACE = frozenset({"center", "basis", "carried"})


def model_fields(learner: str | None) -> frozenset[str]:
    """Return the fields of model.json that the learner declares, in addition to those of every model."""
    return frozenset(name for saves in _saves(learner) for name in saves.fields)


def check_safetensors(path: Path, file: ReleasedFile, secrets: SiteSecrets, learner: str | None) -> None:
    """Check the arrays of a model: all are declared, and none is as long as a cohort. Raises StudyError."""
    file.about = "weights of a model"
    declared = _SPACE.union(array_names(), *(arrays for saves in _saves(learner) for arrays in saves.arrays.values()))
    try:
        with safe_open(path, framework="numpy") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata()
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise StudyError(f"{file.file}: cannot be read as safetensors, so it is not sent") from error
    if metadata:
        raise StudyError(f"{file.file}: has metadata beside its arrays; write it without")
    file.columns = list(arrays)
    widths = {size for name in ("center", "basis") if name in arrays for size in arrays[name].shape}
    for name, array in arrays.items():
        if name not in declared:
            raise StudyError(
                f"{file.file}: the array {name!r} is not declared, so nobody knows what it holds; leave it out"
            )
        if array.dtype.kind != "f":
            raise StudyError(f"{file.file}: the array {name} does not hold floating-point numbers, as weights do")
        flat = array.ndim < 3 and set(array.shape) & secrets.cohort_sizes - widths
        if flat and max(array.shape) in secrets.cohort_sizes and array.size > secrets.min_cell_count:
            raise StudyError(
                f"{file.file}: the array {name} is as long as a cohort has rows; values of single rows stay at the "
                "site (if this is a coincidence, change the learner's size by one)"
            )


_TREE = {
    *("Tree", "num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type", "left_child"),
    *("right_child", "leaf_value", "leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count"),
    *("is_linear", "shrinkage", "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx"),
    *("objective", "feature_names", "feature_infos", "average_output", "monotone_constraints", "pandas_categorical"),
}
#: how many training rows, of what weight, reached a node; gain and weight together tell as much, and so does the value
#: of a node that is no leaf
_COUNTED = ("leaf_count", "internal_count", "leaf_weight", "internal_weight", "internal_value", "split_gain")


def check_lightgbm(path: Path, file: ReleasedFile, secrets: SiteSecrets, learner: str | None) -> None:
    """Check LightGBM's text line by line: it tells no counts of training rows, and no values of single rows.

    Raises StudyError, also if the learner saves no text of this name.
    """
    file.about = "a LightGBM model"
    names = [saves.lightgbm_text for saves in _saves(learner) if saves.lightgbm_text is not None]
    if not any(re.fullmatch(re.escape(name).replace(r"\{seed\}", r"\d+"), path.name) for name in names):
        raise StudyError(f"{file.file}: no learner saves a text of this name, and no other text file may leave")
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("tree\n"):
        raise StudyError(f"{file.file}: is not a LightGBM model, and no other text file may leave")
    for line in text.splitlines():
        if re.fullmatch(r"|tree|end of (trees|parameters)|parameters:|feature_importances:|Column_\d+=\d+", line):
            continue
        if parameter := re.fullmatch(r"\[(\w+): ?(.*)\]", line):
            _check_parameter(parameter[1], parameter[2], file.file, secrets)
            continue
        name, _, value = line.partition("=")
        if name.partition(":")[0] == "pandas_categorical":
            name, value = "pandas_categorical", line.partition(":")[2]
        if name not in _TREE:
            raise StudyError(f"{file.file}: the line {name[:40]!r} does not belong in a LightGBM model; leave it out")
        if name in _COUNTED and any(float(number) != 0 for number in value.split()):
            raise StudyError(
                f"{file.file}: {name} tells how many training rows reached a node ({FEW} among them, if only by "
                "subtraction); set it to 0"
            )
        if name == "feature_infos" and any(info != "none" for info in value.split()):
            raise StudyError(
                f"{file.file}: feature_infos has values of single rows (each feature's range); set it to none"
            )
        if name == "feature_names" and not re.fullmatch(r"(Column_\d+ ?)*", value):
            raise StudyError(f"{file.file}: feature_names are not LightGBM's own; train without names")


def _check_parameter(name: str, value: str, file: str, secrets: SiteSecrets) -> None:
    reject(file, f"the parameter {name}", secrets.finding(value), "train without it")
    minimum = secrets.min_cell_count
    if name == "min_data_in_leaf" and not is_enough(int(value), minimum):
        raise StudyError(
            f"{file}: a leaf of this LightGBM model may hold {value} rows, and min_cell_count is {minimum}; train it "
            f"with `min_data_in_leaf: {minimum}` or more, or leave it out"
        )


def _saves(learner: str | None) -> list[Saves]:
    return [find(name).saves for name in (LEARNERS if learner is None else [learner])]

"""A received text of a LightGBM model: LightGBM's own reader believes it, so it is read line by line first."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import shown

#: bytes of a text, and trees in it
LONGEST, MOST_TREES = 64 << 20, 10_000

_HEAD = {
    "version": re.compile(r"v[34]"),
    "num_class": re.compile("1"),
    "num_tree_per_iteration": re.compile("1"),
    "label_index": re.compile("0"),
    "max_feature_idx": re.compile(r"\d{1,9}"),
    "objective": re.compile("binary sigmoid:1"),
    "feature_names": re.compile(r"Column_\d+( Column_\d+)*"),
    "feature_infos": re.compile("none( none)*"),
}
_NODE = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_TREE = {
    "num_leaves": "whole",
    "num_cat": "whole",
    **dict.fromkeys(_NODE, "whole"),
    "split_gain": "real",
    "threshold": "real",
    "leaf_value": "real",
    "leaf_weight": "real",
    "leaf_count": "whole",
    "internal_value": "real",
    "internal_weight": "real",
    "internal_count": "whole",
    "is_linear": "whole",
    "shrinkage": "real",
}
_NUMBERS = {
    "whole": re.compile(r"(-?\d{1,9}( -?\d{1,9})*)?"),
    "real": re.compile(r"(-?\d{1,25}(\.\d{1,40})?(e[-+]?\d{1,3})?( -?\d{1,25}(\.\d{1,40})?(e[-+]?\d{1,3})?)*)?"),
}
#: numerical splits alone: missing values left or right, of three kinds
_DECISIONS = (0, 2, 4, 6, 8, 10)
_PARAMETERS = {
    "boosting": "gbdt",
    "objective": "binary",
    "metric": "binary_logloss",
    "deterministic": "1",
    "force_col_wise": "1",
    "num_threads": "1",
    "verbosity": "-1",
    "seed": r"\d{1,4}",
    "min_data_in_leaf": r"\d{1,9}",
}
_TAIL = re.compile(
    r"\nfeature_importances:\n(Column_\d{1,9}=\d{1,9}\n)*\nparameters:\n(?P<parameters>(\[\w{1,40}: [^\]\n]*\]\n)*)\n"
    r"end of parameters\n\npandas_categorical:null\n"
)


def check_lightgbm_text(path: Path, features: int, trees: int, at: str) -> None:
    """Raise StudyError where the text is not one that LightGBM wrote of ``trees`` numerical trees."""
    if path.stat().st_size > LONGEST:
        raise StudyError(f"{at}: is longer than {LONGEST >> 20} MiB")
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError as error:
        raise StudyError(f"{at}: is not ASCII (at byte {error.start})") from error
    body, end, tail = text.partition("end of trees\n")
    head, *blocks = body.split("\nTree=")
    if not end or not head.startswith("tree\n"):
        raise StudyError(f"{at}: is no text of a LightGBM model")
    found = _fields(head.removeprefix("tree\n"), _HEAD, at)
    if found["max_feature_idx"] != str(features - 1):
        raise StudyError(f"{at}: max_feature_idx: is {found['max_feature_idx']}, not {features - 1}")
    if found["feature_names"] != " ".join(f"Column_{n}" for n in range(features)):
        raise StudyError(f"{at}: feature_names: are not Column_0 to Column_{features - 1}")
    if len(found["feature_infos"].split()) != features:
        raise StudyError(f"{at}: feature_infos: are not {features}")
    if len(blocks) != trees or len(blocks) > MOST_TREES:
        raise StudyError(f"{at}: has {len(blocks)} trees where model.json: kept says {trees} ({MOST_TREES} at most)")
    for number, block in enumerate(blocks):
        which, _, lines = block.partition("\n")
        if which != str(number):
            raise StudyError(f"{at}: Tree={shown(which)}: is the tree {number}")
        _check_tree(lines, features, f"{at}: Tree={number}")
    rest = _TAIL.fullmatch(tail)
    if rest is None:
        raise StudyError(f"{at}: does not end as a LightGBM model does (feature_importances, parameters)")
    for line in rest["parameters"].split("\n")[:-1]:
        name, _, value = line[1:-1].partition(": ")
        if name not in _PARAMETERS or not re.fullmatch(_PARAMETERS[name], value):
            raise StudyError(f"{at}: parameters: [{shown(name)}: {shown(value)}] is not of such a model")


def _fields(lines: str, allowed: Mapping[str, re.Pattern[str]], at: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines.rstrip("\n").split("\n"):  # at an empty line within them LightGBM would stop reading
        name, _, value = line.partition("=")
        if name not in allowed or name in found:
            what = "is there twice" if name in found else "is unknown"
            raise StudyError(f"{at}: {shown(name) or 'an empty line'}: {what}")
        if not allowed[name].fullmatch(value):
            raise StudyError(f"{at}: {name}: {shown(value)!r} is no value of it")
        found[name] = value
    for name in allowed:
        if name not in found:
            raise StudyError(f"{at}: {name}: is missing")
    return found


def _check_tree(lines: str, features: int, at: str) -> None:
    found = _fields(lines, {name: _NUMBERS[kind] for name, kind in _TREE.items()}, at)
    values: dict[str, NDArray[Any]] = {name: np.array(value.split(), dtype=np.float64) for name, value in found.items()}
    for name, array in values.items():
        if not np.isfinite(array).all():
            raise StudyError(f"{at}: {name}: has a value that is not finite")
    if [len(values[name]) for name in ("num_leaves", "num_cat", "is_linear", "shrinkage")] != [1, 1, 1, 1]:
        raise StudyError(f"{at}: num_leaves, num_cat, is_linear, shrinkage: are not one number each")
    leaves = int(values["num_leaves"][0])
    if values["num_cat"][0] or values["is_linear"][0]:
        raise StudyError(f"{at}: num_cat, is_linear: categorical splits and linear leaves are no part of such a model")
    nodes = leaves - 1
    for name in _TREE:
        at_node, at_leaf = name in _NODE or name.startswith("internal"), name.startswith("leaf")
        if leaves == 1 and name in ("leaf_weight", "leaf_count"):
            continue
        if (at_node or at_leaf) and len(values[name]) != (nodes if at_node else leaves):
            raise StudyError(f"{at}: {name}: has {len(values[name])} values, not {nodes if at_node else leaves}")
    if not nodes:
        return
    feature, decision = values["split_feature"], values["decision_type"]
    if (feature < 0).any() or (feature >= features).any():
        raise StudyError(f"{at}: split_feature: is not among the {features} features")
    if not np.isin(decision, _DECISIONS).all():
        raise StudyError(f"{at}: decision_type: is none of a numerical split")
    children = np.concatenate([values["left_child"], values["right_child"]])
    parents = np.tile(np.arange(nodes), 2)
    inner = children >= 0
    wanted = np.concatenate([np.arange(-leaves, 0), np.arange(1, nodes)])
    # a node is numbered after the one it hangs on, so that there is no way round
    if not np.array_equal(np.sort(children), wanted) or (children[inner] <= parents[inner]).any():
        raise StudyError(f"{at}: left_child, right_child: are no tree in which every node and leaf is reached once")

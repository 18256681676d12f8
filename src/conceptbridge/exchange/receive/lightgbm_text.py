"""Check the text of a received LightGBM model line by line: LightGBM's own reader trusts it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import shown

#: limits of a text: its bytes, and its trees
MAX_BYTES, MAX_TREES = 64 << 20, 10_000

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
    "force_col_wise": "[01]",
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
    """Raise StudyError, which begins with ``at``, if the text is not LightGBM's of ``trees`` numerical trees."""
    if path.stat().st_size > MAX_BYTES:
        raise StudyError(f"{at}: is longer than {MAX_BYTES >> 20} MiB")
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError as error:
        raise StudyError(f"{at}: is not ASCII (at byte {error.start})") from error
    body, end, tail = text.partition("end of trees\n")
    head, *blocks = body.split("\nTree=")
    if not end or not head.startswith("tree\n"):
        raise StudyError(f"{at}: is not the text of a LightGBM model")
    fields = _fields(head.removeprefix("tree\n"), _HEAD, at)
    if fields["max_feature_idx"] != str(features - 1):
        raise StudyError(f"{at}: max_feature_idx: is {fields['max_feature_idx']}, not {features - 1}")
    if fields["feature_names"] != " ".join(f"Column_{n}" for n in range(features)):
        raise StudyError(f"{at}: feature_names: are not Column_0 to Column_{features - 1}")
    if len(fields["feature_infos"].split()) != features:
        raise StudyError(f"{at}: feature_infos: are not {features}")
    if len(blocks) != trees or len(blocks) > MAX_TREES:
        raise StudyError(f"{at}: has {len(blocks)} trees, but `kept` in model.json says {trees} (at most {MAX_TREES})")
    for number, block in enumerate(blocks):
        which, _, lines = block.partition("\n")
        if which != str(number):
            raise StudyError(f"{at}: Tree={shown(which)}: must be Tree={number}")
        _check_tree(lines, features, f"{at}: Tree={number}")
    rest = _TAIL.fullmatch(tail)
    if rest is None:
        raise StudyError(f"{at}: does not end as a LightGBM model does (feature_importances, parameters)")
    for line in rest["parameters"].split("\n")[:-1]:
        name, _, value = line[1:-1].partition(": ")
        if name not in _PARAMETERS or not re.fullmatch(_PARAMETERS[name], value):
            raise StudyError(f"{at}: parameters: [{shown(name)}: {shown(value)}] does not belong in such a model")


def _fields(lines: str, allowed: Mapping[str, re.Pattern[str]], at: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines.rstrip("\n").split("\n"):  # LightGBM would stop reading at an empty line
        name, _, value = line.partition("=")
        if name not in allowed or name in fields:
            fault = "is listed twice" if name in fields else "is unknown"
            raise StudyError(f"{at}: {shown(name) or 'an empty line'}: {fault}")
        if not allowed[name].fullmatch(value):
            raise StudyError(f"{at}: {name}: {shown(value)!r} is not a valid value")
        fields[name] = value
    for name in allowed:
        if name not in fields:
            raise StudyError(f"{at}: {name}: is missing")
    return fields


def _check_tree(lines: str, features: int, at: str) -> None:
    fields = _fields(lines, {name: _NUMBERS[kind] for name, kind in _TREE.items()}, at)
    values: dict[str, NDArray[Any]] = {name: np.array(text.split(), dtype=np.float64) for name, text in fields.items()}
    for name, array in values.items():
        if not np.isfinite(array).all():
            raise StudyError(f"{at}: {name}: has a value that is not finite")
    if [len(values[name]) for name in ("num_leaves", "num_cat", "is_linear", "shrinkage")] != [1, 1, 1, 1]:
        raise StudyError(f"{at}: num_leaves, num_cat, is_linear, shrinkage: must be one number each")
    leaves = int(values["num_leaves"][0])
    if values["num_cat"][0] or values["is_linear"][0]:
        raise StudyError(f"{at}: num_cat, is_linear: such a model has no categorical splits and no linear leaves")
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
        raise StudyError(f"{at}: decision_type: is not that of a numerical split")
    children = np.concatenate([values["left_child"], values["right_child"]])
    parents = np.tile(np.arange(nodes), 2)
    inner = children >= 0
    wanted = np.concatenate([np.arange(-leaves, 0), np.arange(1, nodes)])
    # a node has a higher number than its parent, so there are no cycles
    if not np.array_equal(np.sort(children), wanted) or (children[inner] <= parents[inner]).any():
        raise StudyError(f"{at}: left_child, right_child: do not reach every node and leaf exactly once")

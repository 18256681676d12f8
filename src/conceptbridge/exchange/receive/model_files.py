"""Is a received model what its learner writes? Its files are looked at before any of them is loaded.

A model is numbers. Here every array has to have the name, type and shape that the learner gives it, and to be finite;
and LightGBM's text, which its own reader believes, is read line by line.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, shown, strict_json

#: bytes of one of LightGBM's texts, and trees in it
LONGEST_FOREST, MOST_TREES = 64 << 20, 10_000

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

#: backends whose vectors go with the model
CARRIED = ("cooccurrence", "shuffled")

_COUNT = {"type": "integer", "minimum": 0}
_MODEL: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["learner", "strategy", "source", "target", "seeds", "kept", "space"],
    "properties": {
        "learner": {"type": "string"},
        "strategy": {"const": "local"},
        "source": {"type": "string"},
        "target": {"type": "string"},
        "seeds": {"type": "array", "items": _COUNT},
        "kept": {"type": "array", "items": _COUNT},
        "counts": {"type": "boolean"},
        "space": {
            "type": "object",
            "additionalProperties": False,
            "required": ["embedding", "fingerprint", "backend", "names", "scale"],
            "properties": {
                "embedding": {"type": "string"},
                "fingerprint": {"type": "string"},
                "backend": {"type": "string"},
                "names": {"type": "array"},
                "scale": {"type": "number", "exclusiveMinimum": 0},
            },
        },
    },
}


def check_model(folder: Path, about: Mapping[str, Any], width: int | None, where: str) -> None:
    """Check the files of a model in ``folder`` against what its bundle says of it.

    ``about`` has source, learner, seeds, and the embedding's name, fingerprint and backend; ``width`` is that of the
    embedding's vectors, None for one-hot. Raises StudyError, beginning with ``where``, naming file and field.
    """
    learner, embedding, seeds = about["learner"], about["embedding"], about["seeds"]
    at = f"{where}: model.json"
    if not (folder / "model.json").is_file():
        raise StudyError(f"{at}: is missing")
    model = strict_json((folder / "model.json").read_bytes(), at)
    check_fields(model, _MODEL, at)
    space = model["space"]
    expected = {
        "learner": (model["learner"], learner),
        "source": (model["source"], about["source"]),
        "target": (model["target"], about["source"]),
        "seeds": (model["seeds"], list(range(1, seeds + 1))),
        "kept": (len(model["kept"]), seeds),
        "counts": ("counts" in model, learner == "lightgbm"),
        "space.embedding": (space["embedding"], embedding["name"]),
        "space.fingerprint": (space["fingerprint"], embedding["fingerprint"]),
        "space.backend": (space["backend"], embedding["backend"]),
    }
    for field, (found, wanted) in expected.items():
        if found != wanted:
            raise StudyError(f"{at}: {field}: {shown(repr(found))} was found where {wanted!r} belongs")
    names = space["names"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise StudyError(f"{at}: space.names: are not texts, each there once")
    onehot = embedding["backend"] == "onehot"
    if onehot is (not names) and embedding["backend"] not in CARRIED:
        raise StudyError(f"{at}: space.names: there are {len(names)}, which is not what {embedding['name']} has")
    wide = len(names) if onehot else width
    assert wide is not None
    in_space: dict[str, Shape] = {"center": (wide,)}
    if embedding["backend"] in CARRIED:
        in_space["carried"] = (len(names), wide)
    forests = [f"seed-{seed}.txt" for seed in model["seeds"]] if learner == "lightgbm" else []
    weights = {"lightgbm": [], "logistic": ["coefficients.safetensors"]}.get(learner, ["weights.safetensors"])
    _check_files(folder, ["model.json", "space.safetensors", *forests, *weights], where)
    _check_arrays(folder / "space.safetensors", lambda _: in_space, "F32", where)
    if learner == "lightgbm":
        for name, trees in zip(forests, model["kept"], strict=True):
            _check_forest(folder / name, 2 * wide + model["counts"], trees, f"{where}: {name}")
        return
    shapes = _LEARNERS[learner]
    width_of = {"logistic": wide if onehot else 2 * wide}.get(learner, wide)
    kind = "F64" if learner == "logistic" else "F32"
    _check_arrays(folder / weights[0], lambda found: shapes(found, seeds, width_of), kind, where)


def _check_files(folder: Path, expected: list[str], where: str) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    for name in sorted(found ^ set(expected)):
        what = "is missing" if name in expected else "is no file of such a model"
        raise StudyError(f"{where}: {name}: {what}")


def _check_arrays(path: Path, expected: Callable[[Shapes], Shapes], kind: str, where: str) -> None:
    """Names, type and shapes are in the file's head; numbers are only read once these are right."""
    at = f"{where}: {path.name}"
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: tuple(one.get_shape()) for name, one in slices.items()}
            wanted = expected(found)
            for name in sorted(set(found) ^ set(wanted)):
                what = "is missing" if name in wanted else "is no array of such a model"
                raise StudyError(f"{at}: {shown(name)}: {what}")
            if file.metadata():
                raise StudyError(f"{at}: __metadata__: is no part of a model")
            for name, shape in wanted.items():
                if found[name] != shape or 0 in shape:
                    raise StudyError(f"{at}: {name}: has the shape {found[name]}, not {shape}")
                if slices[name].get_dtype() != kind:
                    raise StudyError(f"{at}: {name}: has the type {slices[name].get_dtype()}, not {kind}")
                if not np.isfinite(file.get_tensor(name)).all():
                    raise StudyError(f"{at}: {name}: has a value that is not finite")
    except (SafetensorError, OSError, ValueError, TypeError, OverflowError) as error:
        raise StudyError(f"{at}: cannot be read as safetensors ({shown(str(error))})") from error


def _last(shapes: Shapes, name: str) -> int:
    """The last dimension of an array, which the model is free to choose."""
    return shapes[name][-1] if shapes.get(name) else 0


def _logistic(_: Shapes, seeds: int, width: int) -> Shapes:
    return {"coefficients": (seeds, width), "intercepts": (seeds,)}


def _cnn(found: Shapes, seeds: int, width: int) -> Shapes:
    taps = [int(name[8:]) for name in found if re.fullmatch(r"filters-[1-9]\d{0,2}", name)] or [1]
    filters, inputs, made = _last(found, f"filter_bias-{taps[0]}"), width, {}
    if "projection" in found:
        inputs = _last(found, "projection")
        made["projection"] = (seeds, width, inputs)
    for tap in taps:
        made[f"filters-{tap}"] = (seeds, inputs, tap * filters)
        made[f"filter_bias-{tap}"] = (seeds, 1, filters)
    return made | {"head": (seeds, filters * len(taps), 2), "head_bias": (seeds, 1, 2)}


def _attention(found: Shapes, seeds: int, width: int) -> Shapes:
    units, heads = _last(found, "features"), _last(found, "scores")
    made = {}
    for name, inputs, outputs in (
        ("features", width, units),
        ("scores", units, heads if heads and units % heads == 0 else 0),
        ("values", units, units),
        ("head_hidden", units, units),
        ("head", units, 2),
    ):
        made[name], made[f"{name}_bias"] = (seeds, inputs, outputs), (seeds, 1, outputs)
    return made


_LEARNERS: dict[str, Callable[[Shapes, int, int], Shapes]] = {
    "logistic": _logistic,
    "cnn": _cnn,
    "attention": _attention,
}

# -- LightGBM's text

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


def _check_forest(path: Path, features: int, trees: int, at: str) -> None:
    """Raise StudyError where the text is not one that LightGBM wrote of ``trees`` numerical trees."""
    if path.stat().st_size > LONGEST_FOREST:
        raise StudyError(f"{at}: is longer than {LONGEST_FOREST >> 20} MiB")
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

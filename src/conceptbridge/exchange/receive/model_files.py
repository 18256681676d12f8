"""Check the files of a received model before any of them is loaded.

A model is numbers: every array must be finite, and have the name, type and shape that its learner declares
(``Learner.saves``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, shown, strict_json
from conceptbridge.exchange.receive.lightgbm_text import check_lightgbm_text
from conceptbridge.learn.learner import Array
from conceptbridge.learn.places import Windows, windows_of
from conceptbridge.learn.registry import learner
from conceptbridge.study.backends import find_backend
from conceptbridge.vocabulary.states import SLOTS

SPACE = "space.safetensors"
#: the source of a model that hospitals trained together (``learn.strategies.federated``)
TOGETHER = "all"

_COUNT = {"type": "integer", "minimum": 0}
_MODEL: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["learner", "strategy", "source", "seeds", "kept", "space"],
    "properties": {
        "learner": {"type": "string"},
        "strategy": {"enum": ["local", "federated"]},
        "source": {"type": "string"},
        "target": {"type": "string"},
        "seeds": {"type": "array", "items": _COUNT},
        "kept": {"type": "array", "items": _COUNT},
        "space": {
            "type": "object",
            "additionalProperties": False,
            "required": ["embedding", "fingerprint", "backend", "names", "slots", "scale"],
            "properties": {
                "embedding": {"type": "string"},
                "fingerprint": {"type": "string"},
                "backend": {"type": "string"},
                "names": {"type": "array"},
                "slots": {
                    "type": ["array", "null"],
                    "uniqueItems": True,
                    "items": _COUNT,
                },
                "windows": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["days", "values"],
                    "properties": {
                        "days": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer"}},
                        },
                        "values": {"type": "boolean"},
                    },
                },
                "scale": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}},
            },
        },
    },
}


def check_model(folder: Path, about: Mapping[str, Any], width: int | None, where: str) -> None:
    """Check the files of a model in ``folder`` against what its bundle says of it.

    ``about`` has source, definition, learner, seeds, and the embedding's name, fingerprint and backend; ``width`` is
    that of the embedding's vectors, None for one-hot. Raises StudyError, beginning with ``where``, naming file and
    field.
    """
    embedding, seeds, made_by = about["embedding"], about["seeds"], learner(about["learner"])
    at, saves = f"{where}: model.json", made_by.saves
    if not (folder / "model.json").is_file():
        raise StudyError(f"{at}: is missing")
    model = strict_json((folder / "model.json").read_bytes(), at)
    fields = {"properties": {**saves.fields, **_MODEL["properties"]}, "required": [*_MODEL["required"], *saves.fields]}
    check_fields(model, _MODEL | fields, at)
    space, together = model["space"], about["source"] == TOGETHER
    expected = {
        "learner": (model["learner"], about["learner"]),
        "source": (model["source"], about["source"]),
        # a model that hospitals trained together has no target
        "strategy": (model["strategy"], "federated" if together else "local"),
        "target": (model.get("target"), None if together else about["source"]),
        "seeds": (model["seeds"], list(range(1, seeds + 1))),
        "kept": (len(model["kept"]), seeds),
        "space.embedding": (space["embedding"], embedding["name"]),
        "space.fingerprint": (space["fingerprint"], embedding["fingerprint"]),
        "space.backend": (space["backend"], embedding["backend"]),
        "space.windows": (space.get("windows"), _windows(about["definition"]) if made_by.sees == "windows" else None),
    }
    for field, (value, wanted) in expected.items():
        if value != wanted:
            raise StudyError(f"{at}: {field}: is {shown(repr(value))}, expected {wanted!r}")
    names = space["names"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise StudyError(f"{at}: space.names: are not distinct texts")
    backend = find_backend(embedding["backend"])
    onehot, carried = backend.vectors == "none", backend.vectors in ("learned", "permuted")
    draws, slots = seeds if backend.drawn else 1, space["slots"] is not None
    if len(space["scale"]) != draws:
        raise StudyError(f"{at}: space.scale: has {len(space['scale'])} numbers, not {draws}")
    windows = Windows.read(space.get("windows"))
    places = len(SLOTS) if windows is None else windows.places
    if slots and max(space["slots"], default=0) >= places:
        raise StudyError(f"{at}: space.slots: there are {places}")
    if onehot and slots:
        raise StudyError(f"{at}: space.slots: does not fit {embedding['name']}")
    if onehot is (not names) and not carried:
        raise StudyError(f"{at}: space.names: has {len(names)} names, which does not fit {embedding['name']}")
    wide = len(names) if onehot else width
    assert wide is not None
    _check_files(folder, ["model.json", SPACE, *saves.files(model["seeds"])], where)
    in_space = {"center": Array(("draws", "width"))}
    if slots:
        in_space["basis"] = Array(("draws", "components", "width"))
    if carried:  # its vectors go with the model
        in_space["carried"] = Array(("names", "width"))
    of_space = _check_arrays(folder / SPACE, in_space, {"names": len(names), "width": wide, "draws": draws}, where)
    components = of_space.get("components", 0)
    if windows is not None and not windows.plain and slots:
        places, components = len(space["slots"]), windows.width(components)  # those that the source fills
    inputs = made_by.inputs(components * places if slots else wide, onehot, model)
    if saves.lightgbm_text:
        for seed, trees in zip(model["seeds"], model["kept"], strict=True):
            name = saves.lightgbm_text.format(seed=seed)
            check_lightgbm_text(folder / name, inputs, trees, f"{where}: {name}")
    sizes = {"seeds": seeds, "inputs": inputs, "windows": windows_of(windows, onehot)}
    for file, arrays in saves.arrays.items():
        sizes = _check_arrays(folder / file, arrays, sizes, where)
    if wrong := made_by.check_sizes(sizes):
        raise StudyError(f"{where}: {wrong}")


def _windows(definition: Mapping[str, Any]) -> dict[str, Any] | None:
    """The windows in which a task's rows are seen (``Study.windows``)."""
    predictors = definition.get("predictors", {})
    days = predictors.get("windows", "none")
    return None if days == "none" else {"days": days, "values": bool(predictors.get("values"))}


def _check_files(folder: Path, expected: list[str], where: str) -> None:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    for name in sorted(present ^ set(expected)):
        fault = "is missing" if name in expected else "is not a file of such a model"
        raise StudyError(f"{where}: {name}: {fault}")


def _check_arrays(path: Path, declared: Mapping[str, Array], known: Mapping[str, int], where: str) -> dict[str, int]:
    """Check names, types and shapes, which are in the file's header, and then the numbers.

    ``known`` are sizes by name; the first array that has another size defines it. Returns all sizes by name.
    """
    at, sizes = f"{where}: {path.name}", dict(known)
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
            for name in sorted(set(shapes) ^ set(declared)):
                fault = "is missing" if name in declared else "is not an array of such a model"
                raise StudyError(f"{at}: {shown(name)}: {fault}")
            if file.metadata():
                raise StudyError(f"{at}: __metadata__: does not belong in a model")
            for name, array in declared.items():
                for size, n in zip(array.sizes, shapes[name], strict=False):
                    if isinstance(size, str):
                        sizes.setdefault(size, n)
                shape = tuple(sizes.get(size, 0) if isinstance(size, str) else size for size in array.sizes)
                if shapes[name] != shape or 0 in shape:
                    raise StudyError(f"{at}: {name}: has the shape {shapes[name]}, not {shape}")
                if slices[name].get_dtype() != array.dtype:
                    raise StudyError(f"{at}: {name}: has the type {slices[name].get_dtype()}, not {array.dtype}")
                if not np.isfinite(file.get_tensor(name)).all():
                    raise StudyError(f"{at}: {name}: has a value that is not finite")
    except (SafetensorError, OSError, ValueError, TypeError, OverflowError) as error:
        raise StudyError(f"{at}: cannot be read as safetensors ({shown(str(error))})") from error
    return sizes

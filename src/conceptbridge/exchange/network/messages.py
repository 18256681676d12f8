"""Questions and answers of federated training as bytes: JSON and safetensors, nothing that a reader would have to run.

A message is one safetensors file. Its arrays are those of the value, and its metadata say where they stand in it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from conceptbridge.core.errors import StudyError
from conceptbridge.learn.input_space import Space, load_space

Arrays = dict[str, NDArray[Any]]
#: the one key of an object that stands for an array, or for an input space
ARRAY, SPACE = "#array", "#space"
_VALUE = "value"
_SPACE_FILE = "space.safetensors"


def encode(value: Any) -> bytes:
    """A question's or an answer's fields as bytes; tuples become lists."""
    arrays: Arrays = {}
    text = json.dumps(_told(value, arrays), allow_nan=False)
    return save(arrays, metadata={_VALUE: text})


def decode(message: bytes, sender: str) -> Any:
    """The value that ``encode`` was given. Raises StudyError, naming the sender, if the bytes are no such message."""
    try:
        length = int.from_bytes(message[:8], "little")
        header = json.loads(message[8 : 8 + length])
        return _value(json.loads(header["__metadata__"][_VALUE]), load(message))
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise StudyError(f"{sender}: sent a message that cannot be read ({type(error).__name__})") from error


def _told(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, Space):
        with TemporaryDirectory() as temporary:
            about = value.save(Path(temporary))
            file = np.frombuffer((Path(temporary) / _SPACE_FILE).read_bytes(), np.uint8)
        return {SPACE: _told({"about": about, "file": file}, arrays)}
    if isinstance(value, np.ndarray | np.generic):
        name = str(len(arrays))
        arrays[name] = np.asarray(value, order="C")
        return {ARRAY: name}
    if isinstance(value, Mapping):
        return {str(key): _told(one, arrays) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one, arrays) for one in value]
    return value


def _value(told: Any, arrays: Arrays) -> Any:
    if isinstance(told, list):
        return [_value(one, arrays) for one in told]
    if not isinstance(told, dict):
        return told
    if set(told) == {ARRAY}:
        return arrays[told[ARRAY]]
    if set(told) == {SPACE}:
        space = _value(told[SPACE], arrays)
        with TemporaryDirectory() as temporary:
            (Path(temporary) / _SPACE_FILE).write_bytes(space["file"].tobytes())
            return load_space(Path(temporary), space["about"])
    return {key: _value(one, arrays) for key, one in told.items()}

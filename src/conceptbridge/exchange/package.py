"""A package: files and a manifest in one zip, the same bytes for the same content; checked whole before it is used.

A package is data from another hospital, so nothing in it is believed. Its files are stored as they are, uncompressed:
it cannot be larger unpacked than it is, and its bytes depend on no version of a compressor.
"""

import hashlib
import json
import math
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from conceptbridge.core.atomic_files import atomic_file, atomic_folder
from conceptbridge.core.errors import StudyError

Kind = Literal["bundle", "results"]

#: rises when a package of the old version can no longer be read
FORMAT = 1
MANIFEST = "manifest.json"
#: of a JSON document in a package: bytes, and brackets within brackets
LONGEST_JSON, DEEPEST_JSON = 64 << 20, 20
MOST_FILES = 10_000

#: the time of every file in a package, the first that a zip can say
_TIME = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_LONGEST_NAME = 200
_FIELDS = ("format", "kind", "about", "files")
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
# also one that never ends, so that each character is looked at once
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_CHUNK = 1 << 20


def write_package(folder: Path, kind: Kind, about: Mapping[str, Any], out: Path) -> None:
    """Write all files below ``folder`` and a manifest to the zip ``out``, whole or not at all.

    The manifest holds the format's version, ``kind``, ``about`` (what the package is, as JSON values) and the SHA-256
    and size of every file. Raises StudyError when a file is a link or has a name that `read_package` would refuse.
    """
    names = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise StudyError(f"{path}: is a link; a package holds files alone")
        if path.is_file():
            _check_name(name, str(folder))
            names[name] = path
    listed: dict[str, dict[str, Any]] = {}
    for name, path in names.items():
        with path.open("rb") as file:
            listed[name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
    manifest = {"format": FORMAT, "kind": kind, "about": dict(about), "files": listed}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    strict_json(text.encode("utf-8", "surrogatepass"), f"{out.name}: {MANIFEST}")
    with atomic_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as package:
        package.writestr(_entry(MANIFEST), text)
        for name, path in names.items():
            entry = _entry(name)
            entry.file_size = listed[name]["bytes"]
            with path.open("rb") as source, package.open(entry, "w") as target:
                _copy(source, target)


def read_package(path: Path, kind: Kind, into: Path) -> dict[str, Any]:
    """Check the package at ``path``, write its files to ``into`` (whole or not at all) and return its ``about``.

    What is in the files is for the reader of each to check. Raises StudyError, with the package and what is wrong in
    it, where it is no zip, is of another kind or a newer format, its manifest has unknown or missing fields, or a file
    is not listed, missing, listed twice, a link, compressed or encrypted, has a name that leads out of the folder or
    cannot be shown, or is not what its SHA-256 says.
    """
    with _opened(path, kind) as (package, entries, manifest), atomic_folder(into) as folder:
        for name, listed in manifest["files"].items():
            _unpack(package, entries[name], listed, folder / name, path)
    about: dict[str, Any] = manifest["about"]
    return about


def read_about(path: Path, kind: Kind) -> dict[str, Any]:
    """The ``about`` of the package at ``path``; its files are not read. Raises StudyError as ``read_package`` does."""
    with _opened(path, kind) as (_, _, manifest):
        about: dict[str, Any] = manifest["about"]
        return about


@contextmanager
def _opened(path: Path, kind: Kind) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, zipfile.ZipInfo], dict[str, Any]]]:
    """The open zip, its entries by name, and its manifest, both checked."""
    if not path.is_file():
        raise StudyError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise StudyError(f"{path}: is no package (a zip begins otherwise)")
            with zipfile.ZipFile(file) as package:
                entries = _entries(package, path)
                yield package, entries, _read_manifest(package, entries, path, kind)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise StudyError(f"{path}: cannot be read as a package ({shown(str(error))}); ask for it again") from error


def strict_json(data: bytes, where: str) -> Any:
    """The value of a JSON document that somebody else wrote.

    Raises StudyError, which begins with ``where``, when it is too long or too deep, is not UTF-8 or not JSON, has a key
    twice, a number that is not finite, or text with control characters.
    """
    if len(data) > LONGEST_JSON:
        raise StudyError(f"{where}: is longer than {LONGEST_JSON >> 20} MiB")
    text = _decoded(data, where)
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST_JSON:
            raise StudyError(f"{where}: has brackets within brackets more than {DEEPEST_JSON} deep")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise StudyError(f"{where}: has the key {shown(twice)!r} twice")
        return made

    def finite(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise StudyError(f"{where}: {shown(digits)} is no finite number")
        return number

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=finite, parse_float=finite)
    except ValueError as error:
        raise StudyError(f"{where}: is not JSON ({error})") from error
    for found in _texts(value):
        if _UNSHOWN.search(found):
            raise StudyError(f"{where}: {shown(found)!r} has control characters")
    return value


def plain_text(data: bytes, where: str) -> str:
    """A text that somebody else wrote and a person may read in a terminal. Raises StudyError where it is not UTF-8, or
    has control characters."""
    text = _decoded(data, where)
    if _UNSHOWN.search(text.replace("\n", "")):
        raise StudyError(f"{where}: has control characters")
    return text


def showable(text: str) -> bool:
    """Whether a package's JSON may hold ``text``: it has no control characters."""
    return not _UNSHOWN.search(text)


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(f"{where}: is not UTF-8 (at byte {error.start})") from error


def check_fields(value: Any, schema: Mapping[str, Any], where: str) -> None:
    """Raise StudyError, which begins with ``where`` and names the field, for the gravest fault against the schema."""
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return
    at = ".".join(str(part) for part in error.absolute_path)
    raise StudyError(f"{where}: {at}{': ' if at else ''}{shown(error.message)}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.create_system = 3  # the same on every system
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _entries(package: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The zip's entries by name, each of them a plain stored file."""
    listed = package.infolist()
    if len(listed) > MOST_FILES:
        raise StudyError(f"{path}: has {len(listed)} files; a package has {MOST_FILES} at most")
    entries: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for entry in listed:
        _check_name(entry.orig_filename, str(path))
        at = f"{path}: {entry.filename}"
        if entry.filename.lower() in folded:
            raise StudyError(f"{at}: is there twice (names that differ in case alone are the same on some systems)")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise StudyError(f"{at}: is {'a link' if stat.S_ISLNK(kind) else 'no plain file'}")
        if entry.flag_bits & 0x1:
            raise StudyError(f"{at}: is encrypted; encrypt the whole package instead")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise StudyError(f"{at}: is compressed; the files of a package are stored as they are")
        entries[entry.filename] = entry
        folded.add(entry.filename.lower())
    for name in folded:
        for parent in PurePosixPath(name).parents:
            if str(parent) in folded:
                raise StudyError(f"{path}: {parent}: is both a file and a folder")
    if sum(entry.file_size for entry in listed) > path.stat().st_size:
        raise StudyError(f"{path}: its files say they are larger than the package; they lie on top of each other")
    return entries


def _read_manifest(
    package: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], path: Path, kind: Kind
) -> dict[str, Any]:
    at = f"{path}: {MANIFEST}"
    if MANIFEST not in entries:
        raise StudyError(f"{path}: has no {MANIFEST}")
    if entries[MANIFEST].file_size > LONGEST_JSON:
        raise StudyError(f"{at}: is longer than {LONGEST_JSON >> 20} MiB")
    manifest = strict_json(package.read(entries[MANIFEST]), at)
    if not isinstance(manifest, dict):
        raise StudyError(f"{at}: is no object")
    # first of all: a newer format may have other fields
    version = manifest.get("format")
    if type(version) is not int or version < 1:
        raise StudyError(f"{at}: format: a version is missing (a whole number from 1 on)")
    if version > FORMAT:
        raise StudyError(f"{at}: format: {version} is newer than this conceptbridge reads ({FORMAT}); update it")
    for key in manifest:
        if key not in _FIELDS:
            raise StudyError(f"{at}: unknown field {shown(key)!r}; known fields: {', '.join(_FIELDS)}")
    for key in _FIELDS:
        if key not in manifest:
            raise StudyError(f"{at}: the field {key!r} is missing")
    if manifest["kind"] != kind:
        raise StudyError(f"{at}: kind: {shown(str(manifest['kind']))!r} was found where {kind!r} is needed")
    for key in ("about", "files"):
        if not isinstance(manifest[key], dict):
            raise StudyError(f"{at}: {key}: is no object")
    for name, listed in manifest["files"].items():
        _check_name(name, at)
        if name == MANIFEST or name not in entries:
            raise StudyError(f"{at}: files: {name}: is not in the package")
        if not isinstance(listed, dict) or set(listed) != {"sha256", "bytes"}:
            raise StudyError(f"{at}: files: {name}: has to have the fields sha256 and bytes alone")
        if not isinstance(listed["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", listed["sha256"]):
            raise StudyError(f"{at}: files: {name}: sha256: is no SHA-256 (64 hex digits)")
        if listed["bytes"] != entries[name].file_size or type(listed["bytes"]) is not int:
            raise StudyError(f"{at}: files: {name}: bytes: the file has another size than the manifest says")
    for name in entries:
        if name != MANIFEST and name not in manifest["files"]:
            raise StudyError(f"{path}: {name}: is not listed in {MANIFEST}")
    return manifest


def _unpack(package: zipfile.ZipFile, entry: zipfile.ZipInfo, listed: Mapping[str, Any], to: Path, path: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with package.open(entry) as source, to.open("xb") as target:
        if _copy(source, target) != listed["sha256"]:
            raise StudyError(
                f"{path}: {entry.filename}: is not what {MANIFEST} says (another SHA-256); ask for it again"
            )


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy the file and return its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _check_name(name: str, where: str) -> None:
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise StudyError(
            f"{where}: {shown(name)!r} is no name of a file in a package: parts of letters, digits, '.', '_' and '-' "
            f"between '/', none of them hidden or leading out of the folder, {_LONGEST_NAME} characters at most"
        )


def shown(text: str) -> str:
    """``text`` of a stranger as a message can hold it: short, and nothing in it that a terminal would obey."""
    return _UNSHOWN.sub("?", text if len(text) <= 200 else f"{text[:200]}...")

"""Write and read a package: files and a manifest in one zip, the same bytes for the same content.

A package is data from another hospital, so nothing in it is trusted: all of it is checked before it is used. Its files
are stored uncompressed. So it cannot grow when it is unpacked, and its bytes do not depend on a compressor's version.
"""

import hashlib
import json
import math
import re
import stat
import struct
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from conceptbridge.core.atomic_files import atomic_file, atomic_folder
from conceptbridge.core.errors import StudyError

Kind = Literal["bundle", "results"]

#: grows when packages of the old version can no longer be read
FORMAT = 1
MANIFEST = "manifest.json"
#: limits of a JSON document in a package, and of the package
MAX_JSON_BYTES, MAX_JSON_DEPTH = 64 << 20, 20
MAX_FILES = 10_000

#: the time of every file in a package: the first that a zip can hold
_TIME = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_MAX_NAME = 200
_FIELDS = ("format", "kind", "about", "files")
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
# also matches a string that never ends, so that each character is read once
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_CHUNK = 1 << 20


def write_package(folder: Path, kind: Kind, about: Mapping[str, Any], out: Path) -> None:
    """Write all files below ``folder`` and a manifest to the zip ``out``, whole or not at all.

    The manifest holds the format's version, ``kind``, ``about`` (what the package is, as JSON values) and the SHA-256
    and size of every file. Raises StudyError if a file is a link or has a name that ``read_package`` would reject.
    """
    names = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise StudyError(f"{path}: is a link; a package holds only plain files")
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

    The readers of the files check what is in them. Raises StudyError, naming package and fault, if it is not a zip
    file, is of another kind or a newer format, its manifest has unknown or missing fields, or a file is not listed,
    missing, listed twice, a link, compressed or encrypted, has a name that leads out of the folder or cannot be shown,
    or does not have its SHA-256.
    """
    with _opened(path, kind) as (package, entries, manifest), atomic_folder(into) as folder:
        for name, listed in manifest["files"].items():
            _unpack(package, entries[name], listed, folder / name, path)
    about: dict[str, Any] = manifest["about"]
    return about


def read_about(path: Path, kind: Kind) -> dict[str, Any]:
    """Return the ``about`` of the package at ``path``; its files are not read. Raises as ``read_package``."""
    with _opened(path, kind) as (_, _, manifest):
        about: dict[str, Any] = manifest["about"]
        return about


@contextmanager
def _opened(path: Path, kind: Kind) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, zipfile.ZipInfo], dict[str, Any]]]:
    """Yield the open zip, its entries by name, and its manifest, both checked."""
    if not path.is_file():
        raise StudyError(f"{path}: the file does not exist")
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise StudyError(f"{path}: is not a zip file")
            with zipfile.ZipFile(file) as package:
                entries = _entries(package, path)
                yield package, entries, _read_manifest(package, entries, path, kind)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise StudyError(f"{path}: cannot be read as a package ({shown(str(error))}); ask for it again") from error


def strict_json(data: bytes, where: str) -> Any:
    """Return the value of a JSON document that somebody else wrote.

    Raises StudyError, which begins with ``where``, if it is too long or too deep, is not UTF-8 or not JSON, has a key
    twice, a number that is not finite, or text with control characters.
    """
    if len(data) > MAX_JSON_BYTES:
        raise StudyError(f"{where}: is longer than {MAX_JSON_BYTES >> 20} MiB")
    text = _decoded(data, where)
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise StudyError(f"{where}: is nested more than {MAX_JSON_DEPTH} levels deep")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise StudyError(f"{where}: has the key {shown(twice)!r} twice")
        return value

    def finite(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise StudyError(f"{where}: {shown(digits)} is not a finite number")
        return number

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=finite, parse_float=finite)
    except ValueError as error:
        raise StudyError(f"{where}: is not JSON ({error})") from error
    for string in _texts(value):
        if _UNSHOWN.search(string):
            raise StudyError(f"{where}: {shown(string)!r} has control characters")
    return value


def plain_text(data: bytes, where: str) -> str:
    """Return a text that somebody else wrote and a person may read in a terminal.

    Raises StudyError if it is not UTF-8, or has control characters.
    """
    text = _decoded(data, where)
    if _UNSHOWN.search(text.replace("\n", "")):
        raise StudyError(f"{where}: has control characters")
    return text


def showable(text: str) -> bool:
    """Say whether a package's JSON may hold ``text``: it has no control characters."""
    return not _UNSHOWN.search(text)


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(f"{where}: is not UTF-8 (at byte {error.start})") from error


def check_fields(value: Any, schema: Mapping[str, Any], where: str) -> None:
    """Raise StudyError, which begins with ``where`` and names the field, for the worst violation of the schema."""
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return
    at = ".".join(str(part) for part in error.absolute_path)
    raise StudyError(f"{where}: {at}{': ' if at else ''}{shown(error.message)}")


def differences(
    theirs: Any, ours: Any, absent: Any = None, ignored: Collection[str] = (), at: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields in which two JSON values differ, each as deep as it can be named, with both values.

    ``absent`` stands for a field that one of them lacks. Fields named in ``ignored`` are not compared, at any depth.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            if key not in ignored:
                values = theirs.get(key, absent), ours.get(key, absent)
                yield from differences(*values, absent, ignored, f"{at}.{key}" if at else str(key))
    elif theirs != ours or isinstance(theirs, bool) != isinstance(ours, bool):
        yield at, theirs, ours


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
    """Return the zip's entries by name, each of them a plain stored file."""
    listed = package.infolist()
    if len(listed) > MAX_FILES:
        raise StudyError(f"{path}: has {len(listed)} files; a package has at most {MAX_FILES}")
    entries: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for entry in listed:
        _check_name(entry.orig_filename, str(path))
        at = f"{path}: {entry.filename}"
        if entry.filename.lower() in folded:
            raise StudyError(f"{at}: is listed twice (some systems ignore case in names)")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise StudyError(f"{at}: is {'a link' if stat.S_ISLNK(kind) else 'not a plain file'}")
        if entry.flag_bits & 0x1:
            raise StudyError(f"{at}: is encrypted; encrypt the whole package instead")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise StudyError(f"{at}: is compressed; a package stores its files uncompressed")
        entries[entry.filename] = entry
        folded.add(entry.filename.lower())
    for name in folded:
        for parent in PurePosixPath(name).parents:
            if str(parent) in folded:
                raise StudyError(f"{path}: {parent}: is both a file and a folder")
    if sum(entry.file_size for entry in listed) > path.stat().st_size:
        raise StudyError(f"{path}: its files claim to be larger than the package, so they overlap")
    return entries


def _read_manifest(
    package: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], path: Path, kind: Kind
) -> dict[str, Any]:
    at = f"{path}: {MANIFEST}"
    if MANIFEST not in entries:
        raise StudyError(f"{path}: has no {MANIFEST}")
    if entries[MANIFEST].file_size > MAX_JSON_BYTES:
        raise StudyError(f"{at}: is longer than {MAX_JSON_BYTES >> 20} MiB")
    manifest = strict_json(package.read(entries[MANIFEST]), at)
    if not isinstance(manifest, dict):
        raise StudyError(f"{at}: is not a JSON object")
    # first, because a newer format may have other fields
    version = manifest.get("format")
    if type(version) is not int or version < 1:
        raise StudyError(f"{at}: format: must be a whole number, 1 or more")
    if version > FORMAT:
        raise StudyError(
            f"{at}: format: {version} is newer than this conceptbridge can read ({FORMAT}); update conceptbridge"
        )
    for key in manifest:
        if key not in _FIELDS:
            raise StudyError(f"{at}: unknown field {shown(key)!r}; known fields: {', '.join(_FIELDS)}")
    for key in _FIELDS:
        if key not in manifest:
            raise StudyError(f"{at}: the field {key!r} is missing")
    if manifest["kind"] != kind:
        raise StudyError(f"{at}: kind: is {shown(str(manifest['kind']))!r}, expected {kind!r}")
    for key in ("about", "files"):
        if not isinstance(manifest[key], dict):
            raise StudyError(f"{at}: {key}: is not a JSON object")
    for name, listed in manifest["files"].items():
        _check_name(name, at)
        if name == MANIFEST or name not in entries:
            raise StudyError(f"{at}: files: {name}: is not in the package")
        if not isinstance(listed, dict) or set(listed) != {"sha256", "bytes"}:
            raise StudyError(f"{at}: files: {name}: must have exactly the fields sha256 and bytes")
        if not isinstance(listed["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", listed["sha256"]):
            raise StudyError(f"{at}: files: {name}: sha256: is not 64 hex digits")
        if listed["bytes"] != entries[name].file_size or type(listed["bytes"]) is not int:
            raise StudyError(f"{at}: files: {name}: bytes: is not the size of the file")
    for name in entries:
        if name != MANIFEST and name not in manifest["files"]:
            raise StudyError(f"{path}: {name}: is not listed in {MANIFEST}")
    return manifest


def _unpack(package: zipfile.ZipFile, entry: zipfile.ZipInfo, listed: Mapping[str, Any], to: Path, path: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with package.open(entry) as source, to.open("xb") as target:
        if _copy(source, target) != listed["sha256"]:
            raise StudyError(f"{path}: {entry.filename}: does not have the SHA-256 in {MANIFEST}; ask for it again")


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy the file and return its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _check_name(name: str, where: str) -> None:
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise StudyError(
            f"{where}: {shown(name)!r} is not a valid file name in a package: use parts of letters, digits, '.', '_' "
            f"and '-' between '/', none hidden or leading out of the folder, and at most {_MAX_NAME} characters"
        )


def shown(text: str) -> str:
    """Return a stranger's text as a message can hold it: short, and without anything that a terminal would obey."""
    return _UNSHOWN.sub("?", text if len(text) <= 200 else f"{text[:200]}...")

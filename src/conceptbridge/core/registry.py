"""Find classes by name: our own, and those that installed packages declare as entry points."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest

Part = TypeVar("Part")


class Registry(Mapping[str, str]):
    """Name -> full name of the module that has the class. Only ``load`` imports the module.

    ``kind`` is the word for one of them in messages, ``group`` their entry point group. ``own`` are the classes of this
    package, name -> ``module:class``. They need no entry point, so a checkout works without being installed.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind, self.group, self.own = kind, group, own

    def load(self, name: str) -> Any:
        """Return the class of that name. Raises StudyError if there is none, or if it cannot be imported."""
        known = self._known()
        if name not in known:
            raise StudyError(f"there is no {self.kind} {name!r}{nearest(name, known)}; there are {', '.join(known)}")
        module, _, attribute = known[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except Exception as error:  # another package's module can raise anything on import
            raise StudyError(
                f"the {self.kind} {name!r} ({known[name]}) cannot be imported: {type(error).__name__}: {error}; "
                "fix the package that provides it, or remove it from the study"
            ) from error

    def find(self, name: str, base: type[Part]) -> type[Part]:
        """Return the subclass of ``base`` of that name. Raises StudyError if it is not one, or has another ``name``."""
        result = self.load(name)
        if not (isinstance(result, type) and issubclass(result, base) and getattr(result, "name", None) == name):
            raise StudyError(
                f"the {self.kind} {name!r} of the module {self[name]} must be a subclass of {base.__module__}."
                f"{base.__name__} whose `name` is {name!r}"
            )
        return result

    def __getitem__(self, name: str) -> str:
        return self._known()[name].partition(":")[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> dict[str, str]:
        """Name -> ``module:class``. Raises StudyError if two packages declare the same name."""
        known = dict(self.own)
        owner = dict.fromkeys(self.own, "conceptbridge")
        for point in installed(self.group):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
            if known.get(point.name, point.value) != point.value:
                raise StudyError(
                    f"there are two {self.kind}s named {point.name!r}: {known[point.name]} of {owner[point.name]} and "
                    f"{point.value} of {package}; uninstall one of them"
                )
            known[point.name], owner[point.name] = point.value, package
        return known


@cache
def installed(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of all installed packages, sorted by name."""
    return tuple(sorted(entry_points(group=group), key=lambda point: (point.name, point.value)))

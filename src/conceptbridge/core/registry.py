"""Classes that are found by name: our own, and those that installed packages give through an entry point."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest

Part = TypeVar("Part")


class Registry(Mapping[str, str]):
    """Name -> full name of the module that has the class; a module is only imported by ``load``.

    ``kind`` is what a message calls one of them, ``group`` the group of their entry points, and ``own`` are those of
    this package: name -> ``module:class``. They need no entry point, so that a checkout works without being installed.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind, self.group, self.own = kind, group, own

    def load(self, name: str) -> Any:
        """The class of that name. Raises StudyError when there is none, or when it cannot be imported."""
        found = self._found()
        if name not in found:
            raise StudyError(f"there is no {self.kind} {name!r}{nearest(name, found)}; there are {', '.join(found)}")
        module, _, attribute = found[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except Exception as error:  # whatever another package's module does when it is imported
            raise StudyError(
                f"the {self.kind} {name!r} ({found[name]}) cannot be imported: {type(error).__name__}: {error}; "
                "mend the package that it is from, or leave it out"
            ) from error

    def find(self, name: str, base: type[Part]) -> type[Part]:
        """The class of that name, a subclass of ``base`` whose ``name`` it is. Raises StudyError when it is not."""
        found = self.load(name)
        if not (isinstance(found, type) and issubclass(found, base) and getattr(found, "name", None) == name):
            raise StudyError(
                f"the {self.kind} {name!r} of the module {self[name]} has to be a subclass of {base.__module__}."
                f"{base.__name__} whose `name` is {name!r}"
            )
        return found

    def __getitem__(self, name: str) -> str:
        return self._found()[name].partition(":")[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    def _found(self) -> dict[str, str]:
        """Name -> ``module:class``. Raises StudyError when two packages have given one name."""
        found = dict(self.own)
        giver = dict.fromkeys(self.own, "conceptbridge")
        for point in installed(self.group):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
            if found.get(point.name, point.value) != point.value:
                raise StudyError(
                    f"the {self.kind} {point.name!r} is there twice: {found[point.name]} of {giver[point.name]} and "
                    f"{point.value} of {package}; uninstall one of them"
                )
            found[point.name], giver[point.name] = point.value, package
        return found


@cache
def installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of all installed packages, by name."""
    return tuple(sorted(entry_points(group=group), key=lambda point: (point.name, point.value)))

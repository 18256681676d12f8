"""The sites that take part, as the one who asks them sees them: here in one process, elsewhere in others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.federated.client import Client


class Asked(Protocol):
    """Whom questions can be put to: all sites of a study."""

    @property
    def names(self) -> Sequence[str]: ...

    def ask(self, question: str, asked: dict[str, Any], of: Sequence[str]) -> list[Answer]:
        """The answers of these sites, in this order, whichever comes first."""


@dataclass(frozen=True)
class Sites:
    """The sites that take part, in the study's order, with how many training rows, events among them, and validation
    rows each has, (sites,), and in how many ``draws`` the vectors are drawn."""

    names: Sequence[str]
    rows: NDArray[np.float64]
    events: NDArray[np.float64]
    check_rows: NDArray[np.float64]
    draws: int
    asked: Asked

    def ask(self, question: str, asked: dict[str, Any]) -> list[Answer]:
        """The answers of all, in their order."""
        return self.asked.ask(question, asked, self.names)


@dataclass(frozen=True)
class InProcess:
    """Sites in this process."""

    clients: dict[str, Client]

    @property
    def names(self) -> Sequence[str]:
        return list(self.clients)

    def ask(self, question: str, asked: dict[str, Any], of: Sequence[str]) -> list[Answer]:
        return [self.clients[name].answer(question, asked) for name in of]


def summed(arrays: Sequence[Any], shares: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """The sum of the sites' arrays, each times its share, in 64 bits and in the sites' order, so that it does not
    depend on who answered first. A share of 0 has no array to be counted (None)."""
    total: Any = None
    for k, array in enumerate(arrays):
        share = 1.0 if shares is None else float(shares[k])
        if share == 0:
            continue
        part = np.asarray(array, np.float64) * share
        total = part if total is None else total + part
    assert total is not None
    return np.asarray(total)

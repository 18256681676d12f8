"""The base class of a learner: what it is set with, how it is trained and used, and what its models save.

A learner is one class in one module, listed in ``study/learners.py`` or, from another package, under the entry point
``conceptbridge.learners`` (name = "module:Class"). The config's schema, the presets, bundles, the check of what leaves
a site and the check of what is received all read the class. It is imported whenever a study is planned, so a module
that takes long to import is imported within the methods that need it (``EngineLearner``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from conceptbridge.study.learners import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, LearnerSpec, Setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from conceptbridge.learn.input_space import Space
    from conceptbridge.learn.rows import Examples, OneHot
    from conceptbridge.learn.search import Run

# with the imported ones, which every learner needs
__all__ = [
    "BELOW_ONE",
    "COUNT",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SHARE",
    "Array",
    "Engine",
    "EngineLearner",
    "Learner",
    "Model",
    "Saves",
    "Setting",
]


@dataclass(frozen=True)
class Array:
    """An array of a saved model.

    Each of its ``sizes`` is a number; or ``seeds``, one for each model; or ``inputs`` (``Learner.inputs``); or another
    name for what the learner is free to choose, which is then the same wherever it stands. ``dtype``: as safetensors
    calls it.
    """

    sizes: tuple[int | str, ...]
    dtype: str = "F32"


@dataclass(frozen=True)
class Saves:
    """What ``Model.save`` writes to a folder, all of it: nothing else is sent to another hospital, or taken from one.

    ``arrays``: of each safetensors file, its arrays by name. ``lightgbm_text``: the files of LightGBM's text, one a
    seed, with ``{seed}`` in their name. ``fields``: what model.json holds of the model beside ``seeds`` and ``kept``,
    by name, the JSON schema of each: numbers, texts, lists of them.
    """

    arrays: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    lightgbm_text: str | None = None
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def files(self, seeds: Sequence[int]) -> list[str]:
        """The names of the files of a model with these seeds, model.json apart."""
        texts = [self.lightgbm_text.format(seed=seed) for seed in seeds] if self.lightgbm_text else []
        return [*self.arrays, *texts]


class Model(Protocol):
    """What a learner's models are: one member a run, in the runs' order.

    A learner that declares a ``cap`` gives its models ``capped`` too: of each member ``search.WITHIN``, ``EXTENDED`` or
    ``AT_CAP`` (``search.cap_use``).
    """

    @property
    def seeds(self) -> list[int]:
        """The seed of each member."""

    @property
    def losses(self) -> list[float]:
        """Its mean cross-entropy on the rows that checked it; infinite where there were none."""

    @property
    def kept(self) -> list[int]:
        """After how many steps, trees or iterations each was kept."""

    @property
    def steps(self) -> int:
        """What training took, for all members together, in the same unit."""

    def take(self, members: Sequence[int]) -> Model:
        """The model of these members, in this order."""

    def join(self, others: Sequence[Any]) -> Model:
        """The model of these members and those of ``others``, one model after the other."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what the learner's ``saves`` declares to ``folder``, and return ``seeds``, ``kept`` and its fields."""


M = TypeVar("M", bound=Model)


class Learner(LearnerSpec, ABC, Generic[M]):
    """A learner whose models are of the class ``M``. ``LearnerSpec`` has what it declares for a study's config."""

    saves: ClassVar[Saves]

    @abstractmethod
    def fit(self, examples: Examples, runs: Sequence[Run]) -> M:
        """Train one member a run, on the rows, with the settings and from the seed of each.

        A run's result does not depend on the runs beside it. The rows that check a run decide which of its states is
        kept; where it has none, the last one is.
        """

    @abstractmethod
    def tune(
        self, source: M, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
    ) -> tuple[M, list[M]]:
        """Go on from the source's members, one a run: with the smallest part of them (``head_only``) or with all.

        Returns the model, and those after each of ``depths``, shares of the way, in their order; none where there is
        no way but one step.
        """

    def begin(self, space: Space, runs: Sequence[Run]) -> M:
        """The untrained members, one a run, for the tokens of this ``space``: only a learner whose weights are averaged
        (``federated.weights``) has such."""
        raise NotImplementedError

    def widen(self, model: M, vectors: OneHot, head_only: bool) -> M | None:
        """The source's model with more inputs, before it is tuned: for the last ``vectors.added`` of the one-hot
        ``vectors``, tokens of the target that the source never had.

        They begin at zero, or as near to it as they can be trained from; a row without them has the prediction that it
        had. None, which is the default, leaves the model as it is: these tokens stay missing to it.
        """
        return None

    def translate(self, model: M, mix: csr_array, center: float) -> M | None:
        """The source's one-hot model with more inputs, for tokens of a target that are read as mixes of the source's.

        ``mix`` (tokens, inputs before) has what each stands for; ``center`` is that of the one-hot vectors before. The
        inputs after are those before and then the tokens, of vectors ``identity * scale``, without a center. A row
        without such a token has the prediction that it had, to the byte (``transformer``: to 1e-6, as rows that are
        padded together are rounded together). None, which is the default, where a mix is
        nothing to the model: each of these tokens is then read as the one that it stands for most.
        """
        return None

    @abstractmethod
    def predict(self, model: M, examples: Examples) -> NDArray[np.float64]:
        """Probability of the outcome: shape (members, rows), in the rows' order."""

    @abstractmethod
    def load(self, folder: Path, description: Mapping[str, Any]) -> M:
        """The model that ``save`` wrote to ``folder``; ``description`` is its model.json."""

    def inputs(self, width: int, onehot: bool, description: Mapping[str, Any]) -> int:
        """The numbers that a model takes in of a token or a row: what ``inputs`` means as the size of an array.

        ``width`` is that of the tokens' vectors, one-hot or not; ``description`` is the model's model.json, with its
        ``space`` (``Space.save``).
        """
        return width

    @classmethod
    def check_sizes(cls, sizes: Mapping[str, int]) -> str | None:
        """What is wrong with the sizes of a received model's arrays, by the names in ``saves``, and ``windows``, in how
        many its vectors are pooled; None for nothing.

        That each is the same wherever it stands is known.
        """
        return None


class Engine(Protocol[M]):
    """A module that does what ``Learner`` asks for, as functions of the same names."""

    def fit(self, examples: Examples, runs: Sequence[Run], /) -> M: ...

    def tune(
        self, source: M, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float], /
    ) -> tuple[M, list[M]]: ...

    def widen(self, model: M, vectors: OneHot, head_only: bool, /) -> M | None: ...

    def translate(self, model: M, mix: csr_array, center: float, /) -> M | None: ...

    def predict(self, model: M, examples: Examples, /) -> NDArray[np.float64]: ...

    def load(self, folder: Path, description: Mapping[str, Any], /) -> M: ...


class EngineLearner(Learner[M]):
    """A learner whose work is done by a module of its own, which is imported when it is first needed."""

    @staticmethod
    @abstractmethod
    def engine() -> Engine[M]:
        """Import the module and return it."""

    def fit(self, examples: Examples, runs: Sequence[Run]) -> M:
        return self.engine().fit(examples, runs)

    def tune(
        self, source: M, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
    ) -> tuple[M, list[M]]:
        return self.engine().tune(source, examples, runs, head_only, depths)

    def widen(self, model: M, vectors: OneHot, head_only: bool) -> M | None:
        return self.engine().widen(model, vectors, head_only)

    def translate(self, model: M, mix: csr_array, center: float) -> M | None:
        return self.engine().translate(model, mix, center)

    def predict(self, model: M, examples: Examples) -> NDArray[np.float64]:
        return self.engine().predict(model, examples)

    def load(self, folder: Path, description: Mapping[str, Any]) -> M:
        return self.engine().load(folder, description)

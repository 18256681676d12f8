"""A package with a learner of its own, installed as pip would leave it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path

from conceptbridge.core import code_fingerprint
from conceptbridge.core.registry import installed

LEARNER = '''
"""A learner in one file: it says how common the outcome is."""

from dataclasses import dataclass, replace

from conceptbridge.learn.learner import POSITIVE, SHARE, Array, Learner, Saves, Setting


@dataclass(frozen=True)
class Rates:
    rates: list
    seeds: list
    losses: list
    kept: list
    steps: int = 0

    def take(self, members):
        picked = {name: [getattr(self, name)[i] for i in members] for name in ("rates", "seeds", "losses", "kept")}
        return replace(self, **picked)

    def join(self, others):
        each = [self, *others]
        lists = {name: [v for one in each for v in getattr(one, name)] for name in ("rates", "seeds", "losses", "kept")}
        return replace(self, **lists, steps=sum(one.steps for one in each))

    def save(self, folder):
        import numpy as np
        from safetensors.numpy import save_file

        save_file({"rates": np.array(self.rates)}, folder / "rates.safetensors")
        return {"seeds": self.seeds, "kept": self.kept, "unit": "per row"}


class Toy(Learner[Rates]):
    name = "toy"
    settings = {"times": Setting("what the rate is multiplied with", POSITIVE)}
    tuning = {
        "tune-head": {"weight": Setting("of the target's own rate", SHARE)},
        "tune-all": {"weight": Setting("of the target's own rate", SHARE)},
    }
    defaults = {"fair": {"times": [0.5, 1.0], "tune-head": {"weight": 0.1}, "tune-all": {"weight": [0.1, 0.9]}}}
    saves = Saves(
        arrays={"rates.safetensors": {"rates": Array(("seeds",), "F64")}}, fields={"unit": {"const": "per row"}}
    )

    def fit(self, examples, runs):
        rates = [float(examples.labels[run.part.train].mean()) * run.settings["times"] for run in runs]
        return self._checked(rates, examples, runs)

    def tune(self, source, examples, runs, head_only, depths=()):
        rates = []
        for rate, run in zip(source.rates, runs, strict=True):
            weight, own = run.settings["weight"], float(examples.labels[run.part.train].mean())
            rates.append((1 - weight) * rate + weight * own)
        return self._checked(rates, examples, runs), []

    def predict(self, model, examples):
        import numpy as np

        return np.repeat(np.array(model.rates)[:, None], len(examples), axis=1)

    def load(self, folder, description):
        from safetensors.numpy import load_file

        rates, seeds = load_file(folder / "rates.safetensors")["rates"].tolist(), description["seeds"]
        return Rates(rates, seeds, [float("nan")] * len(seeds), description["kept"])

    def _checked(self, rates, examples, runs):
        from conceptbridge.learn.search import cross_entropy

        losses = []
        for rate, run in zip(rates, runs, strict=True):
            labels = examples.labels[run.part.check]
            losses.append(cross_entropy(labels, labels * 0.0 + rate))
        return Rates(rates, [run.seed for run in runs], losses, [1] * len(runs))
'''


@contextmanager
def installed_package(
    folder: Path, name: str, entry_points: str, group: str = "conceptbridge.learners", **modules: str
) -> Iterator[Path]:
    """Put a package with these ``modules`` on Python's path; ``entry_points`` of a ``group``, a line each."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry_points}\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    sys.path.insert(0, str(folder))
    _forget(*modules)
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        _forget(*modules)


def _forget(*modules: str) -> None:
    """Look anew for entry points and modules."""
    invalidate_caches()
    installed.cache_clear()
    code_fingerprint._folders.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


@contextmanager
def installed_toy(folder: Path) -> Iterator[Path]:
    """A package ``toy`` with the learner ``toy``."""
    with installed_package(folder, "toy", "toy = toy:Toy", toy=LEARNER) as path:
        yield path

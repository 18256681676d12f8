"""What all tests run under, and how they are shared between processes (pytest --numprocesses)."""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# a job of the workflow has one thread unless its rule asks for more; so have the tests
os.environ.setdefault("OMP_NUM_THREADS", "1")
# where SLURM is installed and does not run, Snakemake's plugin for it waits nine seconds for it at every start
os.environ["SLURM_CONF"] = os.devnull


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole studies come first, and what is short fills the gaps behind them."""
    kinds = ["tests/workflow/", "tests/real/", "tests/unit/"]
    items.sort(key=lambda item: next(place for place, kind in enumerate(kinds) if item.nodeid.startswith(kind)))


class ByStudy(LoadScopeScheduling):
    """A file's tests stay in one process, and so do the two files that look at the study ``done``."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("::")[0].replace("test_reruns.py", "test_dag.py")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStudy:
    return ByStudy(config, log)

"""A command imports what it needs: a job is short, and there are many."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.read_parquet import read_table

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
CODE = """
import sys

import command
import conceptbridge.embed.quality
import conceptbridge.evaluate.evaluate
import conceptbridge.learn.boosted_trees
import conceptbridge.learn.networks.cnn
import conceptbridge.tasks.cohort
import conceptbridge.tasks.leaks

known = ("cffi", "charset_normalizer", "pyarrow.dataset", "scipy.stats", "sklearn")
print([name for name in known if name in sys.modules])
from sklearn.linear_model import LogisticRegression
import cffi, charset_normalizer
"""


def test_a_command_imports_nothing_that_is_only_offered_and_has_it_when_it_asks() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr


@pytest.mark.parametrize("pandas", [True, False])
def test_arrow_finds_pandas_only_in_a_command_that_uses_it(pandas: bool) -> None:
    code = f"""if True:
        import argparse, sys
        from command import run
        import pyarrow
        run(argparse.ArgumentParser(), lambda a: print(len(pyarrow.array([1, 2])), "pandas" in sys.modules), {pandas})
    """
    run = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == (f"2 {pandas}\n", 0), run.stderr


def test_columns_are_read_in_the_order_in_which_they_are_asked_for(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(3), "b": ["x", "y", None], "c": [[1], [], None]})
    pq.write_table(table, tmp_path / "table.parquet")
    assert read_table(tmp_path / "table.parquet").equals(table)
    assert read_table(tmp_path / "table.parquet", columns=["c", "a"]).equals(table.select(["c", "a"]))
    [kind] = read_table(tmp_path / "table.parquet", columns=["b"], read_dictionary=["b"]).schema.types
    assert pa.types.is_dictionary(kind)
    with pytest.raises(KeyError):
        read_table(tmp_path / "table.parquet", columns=["d"])

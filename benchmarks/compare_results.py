"""Do two results folders hold the same numbers? `python benchmarks/compare_results.py OLD_RESULTS NEW_RESULTS`.

Compares all predictions, metrics and joint tables, through the names that changed since commit 11a00db. Numbers have to
be exactly equal, keys as well; a sentence (why there is no estimate) only has to be there or not. Prints each
difference, and exits 1 where there is one.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FOLDERS = ("arms", "metrics", "tables")
#: what is renamed: old name -> new name
TABLES = {"spent": "training_budget", "points": "binned_curves", "main": "auroc_matrix"}
#: by the table's new name
COLUMNS = {
    "breakeven": {"reached": "status"},
    "curves": {"sd": "auroc_sd", "repeats": "replicates"},
    "site": {"events_a_row": "tokens_per_row"},
    "sites": {"events_a_row": "tokens_per_row"},
}
#: by the column's new name
VALUES = {
    "question": {
        "home": "vs_best_local",
        "abroad": "vs_best_transferred",
        "borrowing": "transfer_gain",
        "meaning": "vs_control",
    },
    "role": {"best_borrowed": "best_transferred"},
}
#: columns that hold sentences, which may be worded anew
SENTENCES = {"reason"}


def renamed(path: Path) -> Path:
    """Return the path of a file, relative to the results, under its new name."""
    return path if path.parts[0] == "arms" else path.with_stem(TABLES.get(path.stem, path.stem))


def tables_of(results: Path) -> dict[Path, Path]:
    """Return the tables of a results folder: their paths relative to it, under the new names, and where they are."""
    files = (file for folder in FOLDERS for file in (results / folder).rglob("*.parquet"))
    return {renamed(file.relative_to(results)): file for file in files}


def read(file: Path, name: str) -> pa.Table:
    """Read a table with plain texts, under the new names of its columns and values."""
    table = pq.read_table(file)
    table = table.rename_columns([COLUMNS.get(name, {}).get(column, column) for column in table.column_names])
    for index, column in enumerate(table.column_names):
        values = table[column].combine_chunks()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if column in VALUES:
            new = VALUES[column]
            values = pa.array([new.get(value, value) for value in values.to_pylist()], values.type)
        if column in SENTENCES:
            values = pc.is_valid(values)
        table = table.set_column(index, column, values)
    return table


def differences(old: pa.Table, new: pa.Table) -> Iterator[str]:
    """Yield what is different, the columns that only one of the tables has first."""
    for column in [*old.column_names, *new.column_names]:
        if (column in old.column_names) != (column in new.column_names):
            yield f"column {column}: only in the {'old' if column in old.column_names else 'new'} results"
    if len(old) != len(new):
        yield f"{len(old)} rows in the old results, {len(new)} in the new ones"
        return
    for column in (name for name in old.column_names if name in new.column_names):
        before, after = old[column].to_pylist(), new[column].to_pylist()
        unequal = [
            row for row, (a, b) in enumerate(zip(before, after, strict=True)) if a != b and not (a != a and b != b)
        ]
        if unequal:
            first = unequal[0]
            values = f"{before[first]!r} and {after[first]!r}"
            yield f"column {column}: {len(unequal)} of {len(old)} rows differ, the first is {first}: {values}"


def main() -> None:
    """Compare and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD_RESULTS")
    parser.add_argument("new", type=Path, metavar="NEW_RESULTS")
    a = parser.parse_args()
    before, after = tables_of(a.old), tables_of(a.new)
    if not before:
        sys.exit(f"{a.old}: has no tables in {', '.join(FOLDERS)}")
    cells, found = 0, 0
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after:
            old, new = (read(files[name], name.stem) for files in (before, after))
            cells += old.num_rows * old.num_columns
            lines = list(differences(old, new))
        else:
            lines = [f"only in the {'old' if name in before else 'new'} results"]
        found += len(lines)
        for line in lines:
            print(f"{name}: {line}")
    same = f"{len(before.keys() & after.keys())} tables with {cells:,} cells"
    print(f"{same}: {found} differences" if found else f"{same}: all the same")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

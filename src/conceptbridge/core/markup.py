"""Write tables as Markdown and LaTeX."""

from typing import Any

import pyarrow as pa


def latex(table: pa.Table, note: str) -> str:
    """Return a LaTeX longtable (packages longtable and booktabs): three decimals, numbers right-aligned."""
    head = " & ".join(_tex(name) for name in table.column_names) + r" \\"
    columns = "".join("r" if right else "l" for right in _numeric(table))
    body = [" & ".join(_tex(_cell(value)) for value in row.values()) + r" \\" for row in table.to_pylist()]
    lines = [f"% {note}", rf"\begin{{longtable}}{{{columns}}}", r"\toprule", head, r"\midrule", r"\endhead"]
    return "\n".join([*lines, *body, r"\bottomrule", r"\end{longtable}", ""])


_TEX = str.maketrans(
    {one: f"\\{one}" for one in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}", "~": r"\textasciitilde{}"}
    | {"^": r"\textasciicircum{}"}
)


def _tex(text: str) -> str:
    return text.replace("\\|", "|").translate(_TEX)


def _numeric(table: pa.Table) -> list[bool]:
    return [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in table.schema]


def markdown(table: pa.Table) -> str:
    """Return a Markdown table: three decimals, nulls empty, numbers right-aligned."""
    lines = [table.column_names, ["---:" if right else "---" for right in _numeric(table)]]
    lines += [[_cell(value) for value in row.values()] for row in table.to_pylist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")

"""What EXPLAIN ANALYZE tells of a statement, in lines short enough to stand beside those of another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import orjson

INDEX_MARK = "▶"  # before every scan that goes by an index
_LONGEST_DETAIL = 90
_INDEX_SCAN = "INDEX SCAN"
_WRAPPERS = ("RESULT_COLLECTOR", "EXPLAIN_ANALYZE")


@dataclass(frozen=True, slots=True)
class Plan:
    """How DuckDB ran a statement.

    Attributes:
        text: One line an operator, the last one to run first, what feeds it below and further in: what it did, rows it
            gave on, time it took. Scans by an index begin with `INDEX_MARK`.
        rows: Of the result.
        is_index_used: Whether any scan went by an index.
    """

    text: str
    rows: int
    is_index_used: bool


def explain(con: duckdb.DuckDBPyConnection, statement: str, values: object) -> Plan:
    """Run a statement and tell how.

    Args:
        con: The index, open for reading.
        statement: One SELECT.
        values: Its parameters.
    """
    found = con.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).fetchone()
    plan: dict[str, Any] = orjson.loads(found[1]) if found else {}
    roots = plan.get("operator", plan.get("children", []))
    while roots and roots[0]["type"] in _WRAPPERS:
        roots = roots[0]["children"]
    lines = [line for root in roots for line in _lines(root, 0)]
    is_index_used = any(line.lstrip().startswith(INDEX_MARK) for line in lines)
    rows = len(con.execute(statement, values).fetchall())  # the plan's top may be an operator that counts none
    return Plan("\n".join(lines), rows, is_index_used)


def _lines(operator: dict[str, Any], depth: int) -> Iterator[str]:
    """Write an operator and what feeds it. Projections only pass on: they are left out."""
    is_shown = operator["type"] != "PROJECTION"
    if is_shown:
        yield f"{'  ' * depth}{_line(operator)}"
    for child in operator.get("children", []):
        yield from _lines(child, depth + is_shown)


def _line(operator: dict[str, Any]) -> str:
    """Write one operator."""
    detail = operator.get("extra_info", {})
    kind = str(detail.get("Type", operator["type"])).upper().replace("_", " ")
    words = [kind, *(_short(detail[name]) for name in _DETAILS if detail.get(name))]
    read = detail.get("Row Groups Scanned")
    numbers = [
        *([f"{INDEX_MARK} {' '.join(words)}"] if kind == _INDEX_SCAN else [" ".join(words)]),
        *([f"{read} row groups"] if read and kind != _INDEX_SCAN else []),
        f"{operator['intermediate_rows']:,} rows",
        f"{1_000 * operator['timing']:.2f} ms",
    ]
    return " · ".join(numbers)


# What tells one operator from another of its kind.
_DETAILS = (
    "Table",
    "Function",
    "CTE Name",
    "Join Type",
    "Conditions",
    "Filters",
    "Dynamic Filters",
    "Groups",
    "Order By",
)


def _short(detail: object) -> str:
    """Write a detail on one short line."""
    text = ", ".join(map(str, detail)) if isinstance(detail, list) else str(detail)
    text = " ".join(text.replace("index_db.main.", "").split())
    return text if len(text) <= _LONGEST_DETAIL else f"{text[: _LONGEST_DETAIL - 1]}…"

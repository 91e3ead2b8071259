"""Small pieces of SQL text."""

from collections.abc import Iterable


def texts(values: Iterable[str]) -> str:
    """Write strings as the right side of an IN.

    As constants in the text of a query, DuckDB leaves out the row groups that hold none of them; of a parameter it
    knows too little when it plans.

    Args:
        values: At least one; any text, ids of documents are whatever OpenCode's files say.

    Returns:
        `('a', 'b')`, quoted.
    """
    return "(" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + ")"

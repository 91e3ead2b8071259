"""Strings in the text of a query: whatever OpenCode's files say has to arrive as it is."""

import duckdb
import pytest

from indexer import sql


@pytest.mark.parametrize("value", ["plain", "it's", "''", "a\\'b", "semi;colon -- comment", "$1 ?", "nul\0byte", "é\n"])
def test_texts_any_string_is_found_and_nothing_else(value: str) -> None:
    """No character ends the string early."""
    con = duckdb.connect()

    found = con.execute(
        f"SELECT v FROM (SELECT unnest($all) AS v) WHERE v IN {sql.texts([value, 'b'])}", {"all": [value, "a"]}
    )

    assert found.fetchall() == [(value,)]


def test_texts_none_matches_nothing() -> None:
    """`IN ()` would not be SQL."""
    found = duckdb.connect().execute(f"SELECT v FROM (SELECT unnest(['a', NULL]) AS v) WHERE v IN {sql.texts([])}")

    assert found.fetchall() == []

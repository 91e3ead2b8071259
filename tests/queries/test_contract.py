"""What is said about the tables of the index."""

from collections.abc import Callable

import duckdb

from indexer import published
from queries import contract
from queries.contract import Column, Comments, Table
from tests.builders import assistant, project, session, user
from tests.conftest import OpenIndex

SQL = """\
-- About everything.

-- One row per cat.
-- Two lines.
CREATE TABLE cats (
    cat_id   VARCHAR PRIMARY KEY,    -- its collar
    weight   DECIMAL(18, 12) NOT NULL,
    vendor   VARCHAR,                -- who sold it: a shop; or a friend
    PRIMARY KEY (cat_id, weight)
);
CREATE TABLE dogs (name VARCHAR PRIMARY KEY);

-- Cats that are heavy.
CREATE VIEW heavy AS
SELECT c.*
FROM cats c JOIN dogs USING (name);
CREATE INDEX idx_cats ON cats (vendor);
"""
SPEND = """\
-- Bills.
CREATE VIEW spend AS SELECT * FROM messages;
CREATE TABLE messages (
    cost_recorded_usd DECIMAL(18, 12) -- in dollars
);
"""


def test_comments_tables_and_views_are_read() -> None:
    """The comment right before, and those behind columns; a view tells what it reads."""
    found = contract.comments(SQL)

    assert found == {
        "cats": Comments(
            "One row per cat. Two lines.", {"cat_id": "its collar", "vendor": "who sold it: a shop; or a friend"}, ()
        ),
        "dogs": Comments("", {}, ()),
        "heavy": Comments("Cats that are heavy.", {}, ("cats", "dogs")),
    }


def test_tables_view_takes_the_meanings_of_its_tables(open_index: OpenIndex) -> None:
    """Names and types are those of the index; what nobody explains has no meaning."""
    con = open_index(project(), session(), user(), assistant())

    found = {table.name: table for table in contract.tables(con, SPEND)}

    assert found["spend"].meaning == "Bills."
    assert Column("cost_recorded_usd", "DECIMAL(18,12)", "in dollars") in found["spend"].columns
    assert Column("model", "VARCHAR", "") in found["spend"].columns
    assert found["agents"] == Table("agents", "", (Column("name", "VARCHAR", ""),))


def test_tables_every_one_of_the_index_is_documented(
    real_index: Callable[[str], duckdb.DuckDBPyConnection],
) -> None:
    """What a row is; and the index has nothing that its SQL does not name."""
    con = real_index("json")

    found = contract.tables(con, published.contract())

    assert [table.name for table in found if not table.meaning] == []
    assert [table.name for table in found] == list(contract.comments(published.contract()))
    assert {"spend", "messages", "session_stats"} <= {table.name for table in found}
    assert all(table.columns for table in found)
    spend = next(table for table in found if table.name == "spend")
    assert Column("cost_recorded_usd", "DECIMAL(18,12)", "NULL: not recorded") in spend.columns

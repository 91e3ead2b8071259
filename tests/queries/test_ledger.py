"""Each line of the ledger adds up another stored source, and leads to exactly the row that is wrong."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from indexer.published import IndexReader
from queries import costs
from queries.ledger import LedgerLine, LedgerRow, ledger, ledger_rows
from queries.ledger_lines import LINES
from queries.period import Period, Scope
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    damaged,
    row,
    session,
    step_finish,
    tokens,
    usd,
    user,
    write_json_tree,
    write_session_messages,
    write_sqlite,
)
from tests.conftest import DATA_SETS, BuildIndex, OpenIndex
from tests.pages.conftest import change

ALL = Scope()
CHECKS = [key for key, line in LINES.items() if line.is_check]
STEP = tokens(100, 20, total=120)
TWO_STEPS = tokens(200, 40, total=240)

# Two sessions; in the first one two answers of the same quarter of an hour, of which the first has two steps.
DOCS: tuple[Doc, ...] = (
    session("ses_1", version="1.18.33", cost=0.75, tokens=tokens(300)),
    user("msg_1u", "ses_1"),
    assistant("msg_2a", "ses_1", usage=STEP, cost=0.5),
    step_finish("prt_21", STEP, "msg_2a", "ses_1"),
    step_finish("prt_22", STEP, "msg_2a", "ses_1"),
    assistant("msg_3a", "ses_1", usage=STEP, created=START_MS + 6_000, completed=START_MS + 7_000),
    step_finish("prt_31", STEP, "msg_3a", "ses_1"),
    session("ses_2", version="1.18.33", cost=0.25, tokens=tokens(100)),
    user("msg_4u", "ses_2"),
    assistant("msg_5a", "ses_2", parent="msg_4u", usage=STEP),
    step_finish("prt_51", STEP, "msg_5a", "ses_2"),
)

Tampered = Callable[[str], duckdb.DuckDBPyConnection]
Opened = Callable[[Path], duckdb.DuckDBPyConnection]


@pytest.fixture
def reader_of() -> Iterator[Opened]:
    """Open indexes by their paths."""
    readers: list[IndexReader] = []

    def open_path(path: Path) -> duckdb.DuckDBPyConnection:
        """Open an index."""
        readers.append(IndexReader(path))
        return readers[-1].connection()

    yield open_path
    for reader in readers:
        reader.close()


@pytest.fixture
def tampered(tmp_path: Path, build_index: BuildIndex, reader_of: Opened) -> Tampered:
    """Index the documents as OpenCode's database, change one stored number, and open the index."""

    def tamper(sql: str) -> duckdb.DuckDBPyConnection:
        """Open the index after a statement has run on it."""
        return reader_of(change(build_index(write_sqlite(tmp_path / "opencode", DOCS)), sql))

    return tamper


def lines(con: duckdb.DuckDBPyConnection, scope: Scope = ALL) -> dict[str, LedgerLine]:
    """Return the ledger by the keys of its lines."""
    return {line.key: line for line in ledger(con, scope)}


def red(con: duckdb.DuckDBPyConnection, scope: Scope = ALL) -> set[str]:
    """Name the lines whose sources disagree."""
    return {line.key for line in ledger(con, scope) if line.verdict == "differs"}


def differing(con: duckdb.DuckDBPyConnection, key: str) -> list[LedgerRow]:
    """Return the rows of a line on which its sources disagree."""
    return [row for row in ledger_rows(con, key, ALL) if row.is_differing]


def test_ledger_untouched_documents_every_sum_agrees(tampered: Tampered) -> None:
    """All sources are there: OpenCode's own columns, steps, sessions, exchanges, the reports' table."""
    con = tampered("SELECT 1")

    found = lines(con)

    assert list(found) == list(LINES)
    assert {key: found[key].verdict for key in CHECKS} == {
        **dict.fromkeys(CHECKS, "agrees"),
        **dict.fromkeys(("copies", "list_recorded"), "absent"),
        **dict.fromkeys(("list_slices", "list_requests"), "unknown"),
    }
    cost = ("cost_slices", "cost_sessions", "cost_exchanges", "cost_steps", "cost_opencode")
    assert {(found[key].this_value, found[key].other_value) for key in cost} == {(usd("1"), usd("1"))}
    assert (found["tokens_slices"].this_value, found["tokens_steps"].other_value) == (usd("480"), usd("480"))
    assert (found["tokens_opencode"].this_value, found["tokens_opencode"].other_value) == (usd("400"), usd("400"))
    assert found["cost_steps"].difference == 0


def test_ledger_counts_are_whole_numbers_and_money_is_not(tampered: Tampered) -> None:
    """Both are in one column of a file, where 480.000000000000 would be no number of tokens."""
    con = tampered("SELECT 1")

    found = lines(con)

    assert (str(found["tokens_steps"].this_value), str(found["tokens_steps"].other_value)) == ("480", "480")
    assert str(found["cost_steps"].this_value) == "1.000000000000"
    assert {str(row.this_value) for row in ledger_rows(con, "tokens_slices", ALL)} == {"360", "120"}
    assert {str(row.this_value) for row in ledger_rows(con, "cost_exchanges", ALL)} == {
        "0.750000000000",
        "0.250000000000",
    }


@pytest.mark.parametrize(
    ("sql", "turned_red", "row"),
    [
        (
            "UPDATE messages SET cost_recorded_usd = 0.75 WHERE message_id = 'msg_2a'",
            {"cost_slices", "cost_sessions", "cost_exchanges", "cost_steps", "cost_opencode"},  # all of them know it
            ("ses_1", "msg_2a", None),
        ),
        (
            "UPDATE parts SET input_tokens = 101 WHERE part_id = 'prt_22'",
            {"tokens_steps"},
            ("ses_1", "msg_2a", "prt_22"),
        ),
        (
            "UPDATE parts SET cost_recorded_usd = 0.3 WHERE part_id = 'prt_22'",
            {"cost_steps"},
            ("ses_1", "msg_2a", "prt_22"),
        ),
        (
            "UPDATE sessions SET stored_cost_usd = 0.74 WHERE session_id = 'ses_1'",
            {"cost_opencode"},
            ("ses_1", None, None),
        ),
        (
            "UPDATE sessions SET stored_input_tokens = 99 WHERE session_id = 'ses_2'",
            {"tokens_opencode"},
            ("ses_2", None, None),
        ),
        (
            "UPDATE usage_slices SET cost_recorded_usd = 0.2 WHERE session_id = 'ses_2' AND kind = 'counted'",
            {"cost_slices"},
            ("ses_2", "msg_5a", "prt_51"),
        ),
        (
            "UPDATE session_stats SET total_tokens = 1 WHERE session_id = 'ses_2'",
            {"tokens_sessions"},
            ("ses_2", None, None),
        ),
        (
            "UPDATE exchanges SET cost_recorded_usd = NULL WHERE session_id = 'ses_2'",
            {"cost_exchanges"},
            ("ses_2", None, None),
        ),
    ],
    ids=["message cost", "step tokens", "step cost", "session cost", "session tokens", "slice", "stats", "exchange"],
)
def test_ledger_one_altered_number_turns_its_lines_red_and_leads_to_its_row(
    tampered: Tampered, sql: str, turned_red: set[str], row: tuple[str, str | None, str | None]
) -> None:
    """Nothing else turns red, and each red line has one differing row: that one."""
    con = tampered(sql)

    found = {key: differing(con, key) for key in red(con)}

    assert set(found) == turned_red
    assert all(len(rows) == 1 for rows in found.values())
    assert {(each.session_id, each.message_id) for (each,) in found.values()} == {row[:2]}
    if row[2]:
        assert {each.part_id for (each,) in found.values()} == {row[2]}


def test_ledger_altered_source_document_contradicts_its_own_steps(open_index: OpenIndex) -> None:
    """Everything is derived from the wrong number, but the steps still know."""
    wrong = [replace(doc, body={**doc.body, "cost": 0.75}) if doc.id == "msg_2a" else doc for doc in DOCS]
    con = open_index(*(doc for doc in wrong if doc.kind != "session"))

    found = differing(con, "cost_steps")

    assert red(con) == {"cost_steps"}
    assert [(row.message_id, row.this_value, row.other_value) for row in found] == [("msg_2a", usd("0.75"), usd("0.5"))]


def test_ledger_headline_equals_costs_under_any_filter(tampered: Tampered) -> None:
    """The first line is the number that the other pages show."""
    con = tampered("SELECT 1")
    day = Period(datetime(2026, 1, 1), datetime(2026, 1, 2))
    scopes = [ALL, Scope(period=day), Scope(agents=("build",)), Scope(models=("x/y",)), Scope(session_id="ses_1")]

    found = [lines(con, scope)["recorded"].this_value for scope in scopes]

    assert found == [costs.cost_totals(con, scope).cost_recorded_usd for scope in scopes]
    assert found == [usd("1"), usd("1"), usd("1"), None, usd("0.75")]


def test_ledger_filter_of_messages_leaves_out_what_knows_sessions_only(tampered: Tampered) -> None:
    """It says so rather than compare different things."""
    con = tampered("SELECT 1")

    found = lines(con, Scope(agents=("build",)))

    whole = {key for key, line in LINES.items() if line.needs_whole_sessions}
    assert {key for key, line in found.items() if line.verdict == "filtered"} == whole
    assert all(ledger_rows(con, key, Scope(agents=("build",))) == [] for key in whole)
    assert found["cost_opencode"].difference is None
    assert found["cost_slices"].verdict == found["cost_steps"].verdict == "agrees"


def test_ledger_one_session_leaves_the_others_out(tampered: Tampered) -> None:
    """A wrong number elsewhere does not show."""
    con = tampered("UPDATE sessions SET stored_cost_usd = 9 WHERE session_id = 'ses_2'")

    assert red(con, Scope(session_id="ses_1")) == set()
    assert red(con, Scope(session_id="ses_2")) == {"cost_opencode"}


def test_ledger_json_tree_stores_no_session_sums(open_index: OpenIndex) -> None:
    """There is nothing to compare, which is no agreement."""
    con = open_index(session(), user(), assistant(usage=STEP))

    found = lines(con)

    assert found["cost_opencode"].verdict == found["tokens_opencode"].verdict == "absent"
    assert found["cost_steps"].verdict == "absent"
    assert found["cost_slices"].verdict == "agrees"


def test_ledger_fork_copies_are_in_opencodes_sums_alone(tmp_path: Path, open_index: OpenIndex) -> None:
    """OpenCode counts them again; here they are a line of their own."""
    original = [user(), assistant(usage=STEP), step_finish("prt_1", STEP)]
    fork = session("ses_2", created=START_MS + 60_000, cost=0.25, tokens=tokens(100))
    docs = [session(cost=0.25, tokens=tokens(100)), *original, fork, *copied(original, "ses_2", "_copy")]
    con = open_index(write_sqlite(tmp_path / "opencode", docs))

    found = lines(con)

    assert red(con) == set()
    assert (found["recorded"].this_value, found["cost_opencode"].this_value) == (usd("0.25"), usd("0.5"))
    assert (found["copies"].rows, found["copies_cost"].rows) == (1, 1)
    assert (found["copies"].this_value, found["copies_cost"].this_value) == (usd("120"), usd("0.25"))
    assert [row.message_id for row in ledger_rows(con, "copies_cost", ALL)] == ["msg_2a_copy"]


def test_ledger_deleted_message_counts_here_and_not_in_opencodes_sums(
    tmp_path: Path, build_index: BuildIndex, reader_of: Opened
) -> None:
    """OpenCode takes it off its own sums: both sides of the comparison leave it out."""
    data = write_sqlite(tmp_path / "opencode", DOCS)
    build_index(data)
    with closing(sqlite3.connect(data / "opencode.db")) as client, client:
        client.execute("DELETE FROM message WHERE id = 'msg_3a'")
        client.execute("DELETE FROM part WHERE message_id = 'msg_3a'")
        client.execute("UPDATE session SET cost = 0.5, tokens_input = 200 WHERE id = 'ses_1'")
    con = reader_of(build_index(data))

    found = lines(con)

    assert red(con) == set()
    assert (found["recorded"].this_value, found["cost_opencode"].this_value) == (usd("1"), usd("0.75"))
    assert [row.message_id for row in ledger_rows(con, "deleted", ALL)] == ["msg_3a"]


def test_ledger_undone_answer_of_the_json_tree_is_compared_with_its_steps(
    tmp_path: Path, build_index: BuildIndex, reader_of: Opened
) -> None:
    """Its steps lie there without a message, and add up to what it spent all the same."""
    data = write_json_tree(tmp_path / "opencode", [session(), *DOCS[1:7]])
    build_index(data)
    (data / "storage" / "message" / "ses_1" / "msg_2a.json").unlink()
    con = reader_of(build_index(data))

    found = lines(con)

    assert red(con) == set()
    assert [found[key].rows for key in ("deleted", "cost_steps", "tokens_steps", "list_requests")] == [1, 2, 10, 2]
    assert found["tokens_steps"].this_value == found["tokens_steps"].other_value == usd("360")


def test_ledger_session_that_was_not_migrated_agrees_with_its_own_sums(tmp_path: Path, open_index: OpenIndex) -> None:
    """Its row and its answers are both of the older table: that the newer one lacks them makes no difference."""
    data = write_sqlite(tmp_path / "opencode", DOCS)
    newer = [session("ses_9", cost=0.5, tokens=tokens(7)), row("msg_9u", "user", 1, "ses_9", text="Hi"),
             answer("msg_9a", 2, "ses_9", usage=tokens(7, 1), cost=0.5)]  # fmt: skip
    con = open_index(write_session_messages(data, newer))

    line = lines(con)["cost_opencode"]

    assert red(con) == set()
    assert (line.rows, line.this_value, line.other_value) == (3, usd("1.5"), usd("1.5"))


def test_ledger_missing_usage_and_unrecorded_cost_are_lines_of_their_own(open_index: OpenIndex) -> None:
    """Unknown, not free: no sum turns red over them."""
    missing = assistant("msg_3a", usage=tokens(), cost=0, created=START_MS + 6_000, completed=START_MS + 7_000)
    finish = step_finish("prt_3", tokens(), "msg_3a", cost=0)
    con = open_index(session(), user(), assistant(usage=STEP, cost=None), missing, finish)

    found, unrecorded = lines(con), ledger_rows(con, "unrecorded", ALL)

    assert red(con) == set()
    assert [(row.message_id, row.this_value) for row in unrecorded] == [("msg_2a", usd("120")), ("msg_3a", usd("0"))]
    assert (found["usage_missing"].rows, found["recorded"].this_value) == (1, None)


def test_ledger_unrecorded_cost_is_no_agreement(tmp_path: Path, open_index: OpenIndex) -> None:
    """OpenCode's own sum of such a session is 0 because that is its default, and is compared with nothing."""
    docs = [session(cost=0), user(), assistant(usage=STEP, cost=None), step_finish("prt_1", STEP, cost=None)]
    con = open_index(write_sqlite(tmp_path / "opencode", docs))

    found = lines(con)

    costs_of = ("cost_slices", "cost_sessions", "cost_exchanges", "cost_steps", "cost_opencode")
    assert [found[key].verdict for key in costs_of] == ["unknown", "unknown", "unknown", "absent", "absent"]
    assert {(found[key].this_value, found[key].difference) for key in costs_of} == {(None, None)}
    assert [row.is_unknown for row in ledger_rows(con, "cost_sessions", ALL)] == [True]


def test_ledger_cost_of_one_source_alone_differs_by_nobody_knows_what(tmp_path: Path, open_index: OpenIndex) -> None:
    """OpenCode's sum says something of answers that do not: no difference can be told."""
    docs = [session(cost=0.5), user(), assistant(usage=STEP, cost=None)]
    con = open_index(write_sqlite(tmp_path / "opencode", docs))

    line = lines(con)["cost_opencode"]

    assert (line.verdict, line.this_value, line.other_value) == ("differs", None, usd("0.5"))
    assert line.difference is None


def test_ledger_model_without_a_price_is_in_no_list_price(open_index: OpenIndex) -> None:
    """With what it used, and what was recorded for it."""
    con = open_index(session(), user(), assistant(usage=STEP))

    found = lines(con)

    assert (found["unpriced"].this_value, found["recorded_unpriced"].this_value) == (usd("120"), usd("0.25"))
    assert [row.detail for row in ledger_rows(con, "unpriced", ALL)] == ["acme/nova"]


def test_ledger_message_of_unknown_time_is_left_out_by_a_period_alone(open_index: OpenIndex) -> None:
    """So the period is less than everything."""
    con = open_index(session(), user(), assistant(usage=STEP, time={}))
    day = Scope(period=Period(datetime(2026, 1, 1), datetime(2026, 1, 2)))

    assert lines(con)["timeless"].rows == 0
    assert [row.message_id for row in ledger_rows(con, "timeless", day)] == ["msg_2a"]


def test_ledger_unreadable_document_is_named(open_index: OpenIndex) -> None:
    """By its key and the reason, whatever the filters."""
    con = open_index(session(), user(), damaged(assistant(usage=STEP), b"{"))

    (row,) = ledger_rows(con, "unreadable", Scope(agents=("nobody",)))

    assert row.session_id is None
    assert row.detail is not None
    assert row.detail.startswith("storage/message/ses_1/msg_2a.json: ")


def test_ledger_reasoning_charged_twice_explains_the_list_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_index: OpenIndex
) -> None:
    """OpenCode 1.1 charges 100 at 1 and 20 at 5, 8 of reasoning among them, and those 8 once more."""
    entry = '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 1000\noutput = 5000\n'
    (tmp_path / "settings.toml").write_text(entry)
    monkeypatch.setenv("ANALYTICS_CONFIG", str(tmp_path / "settings.toml"))
    usage = tokens(100, 20, reasoning=8, total=120)
    con = open_index(
        session(),
        user(),
        assistant("msg_2a", usage=usage, cost=0.24),
        assistant("msg_3a", usage=usage, cost=0, created=START_MS + 6_000),
        assistant("msg_4a", usage=usage, cost=0.7, created=START_MS + 7_000),
    )

    found = lines(con)

    assert found["reasoning_twice"].this_value == usd("0.04")
    assert (found["list_free"].this_value, found["list_slices"].this_value) == (usd("0.2"), usd("0.6"))
    assert red(con) == {"list_recorded"}
    assert [(row.message_id, row.difference) for row in differing(con, "list_recorded")] == [("msg_4a", usd("0.5"))]
    assert _explained(found) == found["list_slices"].this_value


@pytest.mark.parametrize("name", DATA_SETS)
def test_ledger_real_data_every_sum_agrees(real_index: Callable[[str], duckdb.DuckDBPyConnection], name: str) -> None:
    """Real clients' own sums, steps and messages, forks and a migration among them: also under filters."""
    con = real_index(name)
    day = Period(datetime(2026, 11, 1), datetime(2026, 11, 20))

    assert red(con) == set()
    assert red(con, Scope(period=day, agents=("build",))) == set()
    assert lines(con)["cost_steps"].verdict == "agrees"


def _explained(found: dict[str, LedgerLine]) -> Decimal:
    """Go from the recorded cost to the list price, line by line."""
    signs = {"recorded": 1, "recorded_unpriced": -1, "list_free": 1, "list_unrecorded": 1, "reasoning_twice": -1}
    known = sum((sign * (found[key].this_value or Decimal(0)) for key, sign in signs.items()), Decimal(0))
    return known - (found["list_recorded"].difference or Decimal(0))

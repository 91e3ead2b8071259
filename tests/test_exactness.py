"""The index equals the truth of every data set, real and hand-made, however often and in whatever order it is built."""

import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer.published import IndexReader
from indexer.totals import Totals, read_totals
from tests.builders import (
    START_MS,
    Doc,
    assistant,
    copied,
    part,
    project,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_sqlite,
)
from tests.conftest import DATA_SETS, BuildIndex, OpenIndex, OwnIndex, expected

COUNTERS = ("input", "output", "reasoning", "cache_read", "cache_write")
DataSet = Callable[[str], Path]
RealPath = Callable[[str], Path]


def totals_of(index: Path) -> Totals:
    """Read the totals of a published index."""
    reader = IndexReader(index)
    try:
        return read_totals(reader.connection())
    finally:
        reader.close()


def content_of(index: Path) -> dict[str, list[tuple[object, ...]]]:
    """Read all rows of an index but for what tells when and from where they came."""
    reader = IndexReader(index)
    con = reader.connection()
    tables = {
        "projects": "source_id",
        "sessions": "source_id",
        "messages": "source_id",
        "parts": "",
        "part_bodies": "",
        "session_stats": "",
        "agents": "",
        "models": "",
        "tools": "",
    }
    try:
        return {
            table: con.execute(
                f"SELECT {f'* EXCLUDE ({left_out})' if left_out else '*'} FROM {table} ORDER BY ALL"
            ).fetchall()
            for table, left_out in tables.items()
        }
    finally:
        reader.close()


def assert_equals_truth(found: Any, truth: dict[str, Any]) -> None:
    """Compare counters to the token and cost to 1e-9 USD."""
    assert {name: found["tokens"][name] for name in COUNTERS} == {name: truth.get(name, 0) for name in COUNTERS}
    assert abs(Decimal(found["cost_recorded_usd"]) - Decimal(str(truth.get("cost", 0)))) <= Decimal("1e-9")


def second_api_sessions(truth: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what sessions of 1.18's second API recorded: their tokens, and a cost of 0, whatever they were worth."""
    sessions = truth["served"]["sessions"].items()
    return {name: {**found["recorded"], "cost": 0} for name, found in sessions if found["created_via"] == "v2_api"}


def added(*usages: dict[str, Any]) -> dict[str, Any]:
    """Add counters and cost."""
    return {
        **{name: sum(usage[name] for usage in usages) for name in COUNTERS},
        "cost": sum(Decimal(str(usage["cost"])) for usage in usages),
    }


# --- real data


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_bulk_real_set_equals_truth(name: str, real_path: RealPath) -> None:
    """Rows, grand total, every model and every session, fork copies once."""
    truth = expected(DATA_SETS[name][0])
    second_api = second_api_sessions(truth)

    found = totals_of(real_path(name))

    counts = truth["observed"]["counts"]
    rows_of_second_api = counts["v2_message"]
    assert found["sessions"] == counts["session"]
    assert found["messages"] == counts["message"] + rows_of_second_api
    assert found["parts"] == counts["part"] + (2 if rows_of_second_api else 0)
    assert found["fork_copies"] == 9
    assert_equals_truth(found, added(truth["served"]["recorded_without_fork_copies"], *second_api.values()))
    by_model = dict(truth["served"]["recorded_by_model_without_fork_copies"])
    if second_api:
        by_model["acme/nova-large"] = added(by_model["acme/nova-large"], *second_api.values())
    assert set(found["per_model"]) == set(truth["observed"]["by_model"])
    for model, spend in found["per_model"].items():
        assert_equals_truth(spend, by_model.get(model, {}))
    for session_id, spend in found["per_session"].items():
        with_copies = second_api.get(session_id) or truth["observed"]["by_session"].get(session_id, {})
        own_and_inherited = {
            "tokens": {
                counter: spend["tokens"][counter] + spend["inherited"]["tokens"][counter]  # type: ignore[literal-required]
                for counter in COUNTERS
            },
            "cost_recorded_usd": Decimal(spend["cost_recorded_usd"]) + Decimal(spend["inherited"]["cost_recorded_usd"]),
        }
        assert_equals_truth(own_and_inherited, with_copies)
        assert spend["root_tokens"] == spend["tokens"]["input"] + spend["tokens"]["output"]


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_bulk_real_set_shows_the_same_facts_as_a_plain_reading(name: str, real_path: RealPath) -> None:
    """Types, tools, errors, failures and orphans are counted as an independent reader counts them."""
    observed = expected(DATA_SETS[name][0])["observed"]
    reader = IndexReader(real_path(name))
    con = reader.connection()

    def counted(sql: str) -> dict[str, int]:
        """Read a two-column count."""
        return dict(con.execute(sql).fetchall())

    def number(sql: str) -> int:
        """Read one number."""
        row = con.execute(sql).fetchone()
        assert row is not None
        return int(row[0])

    con.execute("CREATE TEMP VIEW old_messages AS SELECT * FROM messages WHERE generation < 3")
    con.execute("CREATE TEMP VIEW old_parts AS SELECT * FROM parts WHERE NOT contains(part_id, ':')")
    assert counted("SELECT role, count(*) FROM old_messages GROUP BY role") == observed["messages_by_role"]
    assert counted("SELECT part_type, count(*) FROM old_parts GROUP BY part_type") == observed["parts_by_type"]
    tools = "SELECT tool_name || ':' || tool_status, count(*) FROM old_parts WHERE part_type = 'tool' GROUP BY 1"
    assert counted(tools) == observed["tools"]
    errors = "SELECT error_name, count(*) FROM messages WHERE error_name IS NOT NULL GROUP BY 1"
    assert counted(errors) == observed["message_errors"]
    assert number("SELECT count(*) FROM parts WHERE is_failed") == observed["failed_tool_calls"]
    assert number("SELECT count(*) FROM parts WHERE is_orphan") == observed["parts_of_unknown_messages"]
    assert number("SELECT count(*) FROM sessions WHERE parent_id IS NOT NULL") == observed["child_sessions"]
    assert number("SELECT count(*) FROM sessions WHERE archived_at IS NOT NULL") == observed["archived_sessions"]
    assert number("SELECT count(*) FROM documents") == observed["counts"]["broken"] == 0
    assert number("SELECT count(*) FROM messages WHERE is_total_mismatch") == 0
    for column, key in (("agent", "by_agent"), ("strftime(created_at, '%Y-%m-%d')", "by_day")):
        sums = con.execute(
            f"""
            SELECT {column}, sum(input_tokens)::BIGINT, sum(coalesce(cost_recorded_usd, 0)) FROM old_messages
            WHERE role = 'assistant' GROUP BY 1
            """
        ).fetchall()
        assert {group: tokens for group, tokens, _ in sums} == {
            group: truth["input"] for group, truth in observed[key].items()
        }
        for group, _, cost in sums:
            assert abs(cost - Decimal(str(observed[key][group]["cost"]))) <= Decimal("1e-9")
    reader.close()


@pytest.mark.parametrize(("name", "is_client_inclusive"), [("json", True), ("sqlite", False)])
def test_bulk_real_set_tells_whether_output_contains_reasoning(
    name: str, is_client_inclusive: bool, real_path: RealPath
) -> None:
    """1.1 counts reasoning inside output, 1.18 beside it; the arithmetic of each row says so."""
    reader = IndexReader(real_path(name))

    found = (
        reader.connection()
        .execute(
            """
        SELECT sum(reasoning_tokens)::BIGINT, sum(reasoning_in_output_tokens)::BIGINT, count(DISTINCT client_version)
        FROM messages JOIN sessions USING (session_id) WHERE has_usage
        """
        )
        .fetchone()
    )
    reader.close()

    assert found is not None
    reasoning, inside, versions = found
    assert versions == 1
    assert reasoning > 0
    assert inside == (reasoning if is_client_inclusive else 0)


def test_bulk_live_database_reads_its_write_ahead_log(real_path: RealPath) -> None:
    """The main file holds the schema or less; one answer is still streaming."""
    observed = expected("opencode-1.18-live-wal-A")["observed"]

    found = totals_of(real_path("live-wal"))

    assert (found["sessions"], found["messages"], found["parts"]) == (3, 9, 26)
    assert_equals_truth(found, observed["total"])
    for session_id, truth in observed["by_session"].items():
        assert_equals_truth(found["per_session"][session_id], truth)


@pytest.mark.parametrize(("name", "parts"), [("migrated-before", 2031), ("migrated-intermediate", 2023)])
def test_bulk_storage_around_the_migration_has_the_same_total(name: str, parts: int, real_path: RealPath) -> None:
    """The migration only drops the orphaned parts."""
    json_truth = expected("opencode-1.1-json-A")["served"]["recorded_without_fork_copies"]

    found = totals_of(real_path(name))

    assert (found["sessions"], found["messages"], found["parts"]) == (114, 672, parts)
    assert found["fork_copies"] == 9
    assert_equals_truth(found, json_truth)


def test_bulk_both_stores_counts_what_both_hold_once(real_path: RealPath) -> None:
    """The union by id: nothing twice, and nothing lost that only one store has."""
    truth = expected("opencode-migrated-both-A")

    index = real_path("migrated-after")

    found = totals_of(index)
    assert found["sessions"] == truth["rows"]["sqlite"]["session"] + len(truth["sessions"]["only_json"])
    assert found["fork_copies"] == 22
    merged = truth["totals"]["merged_without_fork_copies"]
    assert {name: found["tokens"][name] for name in ("input", "output", "cache_read")} == {
        name: merged[name] for name in ("input", "output", "cache_read")
    }
    assert abs(Decimal(found["cost_recorded_usd"]) - Decimal(str(merged["cost"]))) <= Decimal("1e-9")
    reader = IndexReader(index)
    con = reader.connection()
    missing = con.execute("SELECT session_id FROM sessions WHERE is_missing_in_newer").fetchall()
    renamed = con.execute(
        "SELECT title FROM sessions WHERE session_id = $id", {"id": truth["actions_after_migration"]["renamed"]}
    ).fetchone()
    reader.close()
    assert [session_id for (session_id,) in missing] == truth["sessions"]["only_json"]
    assert renamed == ("Renamed after the migration",)


# --- the same index, however it is built


@pytest.mark.parametrize("name", list(DATA_SETS))
def test_bulk_twice_gives_the_same_index(
    name: str, data_set: DataSet, build_index: BuildIndex, own_index: OwnIndex
) -> None:
    """A second pass writes nothing."""
    index = own_index(name)
    first = content_of(index)

    build_index(data_set(name))

    assert content_of(index) == first


@pytest.mark.parametrize("names", [("migrated-before", "migrated-after"), ("json", "sqlite")])
def test_bulk_folders_in_any_order_give_the_same_index(
    names: tuple[str, str], data_set: DataSet, build_index: BuildIndex, own_index: OwnIndex
) -> None:
    """Together, one after the other, and the other way round."""
    first, second = (data_set(name) for name in names)
    together = build_index(first, second, name="together.duckdb")
    forward = own_index(names[0], "forward")
    backward = own_index(names[1], "backward")

    build_index(second, name="forward/index.duckdb")
    build_index(first, name="backward/index.duckdb")

    assert content_of(forward) == content_of(together)
    assert content_of(backward) == content_of(together)


def test_bulk_into_an_index_of_an_earlier_state_equals_a_fresh_one(
    data_set: DataSet, build_index: BuildIndex, tmp_path: Path
) -> None:
    """An index of the storage before the migration, brought up to date after it."""
    data_dir = tmp_path / "opencode"
    shutil.copytree(data_set("migrated-before"), data_dir)
    updated = build_index(data_dir, name="updated.duckdb")
    shutil.copytree(data_set("migrated-after"), data_dir, dirs_exist_ok=True)

    build_index(data_dir, name="updated.duckdb")

    fresh = build_index(data_dir, name="fresh.duckdb")
    assert content_of(updated) == content_of(fresh)


# --- hand-made sets for what the real ones lack


def two_step_message() -> list[Doc]:
    """An answer of two steps: the message records the tokens of the last and the cost of both."""
    first, second = tokens(100, 10, 4, 1_000, 50, total=1_164), tokens(200, 20, 6, 2_000, 0, total=2_226)
    return [
        project(),
        session(version="1.18.33"),
        user(),
        assistant(usage=second, cost=0.75),
        part("prt_1", "step-start"),
        step_finish("prt_2", first, cost=0.25),
        part("prt_3", "step-start"),
        step_finish("prt_4", second, cost=0.5),
    ]


@pytest.mark.parametrize("write", [write_json_tree, write_sqlite])
def test_bulk_two_steps_adds_the_tokens_of_both(
    write: Callable[[Path, list[Doc]], Path], open_index: OpenIndex, tmp_path: Path
) -> None:
    """`message.tokens` holds only the last step."""
    con = open_index(write(tmp_path / "data", two_step_message()))

    found = read_totals(con)

    assert found["tokens"] == {
        "input": 300,
        "output": 30,
        "reasoning": 10,
        "cache_read": 3_000,
        "cache_write": 50,
        "total": 1_164 + 2_226,
    }
    assert found["cost_recorded_usd"] == "0.75"
    assert found["per_session"]["ses_1"]["root_tokens"] == 330


def answered(session_id: str, number: int, usage: dict[str, Any], cost: float) -> list[Doc]:
    """A prompt and its answer, at a time of their own."""
    start = START_MS + 60_000 * number
    return [
        user(f"msg_{number}u", session_id, created=start),
        assistant(
            f"msg_{number}a",
            session_id,
            parent=f"msg_{number}u",
            created=start + 1_000,
            completed=start + 9_000,
            usage=usage,
            cost=cost,
        ),
        step_finish(f"prt_{number}", usage, f"msg_{number}a", session_id, cost=cost),
    ]


@pytest.mark.parametrize("write", [write_json_tree, write_sqlite])
def test_bulk_chain_of_three_forks_counts_each_request_once(
    write: Callable[[Path, list[Doc]], Path], open_index: OpenIndex, tmp_path: Path
) -> None:
    """A fork of a fork of a fork; each is continued by one answer of its own."""
    docs = [project(), session("ses_0", created=START_MS)]
    history = answered("ses_0", 1, tokens(100, 10, total=110), 0.5)
    docs += history
    for depth in (1, 2, 3):
        name = f"ses_{depth}"
        history = copied(history, name, f"f{depth}")
        own = answered(name, depth + 1, tokens(1_000 * depth, depth, total=1_001 * depth), 0.125)
        docs += [session(name, created=START_MS + 3_600_000 * depth), *history, *own]
        history = history + own
    con = open_index(write(tmp_path / "data", docs))

    found = read_totals(con)

    assert found["fork_copies"] == 1 + 2 + 3
    assert found["tokens"]["input"] == 100 + 1_000 + 2_000 + 3_000
    assert found["cost_recorded_usd"] == "0.875"
    last = found["per_session"]["ses_3"]
    assert (last["tokens"]["input"], last["cost_recorded_usd"]) == (3_000, "0.125")
    assert (last["inherited"]["tokens"]["input"], last["inherited"]["cost_recorded_usd"]) == (3_100, "0.75")


def test_bulk_fork_of_equal_age_takes_the_smaller_session_id_as_original(open_index: OpenIndex) -> None:
    """The rule has an answer for every tie."""
    history = answered("ses_b", 1, tokens(100, 10, total=110), 0.5)
    docs = [session("ses_b"), session("ses_a"), *history, *copied(history, "ses_a", "f")]

    found = read_totals(open_index(*docs))

    assert found["per_session"]["ses_a"]["tokens"]["input"] == 100
    assert found["per_session"]["ses_b"]["inherited"]["tokens"]["input"] == 100


def test_bulk_fork_that_names_its_origin_is_the_copy_whatever_its_age(open_index: OpenIndex) -> None:
    """2.0 names the origin: it wins over the time of creation."""
    history = answered("ses_origin", 1, tokens(100, 10, total=110), 0.5)
    docs = [
        session("ses_origin", created=START_MS + 5_000),
        session("ses_fork", created=START_MS, forkSessionID="ses_origin"),
        *history,
        *copied(history, "ses_fork", "f"),
    ]

    found = read_totals(open_index(*docs))

    assert found["per_session"]["ses_origin"]["tokens"]["input"] == 100
    assert found["per_session"]["ses_fork"]["inherited"]["tokens"]["input"] == 100


def test_bulk_same_millisecond_with_other_numbers_counts_both(open_index: OpenIndex) -> None:
    """Two helpers may start at once; that alone makes no copy."""
    docs = [session("ses_1"), session("ses_2")]
    docs += [assistant("msg_1", "ses_1", usage=tokens(100, 10, total=110))]
    docs += [assistant("msg_2", "ses_2", usage=tokens(100, 11, total=111))]

    found = read_totals(open_index(*docs))

    assert (found["fork_copies"], found["tokens"]["output"]) == (0, 21)


def test_bulk_equal_messages_of_one_session_are_no_fork_copies(open_index: OpenIndex) -> None:
    """A fork copies into another session."""
    usage = tokens(100, 10, total=110)
    docs = [session(), assistant("msg_1", usage=usage), assistant("msg_2", usage=usage)]

    found = read_totals(open_index(*docs))

    assert (found["fork_copies"], found["tokens"]["input"]) == (0, 200)


@pytest.mark.parametrize(
    ("version", "stamp_ms", "expected_total"),
    [
        pytest.param("1.1.65", START_MS + 86_400_000, 150, id="migrated row of a client before 1.2"),
        pytest.param("1.1.65", None, 170, id="live row in an old session"),
        pytest.param("1.18.33", START_MS + 86_400_000, 170, id="late row of a newer client"),
        pytest.param("unknown", START_MS + 86_400_000, 170, id="unreadable version"),
    ],
)
def test_bulk_rows_without_total_go_by_the_client_that_wrote_them(
    version: str, stamp_ms: int | None, expected_total: int, open_index: OpenIndex, tmp_path: Path
) -> None:
    """In a database, only rows that the migration took over from before 1.2 have reasoning inside output."""
    usage = tokens(100, 50, 20)
    docs = [
        session(version=version),
        assistant(usage=usage, stamp_ms=stamp_ms),
        step_finish("prt_1", usage, stamp_ms=stamp_ms),
    ]

    found = read_totals(open_index(write_sqlite(tmp_path / "data", docs)))

    assert found["tokens"]["total"] == expected_total


def test_bulk_json_row_without_total_has_reasoning_inside_output(open_index: OpenIndex) -> None:
    """The JSON tree was only ever written by clients that count so."""
    usage = tokens(100, 50, 20)

    found = read_totals(open_index(session(), assistant(usage=usage), step_finish("prt_1", usage)))

    assert found["tokens"]["total"] == 150


def test_bulk_lost_step_parts_fall_back_to_the_message(open_index: OpenIndex) -> None:
    """Without step-finish parts the message's own tokens are all there is."""
    found = read_totals(
        open_index(session(), assistant(usage=tokens(100, 10, total=110)), part("prt_1", "text", text="Hi"))
    )

    assert found["tokens"]["input"] == 100


def test_bulk_answer_without_usage_is_unrecorded_not_free(open_index: OpenIndex) -> None:
    """The client stored 0 USD for tokens it never saw."""
    con = open_index(session(), assistant(usage=tokens(), cost=0), step_finish("prt_1", tokens(), cost=0))

    found = read_totals(con)

    assert found["unrecorded_messages"] == 1
    assert con.execute("SELECT cost_recorded_usd, is_usage_missing FROM messages").fetchall() == [(None, True)]
    assert con.execute("SELECT cost_recorded_usd, missing_usage_messages FROM session_stats").fetchall() == [(None, 1)]


def test_bulk_answer_of_a_free_model_costs_nothing(open_index: OpenIndex) -> None:
    """Recorded tokens at 0 USD are recorded."""
    found = read_totals(open_index(session(), assistant(usage=tokens(100, 10, total=110), cost=0)))

    assert (found["unrecorded_messages"], found["cost_recorded_usd"]) == (0, "0")


def test_bulk_answer_without_cost_is_unrecorded(open_index: OpenIndex) -> None:
    """A cost that is not there is not 0, and its tokens count all the same."""
    con = open_index(session(), assistant(usage=tokens(100, 10, total=110), cost=None))

    found = read_totals(con)

    assert (found["unrecorded_messages"], found["tokens"]["input"]) == (1, 100)


def test_bulk_message_of_an_unknown_session_counts_under_a_placeholder(open_index: OpenIndex) -> None:
    """A lost session file does not lose its spend."""
    con = open_index(session("ses_1"), assistant("msg_9", "ses_lost", usage=tokens(100, 10, total=110)))

    found = read_totals(con)

    assert (found["sessions"], found["tokens"]["input"]) == (2, 100)
    assert found["per_session"]["ses_lost"]["root_tokens"] == 110
    assert con.execute("SELECT session_id FROM sessions WHERE is_placeholder").fetchall() == [("ses_lost",)]


def test_bulk_parts_without_a_message_carry_no_tokens(open_index: OpenIndex) -> None:
    """An undo in 1.1 removes messages and leaves their parts."""
    con = open_index(session(), step_finish("prt_1", tokens(100, 10, total=110), "msg_gone"))

    found = read_totals(con)

    assert (found["parts"], found["messages"], found["tokens"]["total"]) == (1, 0, 0)
    assert con.execute("SELECT is_orphan FROM parts").fetchall() == [(True,)]


def test_bulk_model_that_no_row_names_adds_up(open_index: OpenIndex) -> None:
    """`per_model` holds every answer."""
    found = read_totals(open_index(session(), assistant(usage=tokens(1, 2, total=3), providerID=None, modelID=None)))

    assert found["per_model"]["unknown/unknown"]["tokens"]["total"] == 3


# --- two generations


def test_bulk_message_continued_in_the_database_comes_from_there(open_index: OpenIndex, tmp_path: Path) -> None:
    """A message and its parts come from one store, never mixed."""
    old = [session(), assistant(usage=tokens(100, 10, total=110)), part("prt_1", "text", text="old")]
    new = [session(), assistant(usage=tokens(200, 20, total=220)), part("prt_2", "text", text="new")]
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", old), new)

    con = open_index(data_dir)

    assert read_totals(con)["tokens"]["input"] == 200
    assert con.execute("SELECT part_id FROM parts").fetchall() == [("prt_2",)]


def test_bulk_json_copy_with_later_times_wins(open_index: OpenIndex, tmp_path: Path) -> None:
    """Somebody went back to the old client after the migration."""
    old = [session(), assistant(usage=tokens(300, 30, total=330), completed=START_MS + 99_000)]
    new = [session(), assistant(usage=tokens(200, 20, total=220), completed=None)]
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", old), new)

    con = open_index(data_dir)

    assert read_totals(con)["tokens"]["input"] == 300
    assert con.execute("SELECT is_missing_in_newer FROM messages").fetchall() == [(False,)]


def test_bulk_session_only_in_the_tree_beside_a_database_is_flagged(open_index: OpenIndex, tmp_path: Path) -> None:
    """It counts, and the page can say where it is missing."""
    old = [session("ses_old"), assistant("msg_old", "ses_old", usage=tokens(1, 1, total=2))]
    new = [session("ses_new"), assistant("msg_new", "ses_new", usage=tokens(2, 2, total=4))]
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", old), new)

    con = open_index(data_dir)

    assert read_totals(con)["tokens"]["input"] == 3
    flags = con.execute("SELECT session_id, is_missing_in_newer FROM sessions ORDER BY 1").fetchall()
    assert flags == [("ses_new", False), ("ses_old", True)]


def test_bulk_empty_database_beside_a_tree_is_no_newer_storage(open_index: OpenIndex, tmp_path: Path) -> None:
    """Newer clients start with an empty database and leave the tree alone: nothing is missing in it."""
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", [session(), assistant(usage=tokens(1, 1, total=2))]), [])

    con = open_index(data_dir)

    assert con.execute("SELECT is_missing_in_newer FROM sessions").fetchall() == [(False,)]


def test_bulk_sessions_own_update_time_decides(open_index: OpenIndex, tmp_path: Path) -> None:
    """The newer storage wins unless the older copy was updated later."""
    tree = [session("ses_1", title="old", updated=START_MS), session("ses_2", title="later", updated=START_MS + 9)]
    rows = [session("ses_1", title="new", updated=START_MS), session("ses_2", title="earlier", updated=START_MS)]
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", tree), rows)

    con = open_index(data_dir)

    assert con.execute("SELECT title FROM sessions ORDER BY session_id").fetchall() == [("new",), ("later",)]


# --- what OpenCode deletes


def test_bulk_deleted_session_keeps_its_numbers_and_loses_its_texts(build_index: BuildIndex, tmp_path: Path) -> None:
    """Money spent stays spent."""
    docs = [session(), user(), part("prt_0", "text", "msg_1u", text="secret plan")]
    docs += [assistant(usage=tokens(100, 10, total=110)), part("prt_1", "text", text="answer")]
    data_dir = write_json_tree(tmp_path / "data", [*docs, session("ses_2")])
    index = build_index(data_dir)
    for folder in ("session", "message", "part"):
        for file in (data_dir / "storage" / folder).rglob("*.json"):
            if "ses_2" not in file.name:
                file.unlink()

    build_index(data_dir)

    found = totals_of(index)
    assert (found["sessions"], found["messages"], found["tokens"]["input"]) == (2, 2, 100)
    assert found["deleted"]["sessions"] == 1
    assert found["deleted"]["cost_recorded_usd"] == "0.25"
    reader = IndexReader(index)
    con = reader.connection()
    assert con.execute("SELECT count(*) FROM part_bodies").fetchone() == (0,)
    assert con.execute("SELECT title FROM sessions WHERE session_id = 'ses_1'").fetchone() == (None,)
    reader.close()


def test_bulk_orphan_parts_that_are_removed_are_flagged(build_index: BuildIndex, tmp_path: Path) -> None:
    """What an undo left behind may go, too."""
    orphan = part("prt_9", "text", "msg_undone", text="gone")
    data_dir = write_json_tree(tmp_path / "data", [session(), user(), orphan])
    index = build_index(data_dir)
    shutil.rmtree(data_dir / "storage" / "part" / "msg_undone")

    build_index(data_dir)

    reader = IndexReader(index)
    con = reader.connection()
    found = con.execute("SELECT deleted_at IS NOT NULL, (SELECT count(*) FROM part_bodies) FROM parts").fetchall()
    reader.close()
    assert found == [(True, 0)]


def test_bulk_folder_that_is_no_longer_named_keeps_its_rows(build_index: BuildIndex, tmp_path: Path) -> None:
    """Only a source that was read can tell that something is gone."""
    first = write_json_tree(tmp_path / "first", [session("ses_1"), assistant("msg_1", "ses_1")])
    second = write_json_tree(tmp_path / "second", [session("ses_2"), assistant("msg_2", "ses_2")])
    build_index(first)

    index = build_index(second)

    found = totals_of(index)
    assert (found["sessions"], found["deleted"]["sessions"]) == (2, 0)


# --- subtrees


def subtree(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int, int]]:
    """Read sessions, direct children and root tokens of every subtree."""
    rows = con.execute(
        "SELECT session_id, subtree_sessions, child_sessions, subtree_root_tokens FROM session_stats ORDER BY 1"
    ).fetchall()
    return {session_id: (sessions, children, root) for session_id, sessions, children, root in rows}


def test_bulk_subtree_adds_child_sessions_of_any_depth(open_index: OpenIndex) -> None:
    """Own tokens and those of all delegated sessions."""
    docs: list[Doc] = []
    for depth, parent in enumerate((None, "ses_0", "ses_1", "ses_0")):
        docs.append(session(f"ses_{depth}", parentID=parent))
        usage = tokens(10**depth, 0, total=10**depth)
        docs.append(assistant(f"msg_{depth}", f"ses_{depth}", created=START_MS + depth, usage=usage))

    con = open_index(*docs)

    assert subtree(con) == {"ses_0": (4, 2, 1_111), "ses_1": (2, 1, 110), "ses_2": (1, 0, 100), "ses_3": (1, 0, 1_000)}


def test_bulk_subtree_of_a_cycle_ends_and_counts_each_once(open_index: OpenIndex) -> None:
    """Damaged parents must not hang the indexer."""
    docs = [session("ses_1", parentID="ses_2"), session("ses_2", parentID="ses_1"), session("ses_3", parentID="ses_3")]
    for number in (1, 2, 3):
        usage = tokens(number, 0, total=number)
        docs.append(assistant(f"msg_{number}", f"ses_{number}", created=START_MS + number, usage=usage))

    con = open_index(*docs)

    assert subtree(con) == {"ses_1": (2, 1, 3), "ses_2": (2, 1, 3), "ses_3": (1, 1, 3)}


def test_bulk_subtree_with_a_missing_parent_stands_alone(open_index: OpenIndex) -> None:
    """A parent that does not exist is no session."""
    con = open_index(session("ses_1", parentID="ses_gone"), assistant("msg_1", "ses_1", usage=tokens(5, 0, total=5)))

    assert subtree(con) == {"ses_1": (1, 0, 5)}


def test_read_totals_is_json_without_exponents(real_path: RealPath) -> None:
    """Scripts read plain decimals."""
    found = totals_of(real_path("json"))

    text = json.dumps(found)

    assert "e-" not in json.loads(text)["cost_recorded_usd"].lower()
    assert sum(Decimal(spend["cost_recorded_usd"]) for spend in found["per_model"].values()) == Decimal(
        found["cost_recorded_usd"]
    )
    assert sum(Decimal(spend["cost_recorded_usd"]) for spend in found["per_session"].values()) == Decimal(
        found["cost_recorded_usd"]
    )

"""The comparison with other tools: reading what they print, explaining what differs. The tools are not run."""

import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from tests.builders import (
    Doc,
    assistant,
    copied,
    damaged,
    part,
    project,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_sqlite,
)
from tests.comparison import agentsview, ccusage, differences, our_index, table
from tests.comparison.__main__ import main
from tests.comparison.differences import COPIES, NEGATIVE, NO_REASONING, ONE_STEP, OWN_PRICES, REASONING_TWICE
from tests.comparison.timing import Result, until
from tests.comparison.tools import Command, CommandFailed, Tools, stage
from tests.comparison.usage import Usage
from tests.indexing import index

# Printed by ccusage 20.0.24, cut to two sessions; the totals are those of the two.
CCUSAGE_SESSIONS = """{
  "sessions": [
    {"sessionId": "ses_1", "inputTokens": 150, "outputTokens": 30, "cacheReadTokens": 7, "cacheCreationTokens": 2,
     "totalTokens": 193, "totalCost": 0.5, "modelsUsed": ["nova"], "modelBreakdowns": [
       {"modelName": "nova", "inputTokens": 150, "outputTokens": 30, "cacheReadTokens": 7, "cacheCreationTokens": 2,
        "cost": 0.5}]},
    {"sessionId": "ses_2", "inputTokens": 20, "outputTokens": 4, "cacheReadTokens": 0, "cacheCreationTokens": 0,
     "totalTokens": 24, "totalCost": 0.1, "modelsUsed": ["nova"], "modelBreakdowns": [
       {"modelName": "nova", "inputTokens": 20, "outputTokens": 4, "cacheReadTokens": 0, "cacheCreationTokens": 0,
        "cost": 0.1}]}
  ],
  "totals": {"inputTokens": 170, "outputTokens": 34, "cacheReadTokens": 7, "cacheCreationTokens": 2,
             "totalTokens": 217, "totalCost": 0.6}
}"""
# Printed by agentsview 0.46.1, without its days.
AGENTSVIEW_USAGE = """{
  "schema_version": 6, "daily": [],
  "totals": {"inputTokens": 150, "outputTokens": 30, "cacheCreationTokens": 2, "cacheReadTokens": 7,
             "totalCost": {"microdollars": 1250000}, "cacheSavings": {"microdollars": 0}},
  "sessionCounts": {"total": 1, "byAgent": {"opencode": 1}}
}"""
# A line of its log.
AGENTSVIEW_LOG = (
    "2026/11/28 15:47:35 sync error: decoding opencode part file /data/storage/part/msg_2a/prt_1.json: jsontext: "
    'invalid surrogate pair "\\\\ud83d and \\\\" in string within "/text" after offset 186\n'
)

# A message of two steps, the second with reasoning inside output and a negative input; and a fork's copy of it.
STEPS = [tokens(input=100, output=20, reasoning=5), tokens(input=-50, output=10, reasoning=4, cache_read=7)]
ANSWER = assistant(usage=STEPS[1], cost=0.5, modelID="nova", providerID="acme")
ORIGINAL: list[Doc] = [
    user(),
    ANSWER,
    part("prt_1", "text", "msg_1u", text="hello"),
    part("prt_2", "text", text="hi"),
    step_finish("prt_3", STEPS[0]),
    step_finish("prt_4", STEPS[1]),
]
STORAGE = [
    project(),
    session(),
    session("ses_2", created=1_767_225_700_000),
    session("ses_3"),
    *ORIGINAL,
    *copied(ORIGINAL, "ses_2", "c"),
]
STORED = json.dumps(
    {"input_tokens": -50, "output_tokens": 10, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 0}
)


def agentsview_database(path: Path, *messages: tuple[str, str]) -> Path:
    """Lay down the part of its database that is read: messages by id and session, each with the usage `STORED`."""
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE sessions (id, file_path, message_count, total_output_tokens)")
        con.execute("CREATE TABLE messages (source_uuid, token_usage)")
        session_ids = {session_id for _, session_id in messages}
        con.executemany(
            "INSERT INTO sessions VALUES (?, ?, 1, 10)",
            [(f"opencode:{each}", f"/data/{each}.json") for each in session_ids],
        )
        con.executemany("INSERT INTO messages VALUES (?, ?)", [(message_id, STORED) for message_id, _ in messages])
    con.close()
    return path


def by_cause(found: differences.Differences) -> dict[str, dict[str, int]]:
    """Return the tokens of each cause that are not zero."""
    return {
        cause: {name: tokens for name, tokens in each.tokens.items() if tokens}
        for cause, each in found.items()
        if any(each.tokens.values())
    }


def test_read_printed_ccusage_by_session_adds_models_and_reasoning() -> None:
    """Rows of a report give the models; what the total has beside the counters is reasoning."""
    printed = ccusage.read_printed(CCUSAGE_SESSIONS)

    assert printed.usage == Usage(input=170, output=34, cache_read=7, cache_write=2, reasoning=4)
    assert (printed.tokens, printed.cost_usd, printed.sessions, printed.messages) == (217, Decimal("0.6"), 2, None)
    assert printed.cost_by_model == {"nova": Decimal("0.6")}


def test_read_sessions_ccusage_returns_usage_of_each() -> None:
    """The report by session is what the rule is checked against."""
    sessions = ccusage.read_sessions(CCUSAGE_SESSIONS)

    assert sessions == {
        "ses_1": Usage(input=150, output=30, cache_read=7, cache_write=2, reasoning=4),
        "ses_2": Usage(input=20, output=4),
    }


def test_read_printed_agentsview_counts_rows_of_its_database(tmp_path: Path) -> None:
    """Sessions and messages are what it lists, with usage or without."""
    database = agentsview_database(tmp_path / "sessions.db", ("msg_1u", "ses_1"), ("msg_2a", "ses_1"))

    printed = agentsview.read_printed(AGENTSVIEW_USAGE, database)

    assert printed.usage == Usage(input=150, output=30, cache_read=7, cache_write=2)
    assert (printed.tokens, printed.cost_usd, printed.sessions, printed.messages) == (None, Decimal("1.25"), 1, 2)


def test_count_agentsview_unread_part_leaves_out_its_session(tmp_path: Path) -> None:
    """One part that it cannot decode costs the whole session."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    messages = our_index.read_messages(index(tmp_path / "index.duckdb", data_dir))
    (log := tmp_path / "debug.log").write_text(AGENTSVIEW_LOG)

    counted = agentsview.count(data_dir, agentsview_database(tmp_path / "sessions.db"), log, AGENTSVIEW_USAGE, messages)

    assert counted.absent == {"msg_1u": agentsview.UNREAD, "msg_2a": agentsview.UNREAD}


def test_count_agentsview_half_a_character_in_the_database_leaves_out_its_message(tmp_path: Path) -> None:
    """There it reads on, but takes the part for empty, and a message without content for none."""
    text = part("prt_1", "text", "msg_1u", text="\ud83d and more")
    docs = [user(), damaged(text, json.dumps(text.body).encode())]
    data_dir = write_sqlite(tmp_path / "opencode", [project(), session(), *docs])
    messages = our_index.read_messages(index(tmp_path / "index.duckdb", data_dir))
    (log := tmp_path / "debug.log").touch()

    counted = agentsview.count(data_dir, agentsview_database(tmp_path / "sessions.db"), log, AGENTSVIEW_USAGE, messages)

    assert counted.absent == {"msg_1u": agentsview.BROKEN_PARTS}


def test_by_rule_ccusage_counts_last_step_without_negatives_and_copies_again(tmp_path: Path) -> None:
    """The rule is that of the tool, right or wrong."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)

    usages = ccusage.by_rule(data_dir)

    last_step = Usage(input=0, output=10, cache_read=7, reasoning=4)
    assert usages == {"ses_1": last_step, "ses_2": last_step}


def test_explain_ccusage_every_token_has_a_cause(tmp_path: Path) -> None:
    """A message may differ for several reasons; each gets its share."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    messages = our_index.read_messages(index(tmp_path / "index.duckdb", data_dir))
    report = json.loads(CCUSAGE_SESSIONS)
    report["totals"] |= {"inputTokens": 0, "outputTokens": 20, "cacheReadTokens": 14, "cacheCreationTokens": 0}
    report["totals"]["totalTokens"] = 42

    found = differences.explain(messages, ccusage.count(data_dir, json.dumps(report)))

    assert by_cause(found) == {
        ONE_STEP: {"input": -100, "output": -20},
        NEGATIVE: {"input": 50},
        REASONING_TWICE: {"reasoning": 4},
        COPIES: {"output": 10, "cache_read": 7, "reasoning": 4},
    }


def test_explain_report_that_is_not_the_sum_of_its_messages_is_unexplained(tmp_path: Path) -> None:
    """Nothing is explained away: totals that no message accounts for stand alone."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    messages = our_index.read_messages(index(tmp_path / "index.duckdb", data_dir))

    found = differences.explain(messages, ccusage.count(data_dir, CCUSAGE_SESSIONS))

    assert by_cause(found)[differences.UNEXPLAINED] == {
        "input": 170,
        "output": 14,
        "cache_read": -7,
        "cache_write": 2,
        "reasoning": -4,
    }


def test_explain_agentsview_reasoning_and_recorded_cost_are_missing(tmp_path: Path) -> None:
    """What it does not read at all is a cause of its own."""
    usage = tokens(input=-50, output=10, reasoning=40, cache_read=7)
    docs = [assistant(usage=usage, cost=0.5), part("prt_1", "text", text="hi")]
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), session("ses_3"), *docs])
    path = index(tmp_path / "index.duckdb", data_dir)
    messages = our_index.read_messages(path)
    report = json.loads(AGENTSVIEW_USAGE)
    report["totals"] |= {"inputTokens": 0, "outputTokens": 10, "cacheCreationTokens": 0}
    (log := tmp_path / "debug.log").touch()
    database = agentsview_database(tmp_path / "sessions.db", ("msg_2a", "ses_1"))
    counted = agentsview.count(data_dir, database, log, json.dumps(report), messages)

    found = differences.explain(messages, counted)
    differences.explain_sessions(our_index.read_session_ids(path), messages, counted, found)
    differences.explain_cost(messages, counted, found)

    assert by_cause(found) == {NEGATIVE: {"input": 50}, NO_REASONING: {"reasoning": -40}}
    assert found[OWN_PRICES].cost_usd == Decimal("0.75")
    assert found[differences.NO_MESSAGES].sessions == 1
    assert differences.UNEXPLAINED not in found


def test_explain_cost_ccusage_prices_what_is_recorded_as_free(tmp_path: Path) -> None:
    """A copy costs again what the original did."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    messages = our_index.read_messages(index(tmp_path / "index.duckdb", data_dir))
    report = json.loads(CCUSAGE_SESSIONS)
    report["totals"]["totalCost"] = 1.0
    for row in report["sessions"]:
        row["modelBreakdowns"][0]["cost"] = 0.5
    found: differences.Differences = {}

    differences.explain_cost(messages, ccusage.count(data_dir, json.dumps(report)), found)

    assert {cause: each.cost_usd for cause, each in found.items()} == {COPIES: Decimal("0.5")}


def test_read_report_ours_equals_our_messages(tmp_path: Path) -> None:
    """Messages and report are two ways to the same totals."""
    report = """[
      {"day": "2026-01-01", "input_tokens": 50, "output_tokens": 30, "cache_read_tokens": 7, "cache_write_tokens": 0,
       "total_tokens": 87, "cost_recorded_usd": "0.500000000000"}
    ]"""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    path = index(tmp_path / "index.duckdb", data_dir)

    ours = our_index.printed(our_index.read_messages(path), our_index.read_session_ids(path))

    printed = our_index.read_report(report)
    assert (ours.usage, ours.tokens, ours.cost_usd) == (printed.usage, printed.tokens, printed.cost_usd)
    assert (ours.sessions, ours.messages) == (3, 4)


def test_stage_hands_on_storage_and_nothing_else(tmp_path: Path) -> None:
    """Credentials stay where they are."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    (data_dir / "opencode.db").write_bytes(b"rows")
    (data_dir / "auth.json").write_text("{}")

    staged = stage(data_dir, tmp_path / "staged")

    assert sorted(path.name for path in staged.iterdir()) == ["opencode.db", "storage"]
    assert not (staged / "opencode.db").is_symlink()


def test_commands_every_process_is_at_home_in_its_folder(tmp_path: Path) -> None:
    """Nothing of the user's is written to, and no price list is fetched."""
    tools = Tools(tmp_path / "data", tmp_path / "home", Path("agentsview"), Path("ccusage"))

    reports = [tools.our_report("day"), tools.agentsview_report(), tools.ccusage_report("day")]
    commands = [tools.our_load(), tools.agentsview_load(), *reports]

    assert {command.environment["HOME"] for command in commands} == {str(tmp_path / "home")}
    assert ["--offline" in command.arguments for command in reports] == [False, True, True]


def test_until_reader_sees_totals_before_the_process_ends(tmp_path: Path) -> None:
    """What an indexer tidies up afterwards is not waited for, but not cut off either."""
    data_dir = write_json_tree(tmp_path / "opencode", STORAGE)
    path = index(tmp_path / "index.duckdb", data_dir)
    final = our_index.printed(our_index.read_messages(path), our_index.read_session_ids(path))
    tools = Tools(data_dir, tmp_path, Path("agentsview"), Path("ccusage"))

    shown_s = until(tools.our_load(), our_index.Showing(tools.index, final))

    assert shown_s > 0
    assert our_index.read_messages(tools.index) == our_index.read_messages(path)


def test_until_totals_that_never_come_is_an_error(tmp_path: Path) -> None:
    """A time for something else would be worse than none."""
    command = Command(("/bin/true",), {})
    finished = agentsview_database(tmp_path / "finished.db", ("msg_1u", "ses_1"))

    with pytest.raises(RuntimeError, match="ended without showing"):
        until(command, agentsview.Showing(tmp_path / "sessions.db", finished))


def test_run_command_that_fails_names_what_it_said(tmp_path: Path) -> None:
    """A broken tool is not a fast tool."""
    command = Tools(tmp_path, tmp_path, Path("/bin/false"), Path("/bin/false")).agentsview_load()

    with pytest.raises(CommandFailed, match="exit code 1"):
        command.run()


def test_timings_first_index_five_times_as_fast_is_met() -> None:
    """Medians count."""
    results = [Result("first index", "agentsview", 5.0, [1.0, 3.0, 2.0], [10.0, 40.0, 9.0])]

    rows = table.timings(results).splitlines()

    assert rows[-1] == "| first index | 2.00 s | agentsview 10.00 s | 5.00 | ≥ 5: met |"


def test_main_without_the_tools_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are no dependencies of the project."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path)])

    assert "pip install agentsview" in capsys.readouterr().err

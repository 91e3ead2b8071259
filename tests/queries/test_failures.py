"""What failed: counts and their denominators, causes, folded messages, fields of reports, and what it cost."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from queries.failures import (
    GROUPINGS,
    Choice,
    EndedSpend,
    ended_spend,
    failure_examples,
    failure_fields,
    failure_groups,
    failure_patterns,
    failure_rows,
    failure_series,
    failure_totals,
    is_path,
    recovered,
    spent,
)
from queries.period import Scope
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    row,
    session,
    tokens,
    usd,
    user,
    write_session_messages,
)
from tests.conftest import OpenIndex
from tests.queries.test_costs import SCOPES, SETS
from tests.queries.test_overview import call

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]
ALL, ANY, WITH_ABORTED = Scope(), Choice(), Choice(with_aborted=True)


def api_error(message: str, status: int, *, is_retryable: bool = False) -> dict[str, object]:
    """Make the error of a provider."""
    return {"name": "APIError", "data": {"message": message, "statusCode": status, "isRetryable": is_retryable}}


ABORTED = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}

# Three exchanges: one that a provider's error ended after a failed call, one that went on after an error, one that was
# cut short.
DOCS: tuple[Doc, ...] = (
    session(),
    user("msg_1u", created=START_MS),
    assistant("msg_1a", parent="msg_1u", created=START_MS + 1_000, cost=0.25, tokens=tokens(input=10)),
    call("prt_1", "read", "msg_1a", status="error", error="File not found: /src/a1.py"),
    call("prt_2", "bash", "msg_1a"),
    assistant("msg_1b", parent="msg_1u", created=START_MS + 2_000, error=api_error("Overloaded", 529), cost=0),
    user("msg_2u", created=START_MS + 60_000),
    assistant(
        "msg_2a",
        parent="msg_2u",
        created=START_MS + 61_000,
        error=api_error("Rate limit", 429, is_retryable=True),
        cost=0,
    ),
    assistant("msg_2b", parent="msg_2u", created=START_MS + 62_000, cost=0.5, tokens=tokens(input=20)),
    call("prt_3", "read", "msg_2b", status="error", error="File not found: /src/b22.py"),
    user("msg_3u", created=START_MS + 120_000),
    assistant("msg_3a", parent="msg_3u", created=START_MS + 121_000, error=ABORTED, cost=0.125, tokens=tokens(input=5)),
)


def test_failure_totals_counts_and_what_they_are_of(open_index: OpenIndex) -> None:
    """Four failures of four answers and three calls; the one that was cut short is on neither side."""
    con = open_index(*DOCS)

    found = failure_totals(con, ALL, ANY)

    assert (found.failed_answers, found.failed_calls, found.answers, found.calls) == (2, 2, 4, 3)
    assert (found.aborted_answers, found.top_category, found.top_errors) == (1, "file_not_found", 2)
    assert found.per_1000 == pytest.approx(4_000 / 7)


def test_failure_totals_aborted_count_if_asked_for(open_index: OpenIndex) -> None:
    """Then they are on both sides."""
    con = open_index(*DOCS)

    found = failure_totals(con, ALL, WITH_ABORTED)

    assert (found.failed_answers, found.answers) == (3, 5)


def test_failure_totals_answers_without_an_end_are_in_no_rate(open_index: OpenIndex) -> None:
    """One of two finished answers failed; one that was closed with nothing in it says nothing of its model, either."""
    con = open_index(
        session(),
        user(),
        assistant("msg_1a", cost=0, error=api_error("Overloaded", 529)),
        assistant("msg_1b", tokens=tokens(input=10)),
        assistant("msg_1c", cost=0, finish=None, modelID="other"),
    )

    found = failure_totals(con, ALL, ANY)

    assert (found.failed_answers, found.answers, found.unfinished_answers, found.per_1000) == (1, 2, 1, 500)
    assert [(row.key, row.answers) for row in failure_rows(con, "model", ALL, ANY)] == [("acme/nova", 2)]
    assert [(row.key, row.answers) for row in failure_rows(con, "tool", ALL, WITH_ABORTED)] == [(None, 2)]


def test_failure_rows_tools_have_their_own_calls(open_index: OpenIndex) -> None:
    """A tool without a failure has a row, too; answers are one of their own."""
    con = open_index(*DOCS)

    found = {row.key: (row.errors, row.calls, row.answers) for row in failure_rows(con, "tool", ALL, ANY)}

    assert found == {"read": (2, 2, 0), None: (2, 0, 4), "bash": (0, 1, 0)}


def test_failure_rows_group_without_failure_has_no_part_of_them(open_index: OpenIndex) -> None:
    """Where others failed its share is known: 0."""
    con = open_index(*DOCS)

    found = {row.key: row.share for row in failure_rows(con, "tool", ALL, ANY)}

    assert found == {"read": 0.5, None: 0.5, "bash": 0}


@pytest.mark.parametrize("by", ["provider", "model", "agent", "tool"])
def test_failure_rows_nothing_failed_has_no_share(by: str, open_index: OpenIndex) -> None:
    """A part of nothing is unknown, not 0."""
    con = open_index(session(), user(), assistant("msg_1a", error=ABORTED), assistant("msg_2a"), call("prt_1"))

    rows = failure_rows(con, by, ALL, ANY)

    assert rows
    assert [(row.errors, row.share) for row in rows] == [(0, None)] * len(rows)


def test_failure_patterns_fold_what_differs(open_index: OpenIndex) -> None:
    """Two missing files are one message; codes and whether to try again come from the report."""
    con = open_index(*DOCS)

    found = {
        (row.category, row.pattern): (row.errors, row.status_codes, row.retryable, row.not_retryable)
        for row in failure_patterns(con, ALL, ANY)
    }

    assert found == {
        ("file_not_found", "File not found: <path>"): (2, None, 0, 0),
        ("server_error", "Overloaded"): (1, "529", 0, 1),
        ("rate_limit", "Rate limit"): (1, "429", 1, 0),
    }


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("ENOENT: no such file, open '/home/dev/shop/c-1.py'", "ENOENT: no such file, open '<path>'"),
        (r"Cannot find C:\dev\shop\main.rs", "Cannot find <path>"),
        ("See https://docs.example/a?b=1 for details", "See <url> for details"),
        ("Took 12.5 s of 1,000 at 10:15", "Took <n> s of <n> at <n>"),
        ("Request 3fa85f64-5717-4562-b3fc-2c963f66afa6 failed", "Request <id> failed"),
        ("No session ses_0332d3229184c1ae4c48bb42a2", "No session <id>"),
        ("Tool execution aborted", "Tool execution aborted"),
        ("image exceeds 5 MB: 12345678 bytes > 5242880 bytes", "image exceeds <n> MB: <n> bytes > <n> bytes"),
        ("No output for call_hAaBbCcDdEeFfGgHhIiJj0kK", "No output for <id>"),
        ("Failed: req_vrtx_011CSHoEeqs5C35K2UUqR7Fy", "Failed: <id>"),
        ("bad object 7cd2e66 (parent abcdef12, not defaced)", "bad object <id> (parent <id>, not defaced)"),
        ("ended at 2026-11-03T12:00:00.000Z", "ended at <n>-<n>-<n>T<n>Z"),
        ("File not found: /home/josé/проект/файл.md", "File not found: <path>"),
        ("File not found: src/app/(shop)/[[...slug]]/page.tsx", "File not found: <path>"),
    ],
)
def test_failure_patterns_variable_pieces_are_named(line: str, pattern: str, open_index: OpenIndex) -> None:
    """Words stay."""
    con = open_index(session(), user(), assistant("msg_2a"), call("prt_1", "read", status="error", error=line))

    found = failure_patterns(con, ALL, ANY)

    assert [row.pattern for row in found] == [pattern]


def test_failure_patterns_status_of_the_third_generation_is_named(tmp_path: Path, open_index: OpenIndex) -> None:
    """OpenCode 2.0 writes what the provider answered beside the message, not in `data`."""
    failed = answer("msg_2a", 2, error={"type": "provider.rate-limit", "message": "Too many", "status": 429})
    docs = [session(version="2.0.0"), row("msg_1u", "user", 1, text="hello"), failed]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    found = failure_patterns(con, ALL, ANY)

    assert [(row.name, row.pattern, row.status_codes) for row in found] == [("provider.rate-limit", "Too many", "429")]


def test_failure_patterns_other_lines_of_a_report_do_not_split_it(open_index: OpenIndex) -> None:
    """Of a tool's report the first line tells, of a program's output the last one."""
    con = open_index(
        session(),
        user(),
        assistant("msg_2a"),
        call("prt_1", "read", status="error", error="Not found\none"),
        call("prt_2", "read", status="error", error="Not found\ntwo"),
        call("prt_3", output="compiling\n2 errors", metadata={"exit": 1}),
        call("prt_4", output="linking\n3 errors\n", metadata={"exit": 2}),
    )

    found = [(row.name, row.pattern, row.errors, row.status_codes) for row in failure_patterns(con, ALL, ANY)]

    assert sorted(found) == [("bash", "<n> errors", 2, "1, 2"), ("read", "Not found", 2, None)]


def test_failure_patterns_long_line_is_folded_before_it_is_cut(open_index: OpenIndex) -> None:
    """A longer path in front must not end the same line elsewhere, and look like another cause."""
    shallow, deep = "/a/b.ts", "/home/dev/projects/shop/packages/cart/src/checkout.ts"
    con = open_index(
        session(),
        user(),
        assistant("msg_2a"),
        call("prt_1", "edit", status="error", error=f"No match in {shallow}: {'word ' * 100}"),
        call("prt_2", "edit", status="error", error=f"No match in {deep}: {'word ' * 100}"),
    )

    (row,) = failure_patterns(con, ALL, ANY)

    assert (row.errors, row.pattern) == (2, f"No match in <path>: {'word ' * 100}"[:300])
    assert len(failure_examples(con, ALL, ANY, row)) == 2


def test_failure_patterns_colours_of_a_terminal_are_no_part_of_a_line(open_index: OpenIndex) -> None:
    """A line that only ends the colour is not what a program said last."""
    con = open_index(
        session(),
        user(),
        assistant("msg_2a"),
        call("prt_1", output="\x1b[31m2 errors\x1b[39m\n\x1b[0m\n", metadata={"exit": 1}),
        call("prt_2", output="3 errors\n", metadata={"exit": 1}),
        call("prt_3", "read", status="error", error="\x1b[1;31mNot found\x1b[0m"),
    )

    found = [(row.name, row.pattern, row.errors) for row in failure_patterns(con, ALL, ANY)]

    assert found == [("bash", "<n> errors", 2), ("read", "Not found", 1)]


def test_failure_series_steps_are_local_days(open_index: OpenIndex) -> None:
    """The first day of 2026 in UTC is still 2025 in New York."""
    con = open_index(*DOCS)

    found = failure_series(con, "category", "day", Scope(tz="America/New_York"), ANY)

    assert {(point.step_at.isoformat(), point.key, point.errors) for point in found} == {
        ("2025-12-31T00:00:00", "file_not_found", 2),
        ("2025-12-31T00:00:00", "rate_limit", 1),
        ("2025-12-31T00:00:00", "server_error", 1),
    }


def test_failure_series_weeks_begin_on_the_first_weekday(open_index: OpenIndex) -> None:
    """2026 begins on a Thursday."""
    con = open_index(*DOCS)

    found = failure_series(con, "category", "week", Scope(first_weekday=6), ANY)

    assert {point.step_at.isoformat() for point in found} == {"2025-12-28T00:00:00"}


def test_failure_totals_one_cause_keeps_what_was_tried(open_index: OpenIndex) -> None:
    """A rate is of all answers and calls, whatever cause is asked for."""
    con = open_index(*DOCS)

    found = failure_totals(con, ALL, Choice(categories=("rate_limit",)))

    assert (found.errors, found.answers, found.calls) == (1, 4, 3)


def test_failure_groups_any_field_of_the_report(open_index: OpenIndex) -> None:
    """Fields that occur are listed; grouping by one counts those without it, too."""
    con = open_index(*DOCS)

    paths = {field.path for field in failure_fields(con, ALL, ANY)}
    groups = {row.value: row.errors for row in failure_groups(con, "$.data.statusCode", ALL, ANY)}

    assert {"$.name", "$.data.statusCode", "$.data.isRetryable", "$.status", "$.message"} <= paths
    assert groups == {None: 2, "429": 1, "529": 1}


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("$.data.statusCode", True),
        ('$.data."odd name"[0]', True),
        ("$", True),
        ("data.statusCode", False),
        ("$.*", False),
        ("$..name", False),
        ("$.a'; DROP TABLE parts; --", False),
        ("", False),
    ],
)
def test_is_path_one_place_only(path: str, is_one: bool) -> None:
    """What names no place, or many, is refused before it reaches the index."""
    assert is_path(path) == is_one


def test_failure_groups_no_path_is_refused(open_index: OpenIndex) -> None:
    """By the caller's own check, not by an error of the database."""
    con = open_index(*DOCS)

    with pytest.raises(ValueError, match="not a path"):
        failure_groups(con, "nonsense", ALL, ANY)


def test_failure_examples_of_a_pattern_newest_first(open_index: OpenIndex) -> None:
    """Each with its event, and all that was reported."""
    con = open_index(*DOCS)
    (pattern,) = [row for row in failure_patterns(con, ALL, ANY) if row.category == "file_not_found"]

    found = failure_examples(con, ALL, ANY, pattern)

    assert [row.failure_id for row in found] == ["prt_1", "prt_3"]  # at the same time: by id
    assert {row.line for row in found} == {"File not found: /src/a1.py", "File not found: /src/b22.py"}


def test_ended_spend_an_exchange_is_charged_once(open_index: OpenIndex) -> None:
    """To the error that ended it, as a whole; the exchange that went on is charged to nobody."""
    con = open_index(*DOCS)

    found = ended_spend(con, ALL, ANY)

    assert [(row.category, row.is_aborted, row.exchanges, row.cost_recorded_usd) for row in found] == [
        ("server_error", False, 1, usd("0.25")),
        ("aborted", True, 1, usd("0.125")),
    ]
    assert (spent(found, with_aborted=False), spent(found, with_aborted=True)) == (usd("0.25"), usd("0.375"))


def test_ended_spend_exchange_of_unknown_time_lasted_nobody_knows_how_long(open_index: OpenIndex) -> None:
    """Which is not 0 ms; nor is it added to what others lasted."""
    error = {"name": "APIError", "data": {"message": "no", "statusCode": 500}}
    docs = [session(), user(time={}), assistant(time={}, error=error)]
    timed = [user("msg_3u", created=START_MS + 9_000), assistant("msg_4a", parent="msg_3u", created=START_MS + 10_000,
                                                                 completed=START_MS + 12_000, error=error)]  # fmt: skip

    unknown = ended_spend(open_index(*docs), ALL, ANY)
    both = ended_spend(open_index(*docs, *timed), ALL, ANY)

    assert [(row.exchanges, row.duration_ms) for row in unknown] == [(1, None)]
    assert [(row.exchanges, row.duration_ms) for row in both] == [(2, 3_000)]


def test_recovered_errors_after_which_the_work_went_on(open_index: OpenIndex) -> None:
    """Failed calls, and an answer that another one followed."""
    con = open_index(*DOCS)

    found = {row.category: (row.failed_answers, row.failed_calls, row.exchanges) for row in recovered(con, ALL, ANY)}

    assert found == {"file_not_found": (0, 2, 2), "rate_limit": (1, 0, 1)}


def test_recovered_call_of_the_answer_that_ended_its_exchange_is_none(open_index: OpenIndex) -> None:
    """Where the user stops an answer, OpenCode lets the call that runs fail, too: nothing went on."""
    con = open_index(
        session(),
        user(),
        assistant(error={"name": "MessageAbortedError", "data": {"message": "Aborted"}}),
        call("prt_1", status="error", error="Tool execution aborted"),
    )

    found = recovered(con, ALL, ANY)

    assert found == []


def test_failures_copies_of_a_fork_count_once(open_index: OpenIndex) -> None:
    """What was copied failed once, and was paid for once."""
    con = open_index(*DOCS, session("ses_2", created=START_MS + 500_000), *copied(DOCS[1:], "ses_2", "_f"))

    found = ended_spend(con, ALL, ANY)

    assert spent(found, with_aborted=True) == usd("0.375")


@pytest.mark.parametrize("name", SETS)
def test_ended_spend_real_data_equals_failed_exchanges(name: str, real_index: RealIndex) -> None:
    """The rows add up to what all failed and aborted exchanges spent: cost, tokens and how many."""
    con = real_index(name)

    found = ended_spend(con, ALL, ANY)

    def total(row: EndedSpend) -> Decimal:
        """Return what was recorded, where something was."""
        return row.cost_recorded_usd or Decimal(0)

    expected = con.execute(
        """
        SELECT count(*), coalesce(sum(total_tokens), 0), coalesce(sum(cost_recorded_usd), 0)
        FROM exchanges WHERE status IN ('failed', 'aborted') AND NOT is_fork_copy
        """
    ).fetchone()
    assert expected == (
        sum(row.exchanges for row in found),
        sum(row.total_tokens for row in found),
        sum(map(total, found), Decimal(0)),
    )


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_failures_any_scope_adds_up(name: str, scope: Scope, real_index: RealIndex) -> None:
    """Rows of every grouping, the messages and, at known times, the course have the errors of the headline."""
    con = real_index(name)

    whole = failure_totals(con, scope, ANY)

    sums = {by: sum(row.errors for row in failure_rows(con, by, scope, ANY)) for by in GROUPINGS}
    assert set(sums.values()) == {whole.errors}
    assert sum(row.errors for row in failure_patterns(con, scope, ANY)) == whole.errors
    assert sum(row.errors for row in failure_groups(con, "$.name", scope, ANY)) == whole.errors
    courses = {by: sum(point.errors for point in failure_series(con, by, "day", scope, ANY)) for by in GROUPINGS}
    assert len(set(courses.values())) == 1
    assert max(courses.values()) <= whole.errors
    assert len(failure_examples(con, scope, ANY)) <= whole.errors

"""What the indexer really does, out of what it says and what it left behind."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pages.ui.activity import Activity, condition, is_at_work

NOW = datetime(2026, 11, 23, 12)
HEARD = Activity(
    at=NOW - timedelta(seconds=5),
    is_heard=True,
    phase="real-time",
    queue=0,
    waiting_since=None,
    latency_ms=None,
    documents_per_second=0.0,
    followed=(),
    next_comparison_at=None,
    last_comparison_ms=None,
    problem=None,
)
LONG_AGO, BEFORE, AFTER = NOW - timedelta(hours=1), NOW - timedelta(seconds=6), NOW - timedelta(seconds=4)
SILENT = replace(HEARD, at=LONG_AGO, is_heard=False)


@pytest.mark.parametrize(
    ("phase", "written_at", "said", "expected"),
    [
        ("real-time", LONG_AGO, HEARD, "real-time"),
        ("bulk", BEFORE, HEARD, "real-time"),
        ("stopped", LONG_AGO, replace(HEARD, phase="bulk"), "bulk"),
        ("stopped", AFTER, HEARD, "stopped"),
        ("real-time", BEFORE, replace(HEARD, phase="stopped"), "stopped"),
        ("failed", LONG_AGO, SILENT, "failed"),
        ("real-time", LONG_AGO, SILENT, "gone"),
        ("bulk", LONG_AGO, None, "gone"),
        ("bulk", BEFORE, None, "bulk"),
        ("bulk", BEFORE, SILENT, "bulk"),
        ("stopped", LONG_AGO, None, "stopped"),
    ],
)
def test_condition_goes_by_what_was_heard_last(
    phase: str, written_at: datetime, said: Activity | None, expected: str
) -> None:
    """The newest of heartbeat and batch counts; a phase alone proves nothing."""
    assert condition(phase, written_at, said, NOW) == expected


@pytest.mark.parametrize(
    ("does", "expected"),
    [("bulk", True), ("real-time", True), ("new", True), ("stopped", False), ("failed", False), ("gone", False)],
)
def test_is_at_work_is_true_for_phases_of_a_running_indexer(does: str, expected: bool) -> None:
    """Also for one that is not known here."""
    assert is_at_work(does) is expected


@pytest.mark.parametrize(
    ("waited_s", "silent_s", "expected_s"), [(None, 0, 0), (2, 0, 2), (2, 9, 2), (2, 20, 22), (-3, 0, 0)]
)
def test_delay_is_that_of_the_last_word_until_the_next_is_overdue(
    waited_s: int | None, silent_s: int, expected_s: int
) -> None:
    """What waited when the indexer spoke is mostly done since; one that says nothing any more is stuck."""
    since = None if waited_s is None else NOW - timedelta(seconds=waited_s)
    said = replace(HEARD, at=NOW, waiting_since=since)

    assert said.delay(NOW + timedelta(seconds=silent_s)) == timedelta(seconds=expected_s)


def test_current_until_ends_where_something_waits() -> None:
    """Only a follower promises that nothing is missing."""
    waiting = replace(HEARD, waiting_since=LONG_AGO)

    assert HEARD.current_until() == HEARD.at
    assert waiting.current_until() == LONG_AGO
    assert replace(HEARD, phase="bulk").current_until() is None

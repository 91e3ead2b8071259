"""Answers that are found before anybody asks."""

import logging
import subprocess
import sys
import threading

import duckdb
import pytest

from pages.ui.ahead import Ahead
from tests.following import wait_for
from tests.pages.conftest import ROOT


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_answer_questions_are_answered_in_order_by_another_thread() -> None:
    """Who asked does not wait for it."""
    answered: list[tuple[int, int]] = []

    is_taken = Ahead().answer([lambda n=n: answered.append((n, threading.get_ident())) for n in range(3)])  # type: ignore[misc]
    wait_for(lambda: len(answered) == 3)

    assert is_taken
    assert [number for number, _ in answered] == [0, 1, 2]
    assert threading.get_ident() not in {thread for _, thread in answered}


def test_answer_while_at_others_is_refused() -> None:
    """One thread at a time, whatever the number of tabs."""
    ahead, go_on, answered = Ahead(), threading.Event(), list[str]()

    first = ahead.answer([go_on.wait, lambda: answered.append("first")])
    second = ahead.answer([lambda: answered.append("second")])
    go_on.set()
    wait_for(lambda: answered)

    assert (first, second) == (True, False)
    assert answered == ["first"]


@pytest.mark.parametrize(("waited_s", "expected"), [(17.0, False), (19.0, True)])
def test_answer_rests_nine_times_as_long_as_it_took(waited_s: float, expected: bool) -> None:
    """An indexer at work always has something newer; a tenth of the time is enough for it."""
    clock, done = Clock(), threading.Event()
    ahead = Ahead(clock)

    def last_two_seconds() -> None:
        """Take a while."""
        clock.now += 2.0

    ahead.answer([last_two_seconds])
    wait_for(lambda: not ahead.is_busy)
    clock.now += waited_s

    assert ahead.answer([done.set]) is expected
    wait_for(lambda: not ahead.is_busy)
    assert done.is_set() is expected


def test_answer_question_that_fails_is_told_and_the_next_ones_come(caplog: pytest.LogCaptureFixture) -> None:
    """The page that asks the same says what is wrong; here it is only noted."""
    ahead, done = Ahead(), threading.Event()

    def fail() -> None:
        """Fail as a query does."""
        raise duckdb.IOException("the disk is gone")

    with caplog.at_level(logging.INFO):
        ahead.answer([fail, done.set])
        wait_for(lambda: not ahead.is_busy)

    assert done.is_set()
    assert "not answered ahead: the disk is gone" in caplog.text


# DuckDB is in the middle of the first question, for some tenths of a second, when the program comes to its end.
ENDING = """
import duckdb, threading
from pages.ui.ahead import Ahead

begun = threading.Event()

def ask(number):
    begun.set()
    duckdb.connect().execute("SELECT sum(sqrt(i)) FROM range(40_000_000) t(i)").fetchall()
    print("answered", number)

Ahead().answer([lambda: ask(1), lambda: ask(2)])
begun.wait()
"""


def test_answer_while_the_program_ends_the_question_is_finished_and_no_other_begun() -> None:
    """A thread that Python leaves behind inside DuckDB ends the process by SIGABRT, now and then."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "answered 1\n", "")

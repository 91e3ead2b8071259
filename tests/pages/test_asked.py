"""What a page asked, asked again with other filters while it is drawn."""

from collections.abc import Callable, Sequence

import duckdb
import pytest

from indexer.published import Snapshot
from pages.ui import ahead, data
from pages.ui.ahead import Ahead
from pages.ui.asked import Question, Run
from queries.period import Scope
from tests.builders import assistant, project, session
from tests.pages.conftest import OpenApp

BEFORE, NOW = Scope(tz="Europe/Vienna"), Scope(tz="Europe/Vienna", agents=("build",))
DOCS = (project(), session(), assistant("msg_1", agent="build", cost=1), assistant("msg_2", agent="plan", cost=2))
OF_SESSION = Scope(tz="Europe/Vienna", session_id="ses_1")


def query(con: duckdb.DuckDBPyConnection, *args: object, limit: int = 0) -> None:
    """Stand for any query."""


def other_query(con: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    """Stand for another one."""


def run_of(*questions: Question, scope: Scope | None = BEFORE) -> Run:
    """Make a run that asked something of revision `r1`."""
    run = Run("costs", "r1", scope)
    for question in questions:
        run.add(question)
    return run


def test_with_filters_questions_about_them_are_asked_again_in_order() -> None:
    """What has no filters, or others, such as those of one session, is the same whatever the filters are."""
    run = run_of(
        Question(query, ("agent", BEFORE), {"limit": 3}),
        Question(query, ("agent",), {}),
        Question(query, (OF_SESSION,), {}),
        Question(other_query, (BEFORE,), {}),
        Question(query, ("agent", BEFORE), {"limit": 3}),
    )

    found = list(run.with_filters("r1", NOW))

    assert found == [Question(query, ("agent", NOW), {"limit": 3}), Question(other_query, (NOW,), {})]


@pytest.mark.parametrize(("key", "now", "expected"), [("r1", BEFORE, 0), ("r2", BEFORE, 1), ("r1", NOW, 1)])
def test_with_filters_what_was_asked_is_not_asked_again(key: str, now: Scope, expected: int) -> None:
    """The same filters on the same revision have their answers already."""
    run = run_of(Question(other_query, (BEFORE,), {}))

    found = list(run.with_filters(key, now))

    assert len(found) == expected


def test_with_filters_without_any_before_nothing_is_known() -> None:
    """A run that ended before it looked at the filters says nothing about them."""
    run = run_of(Question(other_query, (BEFORE,), {}), scope=None)

    found = list(run.with_filters("r2", NOW))

    assert found == []


class Beside:
    """Stands for the thread that answers beside a page: it is done before the page goes on, or only begins later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the thread, and count what is really asked of the index."""
        self.is_quick = True
        self.count, self.count_of_pages = 0, 0
        self.left: list[ahead.Ask] = []
        self._is_at_it = False
        run = data._run

        def counted(snapshot: Snapshot, ask: Callable[[duckdb.DuckDBPyConnection], object]) -> object:
            """Count a question."""
            self.count += self._is_at_it
            self.count_of_pages += not self._is_at_it
            return run(snapshot, ask)

        monkeypatch.setattr(data, "_run", counted)
        monkeypatch.setattr(Ahead, "answer", lambda _, asks: self.answer(asks))

    def answer(self, asks: Sequence[ahead.Ask]) -> bool:
        """Take some questions."""
        self.left.extend(asks)
        if self.is_quick:
            self.go_on()
        return True

    def go_on(self) -> None:
        """Answer what is left."""
        self._is_at_it = True
        for ask in self.left:
            ask()
        self.left, self._is_at_it = [], False


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Beside:
    """Count from now on."""
    return Beside(monkeypatch)


@pytest.mark.parametrize("page", ["overview", "costs", "cache", "activity", "sessions", "errors", "tools", "ledger"])
def test_foresee_other_filters_are_answered_beside_the_page(page: str, open_app: OpenApp, beside: Beside) -> None:
    """Where that thread is quick, the page finds all its answers, and asks nothing itself."""
    app = open_app(*DOCS, page=page, range="all")
    assert (beside.count, beside.count_of_pages > 0) == (0, True)  # nothing is known of a page at first
    beside.count_of_pages = 0

    app.session_state["agent"] = ["build"]
    app.run()

    assert not app.exception
    assert (beside.count > 0, beside.count_of_pages) == (True, 0)


def test_foresee_a_run_that_is_over_asks_no_more(open_app: OpenApp, beside: Beside) -> None:
    """Who types on no longer needs what was left of the letters before."""
    app = open_app(*DOCS, page="costs", range="all")
    beside.is_quick = False

    app.session_state["q"] = "x"
    app.run()
    stale = beside.left
    app.session_state["q"] = "xy"
    app.run()
    beside.left = stale
    beside.go_on()

    assert stale
    assert beside.count == 0

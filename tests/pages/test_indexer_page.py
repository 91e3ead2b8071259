"""The Indexer page, without a browser."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from indexer import activity
from indexer.activity import Activity, Watched, take_retry_request, write_activity
from indexer.database import Database
from indexer.publish import Publisher
from pages.ui import data, display, indexing
from queries import exported_tables
from queries.indexing import DocumentProblem, Indexing
from queries.table_files import csv_bytes
from tests.builders import (
    Doc,
    answer,
    assistant,
    damaged,
    part,
    row,
    session,
    user,
    write_json_tree,
    write_session_messages,
)
from tests.pages.conftest import OpenApp, change, has_filter_bar, headline, index, texts, turn_page
from tests.queries.test_indexing import RUNNING, START

RealPath = Callable[[str], Path]
DOCS = (session(), user(), assistant())
HOSTILE = "prt_![x](http:--example.com-a.png) <img src=x onerror=alert(1)>"


def ms(moment: datetime) -> int:
    """Return a naive UTC moment as epoch milliseconds."""
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def now_ms() -> int:
    """Return the present as epoch milliseconds."""
    return ms(data.now())


def stopped_clock(monkeypatch: pytest.MonkeyPatch, ahead: timedelta = timedelta()) -> None:
    """Stop the clock of the pages, now or later."""
    then = data.now() + ahead
    monkeypatch.setattr(data, "now", lambda: then)


def say(path: Path, **words: Any) -> None:
    """Speak as an indexer that follows and has nothing to do, but for what is given."""
    said = Activity(
        pid=1,
        at_ms=now_ms(),
        phase="real-time",
        queue=0,
        waiting_since_ms=None,
        latency_ms=120,
        documents_per_second=4.5,
        watched=(),
        next_comparison_at_ms=now_ms() + 48_000,
        last_comparison_ms=2_100,
        problem=None,
    )
    write_activity(path, replace(said, **words))


def indexed(folder: Path, *docs: Doc, phase: str = "stopped", message: str = "test") -> Path:
    """Index a few documents and leave the phase."""
    path = index(folder / "indexed.duckdb", write_json_tree(folder / "opencode", [*DOCS, *docs]))
    with Database.open(path) as database:
        publisher = Publisher(database)
        database.set_phase(phase, message)
        publisher.close()
    return path


def test_indexer_says_how_much_the_settings_leave_out(open_app: OpenApp, tmp_path: Path) -> None:
    """Counts, and no names."""
    path = indexed(tmp_path)
    say(path, excluded_projects=1, excluded_sessions=12)

    app = open_app(path, page="indexer")

    assert "1 project and 12 sessions are left out by the settings." in texts(app)


def shown(app: AppTest) -> str:
    """Return everything that can be read, progress too."""
    return "\n".join([texts(app), *(str(bar.proto.text) for bar in app.get("progress"))])


def test_indexer_after_a_pass_says_what_is_there(open_app: OpenApp, real_path: RealPath) -> None:
    """Phase in words, four numbers, sources, nothing bad, history; no filter bar."""
    app = open_app(real_path("json"), page="indexer")

    assert not app.exception
    assert app.title[0].value == "Indexer"
    assert "Stopped" in app.subheader[0].value and "Start the indexer to read what is new" in shown(app)
    numbers = headline(app)
    assert (numbers["Messages"], numbers["Bad documents"]) == ("672", "0")
    assert numbers["Index file"].endswith(" MB")
    assert any(str(metric.delta).endswith(" MB on disk in all") for metric in app.metric)
    assert "None: every document was read in full." in shown(app)
    sources, history = (table.value for table in app.dataframe)
    assert list(sources["Storage"]) == ["JSON tree (before 1.2)"]
    assert list(history["Phase"]) == ["stopped", "bulk"]
    assert not has_filter_bar(app)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("phase = 'bulk', last_full_pass_at = NULL", "First index running"),
        ("phase = 'bulk'", "Comparing"),
        ("phase = 'real-time'", "Following changes"),
        ("phase = 'stopped', last_full_pass_at = NULL", "Stopped before the first pass ended"),
        ("phase = 'failed'", "Failed"),
        ("phase = 'new [phase](x)'", r"new \[phase\]\(x\)"),
    ],
)
def test_indexer_each_phase_is_said_in_words(state: str, words: str, open_app: OpenApp, tmp_path: Path) -> None:
    """Also one that this version does not know."""
    path = indexed(tmp_path)
    change(path, f"UPDATE sync_state SET documents_total = 4000, documents_done = 1234, {state}")

    app = open_app(path, page="indexer")

    assert not app.exception
    assert words in app.subheader[0].value
    is_cut_short = "last_full_pass_at = NULL" in state
    assert ("1,234 of 4,000 messages read" in shown(app)) == ("bulk" in state or is_cut_short)


def test_indexer_that_follows_says_how_fast(open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delay, queue, speed, comparisons, and how each place is followed, with the reason."""
    path = indexed(tmp_path, phase="real-time")
    stopped_clock(monkeypatch)
    storage = str(tmp_path / "opencode" / "storage")
    say(
        path,
        waiting_since_ms=now_ms() - 1_200,
        queue=3,
        watched=(
            Watched(storage, "scanning", "The limit of watched folders is too low."),
            Watched("/elsewhere/opencode.db", "polling", None),
        ),
    )

    app = open_app(path, page="indexer")

    assert not app.exception
    assert "Following changes" in app.subheader[0].value
    numbers = headline(app)
    assert (numbers["Delay"], numbers["Waiting"], numbers["Documents per second"]) == ("1.2 s", "3", "4.5")
    assert numbers["Everything compared"] == "just now"
    besides = [str(metric.delta) for metric in app.metric]
    assert "last one took 120 ms" in besides and "took 2.1 s, next in 48 s" in besides
    sources = app.dataframe[0].value
    assert list(sources["Followed"]) == ["scanned now and then", "checked all the time"]
    assert list(sources["State"]) == ["read", "nothing there yet"]
    assert any("written into the index: data version " in metric.help for metric in app.metric)
    assert display.md(f"{storage}: The limit of watched folders is too low.") in texts(app)
    assert not app.code


def test_indexer_that_was_killed_says_so_and_how_to_go_on(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its phase says real-time still; its heartbeat does not."""
    path = indexed(tmp_path, phase="real-time")
    say(path)
    stopped_clock(monkeypatch, ahead=timedelta(seconds=200))

    app = open_app(path, page="indexer")

    assert "Ended unexpectedly" in app.subheader[0].value
    assert "3m 2" in shown(app)
    assert [code.value for code in app.code] == [".venv/bin/python -m indexer run"]
    assert set(headline(app)) == {"Everything compared", "Messages", "Bad documents", "Index file"}
    assert list(app.dataframe[0].value["Followed"]) == ["no"]


def test_indexer_without_a_word_is_not_running(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no heartbeat at all, and the last batch is old."""
    path = indexed(tmp_path, phase="bulk")
    stopped_clock(monkeypatch, ahead=timedelta(minutes=1))

    app = open_app(path, page="indexer")

    assert "Ended unexpectedly" in app.subheader[0].value


def test_indexer_that_failed_gives_the_reason(open_app: OpenApp, tmp_path: Path) -> None:
    """The last line of the history says why."""
    path = indexed(tmp_path, phase="failed", message="The working file is damaged at byte 7.")

    app = open_app(path, page="indexer")

    assert "Failed" in app.subheader[0].value
    assert "The working file is damaged at byte 7." in texts(app)
    assert [code.value for code in app.code] == [".venv/bin/python -m indexer run"]


def test_indexer_disk_full_is_said_while_it_retries(open_app: OpenApp, tmp_path: Path) -> None:
    """The indexer is still there, and says what it needs; its text is plain."""
    path = indexed(tmp_path, phase="real-time")
    say(path, problem="The disk of /home/x is full; free 200 MB. ![x](http://example.com/a.png)")

    app = open_app(path, page="indexer")

    assert "Following changes" in app.subheader[0].value
    assert "is full; free 200 MB" in app.warning[0].value and "changes wait; none is lost" in texts(app)
    assert "![x]" not in app.warning[0].value


def test_progress_says_how_long_it_takes_only_where_it_can() -> None:
    """The estimate goes on between two batches and never invents a number."""
    later = RUNNING.updated_at + timedelta(seconds=10)

    def said(found: Indexing, now: datetime) -> str:
        """Say it without an earlier state."""
        return indexing.progress(found, None, now)

    assert said(RUNNING, RUNNING.updated_at) == "1,000 of 4,000 messages read · about 1m 00s left at this pace"
    assert said(RUNNING, later).endswith("about 50 s left at this pace")
    assert said(RUNNING, START + timedelta(hours=1)).endswith("about 1.0 s left at this pace")
    assert said(replace(RUNNING, documents_done=0), later).endswith("time left not known yet")
    assert "not known yet" in said(replace(RUNNING, documents_total=None), later)


def test_progress_pace_that_changes_gives_a_span() -> None:
    """1,000 in 20 s as a whole, but the last 100 took 10 s."""
    earlier = replace(RUNNING, documents_done=900, updated_at=START + timedelta(seconds=10))

    text = indexing.progress(RUNNING, earlier, RUNNING.updated_at)

    assert text.endswith("1m 00s to 5m 00s left, as the pace varies")


def test_indexer_silent_pass_says_how_long(open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The indexer is there, but writes nothing."""
    path = indexed(tmp_path)
    change(path, "UPDATE sync_state SET phase = 'bulk', documents_total = 9, documents_done = 4")
    busy = shown(open_app(path, page="indexer"))
    stopped_clock(monkeypatch, ahead=timedelta(minutes=5, seconds=30))
    say(path, phase="bulk")

    app = open_app(path, page="indexer")

    assert "Nothing was written" not in busy
    assert "Nothing was written for 5m" in shown(app)


@pytest.mark.parametrize(
    ("does", "seconds"), [("bulk", 2), ("real-time", 5), ("stopped", 30), ("failed", 30), ("gone", 30)]
)
def test_tick_s_goes_by_what_happens(does: str, seconds: int) -> None:
    """Often while something changes, else seldom."""
    assert indexing.tick_s(does) == seconds


def test_indexer_starts_over_with_another_tick_when_the_phase_changes(open_app: OpenApp, tmp_path: Path) -> None:
    """A page drawn while the indexer was stopped follows the one that starts."""
    path = indexed(tmp_path)
    app = open_app(path, page="indexer")
    before = app.subheader[0].value
    say(path, phase="bulk", at_ms=now_ms() + 5_000)

    app.run()

    assert not app.exception
    assert "Stopped" in before and "Comparing" in app.subheader[0].value


def test_indexer_bad_documents_are_asked_for_again(open_app: OpenApp, tmp_path: Path) -> None:
    """The button leaves the request for the indexer that runs, and says so."""
    path = indexed(tmp_path, damaged(part("prt_2", "text"), b"{"), phase="real-time")
    say(path)
    app = open_app(path, page="indexer")
    before = take_retry_request(path)

    app.button(key="indexer_retry").click().run()

    assert not app.exception
    assert (before, take_retry_request(path)) == (False, True)
    assert "Asked at" in texts(app)


def test_indexer_bad_documents_request_that_fails_is_said(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for what was never asked."""
    path = indexed(tmp_path, damaged(part("prt_2", "text"), b"{"), phase="real-time")
    say(path)
    app = open_app(path, page="indexer")

    def refuse(index: Path) -> None:
        """Stand for a full disk."""
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(activity, "request_retry", refuse)
    app.button(key="indexer_retry").click().run()

    assert "No space left on device" in app.warning[0].value
    assert "Asked at" not in texts(app)


def test_indexer_bad_documents_without_an_indexer_name_the_command(open_app: OpenApp) -> None:
    """There is nobody to ask."""
    app = open_app(*DOCS, damaged(part("prt_2", "text"), b"{"), page="indexer")

    assert not [button for button in app.button if button.key == "indexer_retry"]
    assert [code.value for code in app.code] == [".venv/bin/python -m indexer run", ".venv/bin/python -m indexer bulk"]


def test_indexer_bad_documents_are_listed_as_plain_text(open_app: OpenApp) -> None:
    """Which file, what is wrong, how big; names and reasons are untrusted."""
    app = open_app(
        *DOCS, damaged(part(HOSTILE, "text"), b"\xff\xfe"), damaged(part("prt_2", "text"), b"{"), page="indexer"
    )

    assert not app.exception
    assert headline(app)["Bad documents"] == "2"
    table = app.dataframe[1].value
    assert any(HOSTILE in document for document in table["Document"])
    assert (set(table["State"]), set(table["Kind"]), set(table["Size"])) == (
        {"cannot be read"},
        {"part"},
        {"1 B", "2 B"},
    )
    assert "example.com" not in texts(app) and "2 documents unreadable" in texts(app)


def test_indexer_many_bad_documents_are_paged(open_app: OpenApp) -> None:
    """A hundred a page, all of them counted."""
    bad = [damaged(part(f"prt_{number:03}", "text"), b"{") for number in range(130)]
    app = open_app(*DOCS, *bad, page="indexer")
    first = set(app.dataframe[1].value["Document"])

    second = set(turn_page(app, 2).dataframe[1].value["Document"])

    assert (len(first), len(second), len(first | second)) == (100, 30, 130)
    assert headline(app)["Bad documents"] == "130"


def test_indexer_unreadable_source_gives_its_reason(open_app: OpenApp, tmp_path: Path) -> None:
    """The reason is read in full, not cut off in a cell."""
    path = index(tmp_path / "gone.duckdb", write_json_tree(tmp_path / "opencode", DOCS), tmp_path / "gone")

    app = open_app(path, page="indexer")

    assert "cannot be read" in list(app.dataframe[0].value["State"])
    assert display.md(str(tmp_path / "gone")) in texts(app) and "permissions" in texts(app)


def test_indexer_of_an_empty_index_shows_where_it_looked(open_app: OpenApp, tmp_path: Path) -> None:
    """Nothing could be read: this page is the one that says why."""
    (tmp_path / "opencode" / "storage").mkdir(parents=True)
    path = index(tmp_path / "empty.duckdb", tmp_path / "opencode")

    app = open_app(path, page="indexer")

    assert not app.exception
    assert app.title[0].value == "Indexer"
    assert headline(app)["Messages"] == "0"


@pytest.mark.parametrize("is_new", [True, False])
def test_indexer_unchecked_layout_is_said_where_it_is_used(is_new: bool, open_app: OpenApp, tmp_path: Path) -> None:
    """2.0's rows are known from source code only: said beside them, else in the help of the sources."""
    docs = [session(), row("msg_1", "user", 1, text="hi"), answer("msg_2", 2)]
    folder = write_session_messages(tmp_path / "new", docs) if is_new else write_json_tree(tmp_path / "old", DOCS)

    app = open_app(index(tmp_path / "index.duckdb", folder), page="indexer")

    said = display.md(indexing.UNCHECKED)
    assert any(said in caption.value for caption in app.caption) == is_new
    assert any(said in (markdown.proto.help or "") for markdown in app.markdown)
    assert "2.0's" in said and "not against a running 2\\.0" not in said


def test_readme_says_what_the_page_says() -> None:
    """One sentence in both places."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

    assert indexing.UNCHECKED in " ".join(readme.replace("`", "").split())


def test_indexer_filters_outlive_the_page_without_them(open_app: OpenApp, real_path: RealPath) -> None:
    """To look at the indexer and go back does not take the filters off."""
    app = open_app(real_path("json"), range="all", agent="plan")
    before = headline(app)

    app.switch_page("pages/indexer.py").run()
    app.switch_page("pages/costs.py").run()

    assert not app.exception
    assert headline(app) == before
    assert app.multiselect(key="agent").value == ["plan"]


def test_problems_in_csv_is_exact_and_safe() -> None:
    """Every column, ISO times with offset, no formula."""
    problem = DocumentProblem("=1+1", "part", None, "unreadable", "line\nbreak", None, START, START)

    data = csv_bytes(exported_tables.problems([problem], "Europe/Berlin"))

    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))

    assert rows[0] == ["document", "kind", "source", "state", "reason", "size_bytes", "first_seen_at", "last_seen_at"]
    at = "2026-11-23T13:00:00.000+01:00"
    assert rows[1] == ["'=1+1", "part", "", "unreadable", "line\nbreak", "", at, at]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (812, "812 B"), (1_240, "1.24 KB"), (10_747_904, "10.7 MB"), (None, "—")]
)
def test_size_is_written_with_three_digits(number: int | None, text: str) -> None:
    """Bytes, kilobytes of 1,000 bytes, and so on."""
    assert display.size(number) == text


@pytest.mark.parametrize(
    ("passed", "text"), [(-5, "just now"), (9, "just now"), (12, "12 s ago"), (3_900, "1h 05m ago")]
)
def test_ago_is_written_in_words(passed: int, text: str) -> None:
    """A clock that is ahead is no future."""
    assert display.ago(timedelta(seconds=passed)) == text

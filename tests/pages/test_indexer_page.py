"""The Indexer page, without a browser."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import data, display, export, indexing
from queries.indexing import DocumentProblem
from tests.builders import answer, assistant, damaged, part, row, session, user, write_json_tree, write_session_messages
from tests.pages.conftest import OpenApp, change, headline, index, texts, turn_page
from tests.queries.test_indexing import RUNNING, START

RealPath = Callable[[str], Path]
DOCS = (session(), user(), assistant())
HOSTILE = "prt_![x](http:--example.com-a.png) <img src=x onerror=alert(1)>"


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
    assert "None: every document was read in full." in shown(app)
    sources, history = (table.value for table in app.dataframe)
    assert list(sources["Generation"]) == ["JSON tree (before 1.2)"]
    assert list(history["Phase"]) == ["stopped", "bulk"]
    assert not app.multiselect and not app.segmented_control


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("phase = 'bulk', last_full_pass_at = NULL", "First index running"),
        ("phase = 'bulk'", "Comparing"),
        ("phase = 'waiting'", "Waiting"),
        ("phase = 'real-time'", "Following changes"),
        ("phase = 'stopped', last_full_pass_at = NULL", "Stopped before the first pass ended"),
        ("phase = 'failed'", "Failed"),
        ("phase = 'new [phase](x)'", r"new \[phase\]\(x\)"),
    ],
)
def test_indexer_each_phase_is_said_in_words(state: str, words: str, open_app: OpenApp, tmp_path: Path) -> None:
    """Also one that this version does not know."""
    path = index(tmp_path / "phase.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    change(path, f"UPDATE sync_state SET documents_total = 4000, documents_done = 1234, {state}")

    app = open_app(path, page="indexer")

    assert not app.exception
    assert words in app.subheader[0].value
    assert ("1,234 of 4,000 messages read" in shown(app)) == ("bulk" in state)


def test_progress_says_how_long_it_takes_only_where_it_can() -> None:
    """The estimate goes on between two batches and never invents a number."""
    later = RUNNING.updated_at + timedelta(seconds=10)

    assert (
        indexing.progress(RUNNING, RUNNING.updated_at)
        == "1,000 of 4,000 messages read · about 1m 00s left at this pace"
    )
    assert indexing.progress(RUNNING, later).endswith("about 50 s left at this pace")
    assert indexing.progress(RUNNING, START + timedelta(hours=1)).endswith("about 1.0 s left at this pace")
    assert indexing.progress(replace(RUNNING, documents_done=0), later).endswith("time left not known yet")
    assert "not known yet" in indexing.progress(replace(RUNNING, documents_total=None), later)


def test_indexer_silent_pass_asks_whether_it_runs(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An indexer that was killed leaves its phase behind."""
    path = index(tmp_path / "killed.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    change(path, "UPDATE sync_state SET phase = 'bulk', documents_total = 9, documents_done = 4")
    busy = open_app(path, page="indexer").warning
    later = data.now() + timedelta(minutes=5, seconds=30)
    monkeypatch.setattr(data, "now", lambda: later)

    app = open_app(path, page="indexer")

    assert not busy
    assert "Nothing was written for 5m" in app.warning[0].value


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
    assert str(tmp_path / "gone") in texts(app) and "permissions" in texts(app)


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


def test_problems_csv_is_exact_and_safe() -> None:
    """Every column, ISO times with offset, no formula."""
    problem = DocumentProblem("=1+1", "part", None, "unreadable", "line\nbreak", None, START, START)

    rows = list(
        csv.reader(io.StringIO(export.problems_csv([problem], "Europe/Berlin").decode("utf-8-sig"), newline=""))
    )

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

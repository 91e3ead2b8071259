"""What the dashboard shows when the index is missing, foreign, of another version, empty, partial or the sample."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from indexer.database import Database
from indexer.publish import Publisher
from pages.ui import data
from tests.builders import Doc, assistant, session, user, write_json_tree
from tests.indexing import KNOW_SPEND_FIRST
from tests.pages.conftest import ROOT, OpenApp, change, headline, index, texts

RealPath = Callable[[str], Path]
DOCS = (session(), user(), assistant(cost=1))


@pytest.mark.parametrize("page", ["overview", "costs", "sessions", "indexer"])
def test_pages_no_index_says_how_to_make_one(page: str, open_app: OpenApp, tmp_path: Path) -> None:
    """The first start: what is missing, where, and the command."""
    app = open_app(tmp_path / "none.duckdb", page=page)

    assert not app.exception
    assert "No index yet" in texts(app) and "none.duckdb" in texts(app)
    assert app.markdown[0].value.endswith("Build it with `.venv/bin/python -m indexer bulk`.")
    assert not any("`" in text.value for text in app.text)
    assert [code.value for code in app.code] == [".venv/bin/python -m indexer run"]


@pytest.mark.parametrize("page", ["costs", "ledger", "indexer", "sql"])
def test_pages_words_of_the_program_are_not_shown(page: str, open_app: OpenApp) -> None:
    """What a reader would have to look up in the source: versions of the data, and ways of storing it."""
    app = open_app(*DOCS, page=page, range="all", query="SELECT 1")
    for button in app.button:
        if button.label == "Run":
            button.click().run()

    helps = " ".join(str(metric.help) for metric in app.metric)
    headings = " ".join(str(name) for table in app.dataframe for name in table.value.columns)
    shown = f"{texts(app)} {helps} {headings}".lower()
    assert ("data version" in shown) == (page == "sql")
    assert "revision" not in shown and "generation" not in shown


def test_pages_settings_that_cannot_be_used_are_named_until_corrected(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback, and nothing shown by settings that are half read."""
    file = tmp_path / "settings.toml"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))
    app = open_app(*DOCS, range="all")
    file.write_text('first_weekday = "mon"', encoding="utf-8")
    app.run()
    shown = texts(app)

    file.write_text('first_weekday = "sunday"', encoding="utf-8")
    app.run()

    assert "The settings cannot be used" in shown and 'first_weekday = "mon" must be' in shown
    assert not app.exception
    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_pages_settings_of_the_file_name_the_index(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes is read again while the dashboard runs."""
    file = tmp_path / "settings.toml"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    app = open_app(*DOCS, range="all")
    monkeypatch.setenv("ANALYTICS_DB", "")
    app.run()
    before = texts(app)

    file.write_text(f'index = "{tmp_path}/index.duckdb"', encoding="utf-8")
    app.run()

    assert "No index yet" in before
    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_pages_index_appears_while_the_page_waits(open_app: OpenApp, tmp_path: Path) -> None:
    """The page that waited shows the data as soon as it is there."""
    path = tmp_path / "later.duckdb"
    app = open_app(path, range="all")

    index(path, write_json_tree(tmp_path / "opencode", DOCS))
    app.run()

    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_pages_index_that_went_away_is_not_shown_from_memory(open_app: OpenApp, tmp_path: Path) -> None:
    """A removed index is missing, whatever the cache still holds."""
    app = open_app(*DOCS, range="all")

    (tmp_path / "index.duckdb").unlink()
    app.run()

    assert "No index yet" in texts(app)


@pytest.mark.parametrize(("step", "title"), [(90, "newer than this dashboard"), (-90, "older than this dashboard")])
def test_pages_index_of_another_version_says_which(step: int, title: str, open_app: OpenApp, tmp_path: Path) -> None:
    """An index of another schema is not read; the message says what to do."""
    path = index(tmp_path / "other.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    change(path, f"UPDATE schema_migrations SET version = version + {step}")

    app = open_app(path)

    assert not app.exception
    assert title in texts(app)


def test_pages_foreign_database_is_named_and_left_alone(open_app: OpenApp, tmp_path: Path) -> None:
    """A DuckDB file that is not ours is not an index."""
    path = tmp_path / "foreign.duckdb"
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{path}' AS other")
        con.execute("CREATE TABLE other.precious AS SELECT 1 AS one")
    before = path.read_bytes()

    app = open_app(path)

    assert not app.exception
    assert "This file is not an index" in texts(app)
    assert path.read_bytes() == before


def test_pages_file_that_is_no_database_is_named(open_app: OpenApp, tmp_path: Path) -> None:
    """Any other file, alike."""
    path = tmp_path / "text.duckdb"
    path.write_text("not a database " * 1000, encoding="utf-8")

    app = open_app(path)

    assert not app.exception
    assert app.title[0].value in ("This file is not an index", "The index cannot be opened", "The index is damaged")


def test_pages_empty_index_says_no_data_was_found(open_app: OpenApp, tmp_path: Path) -> None:
    """A whole pass that found nothing: where it looked, and what to do."""
    (tmp_path / "opencode" / "storage").mkdir(parents=True)
    path = index(tmp_path / "empty.duckdb", tmp_path / "opencode")

    app = open_app(path)

    assert not app.exception
    assert "No OpenCode data found" in texts(app)
    assert any("--data" in code.value for code in app.code)


def test_pages_index_just_begun_says_that_data_comes(open_app: OpenApp, tmp_path: Path) -> None:
    """The first pass runs and nothing is in yet."""
    path = tmp_path / "begun.duckdb"
    with Database.open(path) as database:
        publisher = Publisher(database)
        database.set_phase("bulk", "test")
        publisher.publish()
        publisher.close()

    app = open_app(path)

    assert not app.exception
    assert "Indexing has begun" in texts(app)


def with_first_totals(folder: Path, phase: str, *docs: Doc) -> Path:
    """Index documents, and leave the index as it is while a first pass has told what was spent, and nothing else."""
    return change(
        index(folder / "partial.duckdb", write_json_tree(folder / "opencode", docs)),
        f"""
        {KNOW_SPEND_FIRST}
        DELETE FROM usage_slices;
        UPDATE sync_state SET phase = '{phase}', last_full_pass_at = NULL, documents_total = 9, documents_done = 1
        """,
    )


@pytest.mark.parametrize("page", ["overview", "costs", "sessions"])
@pytest.mark.parametrize(("phase", "words"), [("bulk", "Indexing in progress"), ("stopped", "was interrupted")])
def test_pages_first_pass_not_ended_marks_totals_as_partial(
    page: str, phase: str, words: str, open_app: OpenApp, tmp_path: Path
) -> None:
    """While the first pass runs every total is too low, and says so with its progress."""
    path = index(tmp_path / "partial.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    progress = "last_full_pass_at = NULL, documents_total = 4000, documents_done = 1234"
    change(path, f"UPDATE sync_state SET phase = '{phase}', {progress}")

    app = open_app(path, page=page, range="all")

    assert not app.exception
    assert words in app.warning[0].value
    assert phase == "stopped" or "1,234 of 4,000 messages read" in app.warning[0].value


@pytest.mark.parametrize("page", ["overview", "costs", "cache", "sessions", "what_if", "indexer"])
@pytest.mark.parametrize(
    ("phase", "words"),
    [("bulk", "okens and costs are complete"), ("stopped", "okens and costs are what they were then")],
)
def test_pages_spend_known_before_everything_is_read_says_so(
    page: str, phase: str, words: str, open_app: OpenApp, tmp_path: Path
) -> None:
    """What was spent can be trusted already; whoever looks at anything else is told that it grows."""
    path = with_first_totals(tmp_path, phase, *DOCS)

    app = open_app(path, page=page, range="all")

    assert not app.exception
    assert words in (texts(app) if page == "indexer" else app.warning[0].value)
    if page == "overview":
        assert headline(app)["Cost, recorded (USD)"] == "$1.00"
    if page in ("what_if", "cache"):
        assert "opens when all are read" in app.info[0].value
        assert not app.metric


def test_ledger_first_pass_not_ended_compares_nothing(open_app: OpenApp, tmp_path: Path) -> None:
    """OpenCode's sums of its sessions are whole before all of their messages are read: they would differ."""
    path = index(tmp_path / "partial.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    change(path, "UPDATE sync_state SET phase = 'bulk', last_full_pass_at = NULL")

    app = open_app(path, page="ledger", range="all")

    assert not app.exception
    assert "opens when all are read" in app.info[0].value
    assert not app.metric and not app.dataframe


@pytest.mark.parametrize("page", ["ledger", "errors", "tools", "sql", "timeline"])
@pytest.mark.parametrize(("phase", "words"), [("bulk", "is still too low"), ("stopped", "is too low")])
def test_pages_what_is_not_spend_does_not_say_that_it_is_complete(
    page: str, phase: str, words: str, open_app: OpenApp, tmp_path: Path
) -> None:
    """What failed exchanges cost, and all that a session holds, is read with the rest; also what a query asks for."""
    path = with_first_totals(tmp_path, phase, session(), session("ses_2"), user(), assistant())

    app = open_app(path, page=page, range="all", session="ses_2")

    assert not app.exception
    assert words in app.warning[0].value
    assert page != "timeline" or app.info[0].value == "Nothing of this session was read so far."


def test_pages_sample_has_a_banner_and_opens_on_all(open_app: OpenApp, tmp_path: Path) -> None:
    """The sample's dates do not matter: it opens on all of it."""
    path = index(tmp_path / "sample.duckdb", write_json_tree(tmp_path / "opencode", DOCS), is_sample=True)

    app = open_app(path)

    assert app.segmented_control(key="range").value == "all"
    assert "Sample data" in app.info[0].value
    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_pages_own_data_has_no_banner_and_opens_on_30_days(open_app: OpenApp) -> None:
    """The user's own index is not the sample."""
    app = open_app(*DOCS)

    assert app.segmented_control(key="range").value == "30d"
    assert not app.info


def test_pages_newer_data_is_offered_and_shown_on_refresh(open_app: OpenApp, tmp_path: Path) -> None:
    """A page stays on its revision until it is asked for the newest."""
    app = open_app(*DOCS, range="all")
    more = write_json_tree(tmp_path / "opencode", [assistant("msg_9", created=1_767_225_900_000, cost=2)])
    index(tmp_path / "index.duckdb", more)

    for _ in range(200):  # the new revision is opened in the background
        app.run()
        if any(button.key == "refresh" for button in app.button):
            break
    before = headline(app)["Cost, recorded (USD)"]
    label = app.button(key="refresh").label
    app.button(key="refresh").click().run()

    assert (before, headline(app)["Cost, recorded (USD)"]) == ("$1.00", "$3.00")
    assert label == "New data · Refresh"


def test_pages_pinned_revision_outlives_many_newer_ones(open_app: OpenApp, tmp_path: Path) -> None:
    """An indexer that publishes all the time does not move a page that nobody refreshed."""
    app = open_app(*DOCS, range="all")
    for number in range(6):
        change(tmp_path / "index.duckdb", f"UPDATE usage_slices SET cost_recorded_usd = {number + 2}")
        app.run()

    app.multiselect(key="agent").set_value(["build"]).run()  # asks what was not asked before
    before = headline(app)["Cost, recorded (USD)"]
    app.button(key="refresh").click().run()

    assert (before, headline(app)["Cost, recorded (USD)"]) == ("$1.00", "$7.00")
    assert app.multiselect(key="agent").value == ["build"]


def test_pages_first_pass_killed_is_not_in_progress(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its phase says that it runs, but nothing was heard of it for a minute."""
    path = index(tmp_path / "killed.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    change(path, "UPDATE sync_state SET phase = 'bulk', last_full_pass_at = NULL")
    later = data.now() + timedelta(minutes=1)
    monkeypatch.setattr(data, "now", lambda: later)

    app = open_app(path, range="all")

    assert "was interrupted" in app.warning[0].value


def test_pages_first_pass_killed_before_anything_was_read_says_how_to_go_on(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes by itself any more."""
    path = tmp_path / "begun.duckdb"
    with Database.open(path) as database:
        publisher = Publisher(database)
        database.set_phase("bulk", "test")
        publisher.close()
    later = data.now() + timedelta(minutes=1)
    monkeypatch.setattr(data, "now", lambda: later)

    app = open_app(path)

    assert "Indexing was interrupted" in texts(app)
    assert [code.value for code in app.code] == [".venv/bin/python -m indexer run"]


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("real-time", "following 1 source"),
        ("bulk", "reading 1 source"),
        ("stopped", "1 source, not followed: no indexer runs"),
        ("failed", "1 source, not followed: the indexer failed"),
    ],
)
def test_overview_says_whether_new_data_comes(phase: str, words: str, open_app: OpenApp, tmp_path: Path) -> None:
    """Beside the time of the data."""
    path = index(tmp_path / "phase.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    with Database.open(path) as database:
        publisher = Publisher(database)
        database.set_phase(phase, "test")
        publisher.close()

    app = open_app(path, page="overview", range="all")

    assert any(words in caption.value for caption in app.caption if "Data as of" in caption.value)


def test_overview_first_pass_that_has_counted_no_source_names_no_number(open_app: OpenApp, tmp_path: Path) -> None:
    """What was read of a storage is counted when the pass ends: until then there are not 0 sources."""
    path = index(tmp_path / "first.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    change(path, "UPDATE sources SET state = 'empty'; UPDATE sync_state SET phase = 'bulk', last_full_pass_at = NULL")

    app = open_app(path, page="overview", range="all")

    (caption,) = (caption.value for caption in app.caption if "Data as of" in caption.value)
    assert caption.endswith("· reading")


@pytest.mark.parametrize("page", ["overview", "costs", "sessions"])
def test_pages_page_file_run_alone_runs_the_app(
    page: str, monkeypatch: pytest.MonkeyPatch, real_path: RealPath
) -> None:
    """A deep link before the app has run once shows the app, with its menu and filters."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))

    app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=60).run()

    assert not app.exception
    assert app.segmented_control(key="range")


def test_pages_front_door_is_the_overview_and_keeps_the_filters(
    monkeypatch: pytest.MonkeyPatch, real_path: RealPath
) -> None:
    """The address without a page leads to the Overview; what it says beside that goes along."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params.update({"range": "all", "agent": ["build"]})

    app.run()

    assert not app.exception
    assert app.title[0].value == "Overview"
    assert app.segmented_control(key="range").value == "all"
    assert app.multiselect(key="agent").value == ["build"]


def test_pages_unknown_time_zone_is_utc(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A browser may name a zone that only it knows."""
    path = index(tmp_path / "zone.duckdb", write_json_tree(tmp_path / "opencode", DOCS))
    monkeypatch.setenv("ANALYTICS_DB", str(path))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.context["timezone"] = "Mars/Olympus"

    app.run()

    assert not app.exception
    assert any("UTC" in caption.value for caption in app.caption)

"""The Overview page, without a browser."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import data, display, tables
from queries import costs, errors, overview
from queries.period import Period, Scope
from queries.sessions import session_rows
from tests.builders import Doc, assistant, part, session, tokens, user, write_json_tree
from tests.pages.conftest import ROOT, OpenApp, change, headline, index, read, texts

RealPath = Callable[[str], Path]
NOW_MS = int(datetime.now(UTC).timestamp() * 1000)
DAY_MS = 86_400_000
HOSTILE = "=1+1 ![x](http://example.com/a.png) <script>alert(1)</script> \u202egpj.exe"


def frames(app: AppTest) -> list[Any]:
    """Return the tables of the page: sessions, agents, tools, errors, as far as they are there."""
    return [table.value for table in app.dataframe]


def deltas(app: AppTest) -> dict[str, str]:
    """Return the changes beside the headline numbers, by label."""
    return {metric.label: str(metric.delta) for metric in app.metric}


def day(number: int, ago: int, cost: float, **fields: Any) -> list[Doc]:
    """Make a session with one answer, some days ago."""
    created = NOW_MS - ago * DAY_MS
    name = f"ses_{number}"
    return [
        session(name, created=created),
        user(f"msg_{number}u", name, created=created),
        assistant(
            f"msg_{number}a",
            name,
            parent=f"msg_{number}u",
            created=created + 1,
            completed=created + 500,
            cost=cost,
            usage=tokens(input=100),
            **fields,
        ),
    ]


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_overview_headline_and_tables_are_those_of_the_queries(
    name: str, open_app: OpenApp, real_path: RealPath
) -> None:
    """Four numbers, ten sessions, agents, tools and errors, all of one scope."""
    con = read(real_path(name)).connection()
    whole, found = costs.cost_totals(con, Scope()), overview.overview(con, Scope())

    app = open_app(real_path(name), page="overview", range="all")

    assert not app.exception
    assert app.title[0].value == "Overview"
    assert headline(app) == {
        "Cost, recorded (USD)": display.usd(whole.cost_recorded_usd),
        "Tokens": display.tokens(whole.total_tokens),
        "Sessions": display.count(whole.sessions),
        "Error rate": display.percent(found.now.error_rate),
    }
    shown = frames(app)
    assert [len(table) for table in shown] == [10, 8, 8, 10]
    assert list(shown[0]["Title"]) == [
        tables.session_title(row.title, row.is_deleted) for row in session_rows(con, Scope(), True, "last active", 10)
    ]
    assert list(shown[1]["Agent"]) == [row.agent for row in found.agents[:8]]
    assert list(shown[3]["Message"]) == [tables.error_text(row) for row in errors.newest_errors(con, Scope(), 10)]
    assert len(app.get("plotly_chart")) == 1


@pytest.mark.parametrize(
    "url", [{"agent": "plan"}, {"model": "acme/nova-large"}, {"q": "retry"}, {"project": "global"}]
)
def test_overview_filters_narrow_every_number(url: dict[str, str], open_app: OpenApp, real_path: RealPath) -> None:
    """The global filters apply."""
    key = {"agent": "agents", "model": "models", "q": "text", "project": "projects"}
    scope = Scope(**{key[name]: value if name == "q" else (value,) for name, value in url.items()})  # type: ignore[arg-type]
    whole = costs.cost_totals(read(real_path("json")).connection(), scope)

    app = open_app(real_path("json"), page="overview", range="all", **url)

    assert not app.exception
    assert headline(app)["Cost, recorded (USD)"] == display.usd(whole.cost_recorded_usd)
    assert headline(app)["Sessions"] == display.count(whole.sessions)


def test_overview_change_is_against_the_same_length_before(open_app: OpenApp) -> None:
    """What fell has a minus sign, what rose a plus; a rate changes by points."""
    failed = {"name": "APIError", "data": {"message": "no"}}

    app = open_app(*day(1, 8, 2.0), *day(2, 9, 2.0), *day(3, 1, 3.0, error=failed), page="overview", range="7d")

    assert not app.exception
    assert headline(app)["Cost, recorded (USD)"] == "$3.00"
    assert deltas(app) == {
        "Cost, recorded (USD)": "-25%",
        "Tokens": "-50%",
        "Sessions": "-50%",
        "Error rate": "+100.0 pts",
    }
    assert "the same length of time before" in texts(app)


def test_overview_a_change_is_red_only_for_errors(open_app: OpenApp) -> None:
    """Spending more is no error."""
    failed = {"name": "APIError", "data": {"message": "no"}}

    app = open_app(*day(1, 8, 2.0), *day(3, 1, 3.0, error=failed), page="overview", range="7d")

    colors = {metric.label: metric.proto.color for metric in app.metric}
    red = app.metric[0].proto.MetricColor.Value("RED")
    assert [label for label, color in colors.items() if color == red] == ["Error rate"]


def test_overview_nothing_before_has_no_change(open_app: OpenApp) -> None:
    """Where there was nothing, nothing is compared."""
    app = open_app(*day(3, 1, 3.0), page="overview", range="7d")

    assert set(deltas(app).values()) == {""}
    assert "the same length of time before" not in texts(app)


def test_overview_first_pass_compares_nothing(open_app: OpenApp, tmp_path: Path) -> None:
    """Newest sessions come first: what came before is not there yet, so everything would seem to rise."""
    path = index(
        tmp_path / "partial.duckdb", write_json_tree(tmp_path / "opencode", [*day(1, 8, 2.0), *day(2, 1, 3.0)])
    )
    change(
        path, "UPDATE sync_state SET last_full_pass_at = NULL, phase = 'bulk', documents_total = 9, documents_done = 4"
    )

    app = open_app(path, page="overview", range="7d")

    assert "Indexing in progress" in app.warning[0].value and "4 of 9 messages" in app.warning[0].value
    assert set(deltas(app).values()) == {""}


def test_overview_fresh_line_counts_the_sources(open_app: OpenApp, real_path: RealPath) -> None:
    """How fresh, and from how many storages."""
    app = open_app(real_path("sqlite"), page="overview", range="all")

    assert any("Data as of" in caption.value and "2 sources" in caption.value for caption in app.caption)


def test_overview_trouble_leads_to_the_indexer(open_app: OpenApp, tmp_path: Path) -> None:
    """What could not be read is said on the first page; else there is no such line."""
    folder = write_json_tree(tmp_path / "opencode", day(1, 1, 3.0))
    good = texts(open_app(index(tmp_path / "good.duckdb", folder), page="overview"))
    (folder / "storage" / "part" / "msg_1a").mkdir(parents=True)
    (folder / "storage" / "part" / "msg_1a" / "prt_1.json").write_text("{")

    app = open_app(index(tmp_path / "bad.duckdb", folder, tmp_path / "gone"), page="overview")

    assert not app.exception
    assert "1 source could not be read · 1 document could not be read in full" in texts(app)
    assert "could not be read" not in good


def test_overview_hostile_text_stays_text(open_app: OpenApp) -> None:
    """Titles, agents, tools and messages are untrusted: in tables only, without marks that turn text around."""
    failed = {"name": "APIError", "data": {"message": HOSTILE}}
    created = NOW_MS - DAY_MS
    docs = [
        session(created=created, title=HOSTILE),
        user(created=created),
        assistant(created=created, agent=HOSTILE, error=failed),
        part(
            "prt_1",
            "tool",
            tool=HOSTILE,
            callID="c",
            state={"status": "error", "error": HOSTILE, "input": {}, "time": {"start": created, "end": created + 5}},
        ),
    ]

    app = open_app(*docs, page="overview")

    assert not app.exception
    assert "<script>" not in texts(app) and "example.com" not in texts(app)
    sessions, agents, tools, failures = frames(app)
    clean = display.one_line(HOSTILE)
    assert "\u202e" not in clean
    assert (sessions["Title"][0], agents["Agent"][0], tools["Tool"][0]) == (clean, clean, clean)
    assert set(failures["Message"]) == {clean}


def test_overview_nothing_matches_is_said(open_app: OpenApp, real_path: RealPath) -> None:
    """An empty range says so and offers the way out."""
    app = open_app(real_path("json"), page="overview", **{"from": "2020-01-01", "to": "2020-01-02"})

    assert not app.exception
    assert "No activity here" in texts(app)
    assert not app.metric


def test_overview_no_tool_and_no_error_are_said(open_app: OpenApp) -> None:
    """Nothing failed: that is an answer, too."""
    app = open_app(*day(1, 1, 0.0), page="overview")

    assert not app.exception
    assert "No tool was called here." in texts(app) and "No answer and no tool call failed here." in texts(app)


def test_overview_another_filter_costs_at_most_five_queries(
    open_app: OpenApp, real_path: RealPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of a rerun; the same filters again ask nothing."""
    app = open_app(real_path("json"), page="overview", range="all")
    asked: list[str] = []
    run = data._run

    def count(snapshot: Any, ask: Callable[..., Any]) -> Any:
        """Note a query, and run it."""
        asked.append("query")
        return run(snapshot, ask)

    monkeypatch.setattr(data, "_run", count)

    app.multiselect(key="agent").set_value(["build"]).run()
    first = len(asked)
    app.run()

    assert not app.exception
    assert 0 < first <= 5
    assert len(asked) == first


def test_overview_follows_the_index_by_itself(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer data is shown without a click."""
    monkeypatch.setattr(data, "FOLLOW_S", 0)
    monkeypatch.setattr(data.follow, "__defaults__", (0,))
    app = open_app(*day(1, 1, 1.0), page="overview")
    before = headline(app)["Cost, recorded (USD)"]
    index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", day(2, 1, 2.0)))

    for _ in range(200):  # the new revision is opened in the background
        app.run()
        if headline(app)["Cost, recorded (USD)"] != before:
            break

    assert headline(app)["Cost, recorded (USD)"] == "$3.00"
    assert not [button for button in app.button if button.key == "refresh"]


def _click_agent() -> None:
    """Tick an agent on Overview."""
    import streamlit as st

    from pages.ui import data, glance

    data.check()
    st.session_state["rows"] = {"selection": {"rows": [0]}}
    glance._open_agent(["plan"], "rows")


def test_overview_ticked_agent_goes_to_its_costs(real_path: RealPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost is shown by model, under its filter."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))

    app = AppTest.from_function(_click_agent, default_timeout=60).run()

    assert not app.exception
    assert app.session_state["page_go_to"] == (ROOT / "pages" / "costs.py", {"by": "model"})
    assert app.session_state["agent"] == ["plan"]


def test_stretch_open_end_and_whole_days_are_written_short() -> None:
    """The time of day is written only where a stretch ends in the middle of a day."""
    whole = Period(datetime(2026, 11, 1), datetime(2026, 11, 8))
    half = replace(whole, end=datetime(2026, 11, 8, 12))

    assert display.stretch(whole, "UTC") == "Nov 1, 2026 to Nov 7, 2026"
    assert display.stretch(half, "UTC") == "Nov 1, 2026 to Nov 8, 2026, 12:00"

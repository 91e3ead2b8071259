"""The Python side of the trace viewer: what is sent, what comes back, and what its scripts may not contain."""

import math
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pages.ui import trace_viewer
from tests.browser import traces

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "pages" / "ui" / "trace_viewer"
SCRIPTS = sorted(FOLDER.glob("*.js"))
STYLES = sorted(FOLDER.glob("*.css"))
# What would turn text into markup or code, or ask another host for something.
BANNED = (
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|setHTML|srcdoc",
    r"document\.write|\beval\b|new Function\b|setTimeout\(\s*[\"'`]|javascript:",
    r"\bfetch\b|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\b|\bimportScripts\b|new Worker",
    r"\.src\b|\.href\b|[\"'](?:src|href|action|formaction|style)[\"']|el\(\"(?:a|img|script|iframe|link|style|object)\"",
    r"location\.(?:assign|replace)|window\.open|localStorage|sessionStorage|document\.cookie",
)
OPENED: trace_viewer.Opened = {"exchange": "msg_1", "part": None, "show_all": []}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("pattern", BANNED, ids=["markup", "code", "network", "attributes", "navigation"])
def test_scripts_use_nothing_that_runs_or_loads_text(path: Path, pattern: str) -> None:
    """Text from sessions becomes text nodes, whatever it says; the way to do otherwise is not in the code."""
    found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if re.search(pattern, line)]

    assert found == []


@pytest.mark.parametrize(
    "line", ["box.innerHTML = text", "eval(text)", "fetch(url)", "image.src = text", "window.open(x)"]
)
def test_banned_bad_line_is_found(line: str) -> None:
    """The patterns above do find what they are for."""
    assert any(re.search(pattern, line) for pattern in BANNED)


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_styles_load_nothing(path: Path) -> None:
    """A style sheet can ask for files, too: these do not."""
    assert not re.search(r"url\(|@import|@font-face|image-set|expression", path.read_text(encoding="utf-8"))


def test_scripts_and_styles_are_all_there() -> None:
    """An empty folder would pass every test above."""
    assert {path.name for path in [*SCRIPTS, *STYLES]} >= {"viewer.js", "detail.js", "viewer.css", "detail.css"}


def test_events_frame_is_narrow_and_has_no_nulls_in_numbers() -> None:
    """Repeated words are sent once, missing numbers as NaN, so that the browser reads plain arrays."""
    frame = trace_viewer.events_frame(traces.story().events_table())

    types = {field.name: str(field.type) for field in frame.schema}
    assert {types[name] for name in ("exchange", "parent", "flags")} == {"int32"}
    assert {types[name] for name in ("start_ms", "end_ms", "tokens", "cost_usd")} == {"double"}
    assert all(pa.types.is_dictionary(frame.schema.field(name).type) for name in ("kind", "name", "status"))
    assert sum(column.null_count for column in frame.columns) == 0
    assert any(math.isnan(value) for value in frame["start_ms"].to_pylist())


def test_events_frame_of_nothing_has_its_columns() -> None:
    """A session without events is drawn, too."""
    columns = ("id", "kind", "name", "label", "status")
    numbers = ("exchange", "parent", "start_ms", "end_ms", "tokens", "cost_usd", "flags")
    empty = pa.table(
        {
            **{name: pa.array([], pa.string()) for name in columns},
            **{name: pa.array([], pa.int64()) for name in numbers},
        }
    )

    frame = trace_viewer.events_frame(empty)

    assert (frame.num_rows, set(frame.column_names)) == (0, {*columns, *numbers})


def test_exchanges_frame_missing_numbers_are_nan() -> None:
    """What is not recorded is not 0."""
    row: dict[str, Any] = {**traces.story().exchanges[0], "session": 0, "cost_usd": None, "end_ms": None}

    frame = trace_viewer.exchanges_frame([row])

    assert frame["number"].to_pylist() == [1]
    assert frame["label"].to_pylist() == [""]
    assert all(math.isnan(frame[name][0].as_py()) for name in ("cost_usd", "end_ms"))


def test_large_payload_is_small() -> None:
    """20,000 events and 2,000 exchanges fit into the page's budget of 3 MB."""
    payload = traces.large(2_000, 20_000).viewer("view", OPENED)

    sizes = [payload[name].nbytes for name in ("events", "exchanges")]

    assert payload["events"].num_rows == 20_000
    assert sum(sizes) < 3_000_000


@pytest.mark.parametrize(
    "state",
    [None, {}, [], "msg_2", {"exchange": 2, "part": None, "show_all": []}, {"exchange": "msg_2", "part": None}],
    ids=["nothing", "empty", "list", "text", "number", "incomplete"],
)
def test_opened_malformed_state_is_ignored(state: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the browser sends is not believed blindly."""
    monkeypatch.setattr(st, "session_state", {"detail": {"opened": state}})

    assert trace_viewer.opened("detail", OPENED) == OPENED


def test_opened_state_wins_over_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a click the address is out of date."""
    state = {"exchange": "msg_2", "part": "prt_1", "show_all": ["prt_1", 7]}
    monkeypatch.setattr(st, "session_state", {"detail": {"opened": state}})

    assert trace_viewer.opened("detail", OPENED) == {"exchange": "msg_2", "part": "prt_1", "show_all": ["prt_1"]}


@pytest.mark.parametrize("show", ["story", "hostile", "running"])
def test_components_in_a_page_raise_nothing(show: str) -> None:
    """Both components are mounted, with the payload that was given, and nothing is open but what the address says."""
    app = AppTest.from_file(str(ROOT / "tests" / "browser" / "viewer_app.py"), default_timeout=30)
    app.query_params["show"] = show

    app.run()

    assert not app.exception
    names = [element.proto.component_name for element in app.get("bidi_component")]
    assert names == ["trace_viewer", "trace_detail"]
    assert any(text.value == "Open: msg_ses_0001_1 None 0" for text in app.text)

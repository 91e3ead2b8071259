"""What a selected row does."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest


def _costs_click(by: str, key: str | None) -> None:
    """Select the one row of a table on Costs."""
    import streamlit as st

    from pages.ui import data, spend

    data.check()
    st.session_state["rows"] = {"selection": {"rows": [0] if key else []}}
    spend._pick(by, [key], "rows")


def _sessions_click() -> None:
    """Select a row of a session list, then close the session."""
    import streamlit as st

    from pages.ui import listing

    st.session_state["rows"] = {"selection": {"rows": [1]}}
    listing._open(["ses_1", "ses_2"], "rows")
    st.text(st.query_params["session"])
    listing._close()
    st.text(str("session" in st.query_params))


@pytest.mark.parametrize(
    ("by", "key", "chosen"),
    [
        ("day", "2026-11-03", {"from": date(2026, 11, 3), "to": date(2026, 11, 3)}),
        ("week", "2026-11-02", {"from": date(2026, 11, 2), "to": date(2026, 11, 8)}),
        ("month", "2026-02", {"from": date(2026, 2, 1), "to": date(2026, 2, 28)}),
        ("agent", "build", {"agent": ["build"]}),
        ("model", "acme/nova", {"model": ["acme/nova"]}),
        ("project", "global", {"project": ["global"]}),
        ("session", "ses_1", {"go_to_session": "ses_1"}),
        ("agent", None, {}),
    ],
)
def test_costs_selected_row_sets_its_filter(
    by: str,
    key: str | None,
    chosen: dict[str, Any],
    real_path: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each grouping narrows by what its row stands for; taking a tick back changes nothing."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))

    app = AppTest.from_function(_costs_click, args=(by, key), default_timeout=60).run()

    assert not app.exception
    state = {name: app.session_state[name] for name in app.session_state if name not in ("rows", "pinned_snapshot")}
    assert state == chosen


def test_costs_selected_provider_chooses_its_models(
    real_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no provider filter: its models are chosen."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))

    app = AppTest.from_function(_costs_click, args=("provider", "borealis"), default_timeout=60).run()

    assert sorted(app.session_state["model"]) == ["borealis/polar-haiku", "borealis/polar-opus"]


def test_sessions_selected_row_opens_and_closes() -> None:
    """The open session is in the URL, and leaves it when it is closed."""
    app = AppTest.from_function(_sessions_click, default_timeout=60).run()

    assert not app.exception
    assert [text.value for text in app.text] == ["ses_2", "False"]

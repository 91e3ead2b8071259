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


def _row_click(row: int | None) -> None:
    """Tick a row of any table of sessions and events, or take the tick back."""
    import streamlit as st

    from pages.ui import links

    st.session_state["rows"] = {"selection": {"rows": [] if row is None else [row]}}
    links.open_row([("ses_1", None), ("ses_2", "prt_2")], "rows")


@pytest.mark.parametrize(
    ("by", "key", "chosen"),
    [
        ("day", "2026-11-03", {"from": date(2026, 11, 3), "to": date(2026, 11, 3)}),
        ("week", "2026-11-02", {"from": date(2026, 11, 2), "to": date(2026, 11, 8)}),
        ("month", "2026-02", {"from": date(2026, 2, 1), "to": date(2026, 2, 28)}),
        ("agent", "build", {"agent": ["build"]}),
        ("model", "acme/nova", {"model": ["acme/nova"]}),
        ("project", "global", {"project": ["global"]}),
        ("session", "ses_1", {"timeline_go_to": {"session": "ses_1"}}),
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
    kept = ("rows", "pinned_snapshot", "asked", "is_run_begun")  # by the test, and by every run of a page
    state = {name: app.session_state[name] for name in app.session_state if name not in kept}
    assert state == chosen


def test_costs_selected_provider_chooses_its_models(
    real_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no provider filter: its models are chosen."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))

    app = AppTest.from_function(_costs_click, args=("provider", "borealis"), default_timeout=60).run()

    assert sorted(app.session_state["model"]) == ["borealis/polar-haiku", "borealis/polar-opus"]


@pytest.mark.parametrize(
    ("row", "there"),
    [(0, {"session": "ses_1"}), (1, {"session": "ses_2", "part": "prt_2"}), (None, None), (7, None)],
)
def test_open_row_ticked_row_is_a_place_on_the_timeline(row: int | None, there: dict[str, str] | None) -> None:
    """A session, or an event in it; a tick taken back, and a row that is gone meanwhile, lead nowhere."""
    app = AppTest.from_function(_row_click, args=(row,), default_timeout=60).run()

    assert not app.exception
    found = app.session_state["timeline_go_to"] if "timeline_go_to" in app.session_state else None  # noqa: SIM401 (no .get)
    assert found == there

"""The filter bar: a range or dates, one of the two."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.builders import PROJECT, assistant, part, project, session, tokens, user
from tests.pages.conftest import ROOT, OpenApp, texts

RealPath = Callable[[str], Path]

FIRST, LAST = "2026-11-03", "2026-11-20"
LEFT_OUT = "which is left out"


def test_filters_link_with_range_and_dates_holds_the_dates(open_app: OpenApp, real_path: RealPath) -> None:
    """No range is lit beside dates, which is what the page says, too."""
    app = open_app(real_path("json"), range="90d", **{"from": FIRST, "to": LAST})

    assert not app.exception
    assert app.segmented_control(key="range").value is None
    assert [box.value for box in app.date_input] == [date(2026, 11, 3), date(2026, 11, 20)]
    assert "Nov 3, 2026 to Nov 20, 2026" in texts(app)


@pytest.mark.parametrize("name", ["7d", "30d", "all"])
def test_filters_range_chosen_takes_the_dates_off(name: str, open_app: OpenApp, real_path: RealPath) -> None:
    """A click on a range does what it says: also on the default, and on the one that was chosen before."""
    app = open_app(real_path("json"), range="all", **{"from": FIRST})

    app.segmented_control(key="range").set_value(name).run()

    assert not app.exception
    assert app.segmented_control(key="range").value == name
    assert [box.value for box in app.date_input] == [None, None]
    assert "from Nov 3, 2026" not in texts(app)


def test_filters_dates_emptied_bring_the_range_back(open_app: OpenApp, real_path: RealPath) -> None:
    """Dates take the place of the range for as long as there is one."""
    app = open_app(real_path("json"), range="90d")
    chosen = []

    for key, value in (("from", date(2026, 11, 3)), ("to", date(2026, 11, 20)), ("from", None), ("to", None)):
        app.date_input(key=key).set_value(value).run()
        chosen.append(app.segmented_control(key="range").value)

    assert not app.exception and not app.warning
    assert chosen == [None, None, None, "90d"]


def test_filters_dates_long_before_the_data_hold(open_app: OpenApp, real_path: RealPath) -> None:
    """What a link asks for counts, however long ago."""
    app = open_app(real_path("json"), **{"from": "1990-01-01"})

    assert not app.exception
    assert app.date_input(key="from").value == date(1990, 1, 1)
    assert "from Jan 1, 1990" in texts(app)
    assert LEFT_OUT not in texts(app)


@pytest.mark.parametrize(
    "url",
    [{"from": "1890-01-01"}, {"from": "yesterday", "to": LAST}, {"to": "2026-02-30"}, {"range": "1000y"}],
    ids=["too early", "no date", "no such day", "no such range"],
)
def test_filters_what_cannot_be_chosen_is_said_once(
    url: dict[str, str], open_app: OpenApp, real_path: RealPath
) -> None:
    """A link that asks for it shows something else; the address does not ask for it any more."""
    key, value = next(iter(url.items()))

    app = open_app(real_path("json"), **url)
    said = texts(app)

    assert not app.exception
    assert f"The address asks for {key}={value}, {LEFT_OUT}" in said.replace("\\", "")
    assert key not in app.query_params
    assert LEFT_OUT not in texts(app.run())


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "pages").glob("[a-z]*.py")))
def test_pages_filters_that_all_match_show_what_they_leave(page: str, open_app: OpenApp) -> None:
    """Filters that match nothing end most pages early: what asks with them is what comes after."""
    docs = [
        project(),
        session(title="Mend the lamp"),
        user(summary={"diffs": [{"file": "lamp.py", "additions": 2, "deletions": 1}]}),
        assistant(usage=tokens(3_000, 100, cache_read=2_000)),
        part("prt_1", "text", text="It shines."),
        part("prt_2", "tool", tool="edit", callID="c", state={"status": "error", "input": {}, "error": "No such text"}),
    ]
    chosen = {"agent": "build", "model": "acme/nova", "project": PROJECT}

    for q in ("LAMP", "shines"):
        app = open_app(*docs, page=page, range="all", q=q, **chosen)

        assert not app.exception
        assert "No data for" not in texts(app)
        assert "Clear filters" not in [button.label for button in app.button]

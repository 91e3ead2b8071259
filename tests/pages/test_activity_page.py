"""The Activity page: budgets set and not, hours, speeds, code changes, nothing at all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pages.ui import budgeting, data
from queries.forecasts import FIVE_HOURS, MONTH, Budget
from tests.builders import Doc, assistant, project, session, step_finish, tokens, usd, user
from tests.pages.conftest import OpenApp, headline, texts

NOW = datetime(2026, 11, 10, 18)
NOW_MS = int(NOW.replace(tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000


def days(number: int) -> list[Doc]:
    """Answer once a day up to now; each cost a dollar."""
    usage = tokens(output=100)
    docs = [project(), session(summary={"additions": 3, "deletions": 1, "files": 2}), user()]
    for day in range(number):
        name, created = f"msg_{day:03}", NOW_MS - day * DAY_MS - 3_600_000
        docs.append(assistant(name, created=created, completed=created + 2_000, usage=usage, cost=1))
        docs.append(step_finish(f"prt_{day:03}", usage, name, cost=1))
    return docs


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stop the clock of the page, and name a settings file with budgets."""
    monkeypatch.setattr(data, "now", lambda: NOW)
    file = tmp_path / "settings.toml"
    file.write_text('first_weekday = "sunday"\n[budgets]\nmonth_usd = 20\nweek_usd = 2.5\nfive_hours_usd = 5\n')
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))
    return file


def budget(spent: str, middle: str | None = None, high: str | None = None, *, is_least: bool = False) -> Budget:
    """Make a budget of 10."""
    expected, most = (usd(each) if each else None for each in (middle, high))
    end = NOW + timedelta(days=1)
    return Budget(MONTH, "recorded", usd("10"), NOW, end, usd(spent), 0, expected, expected, most, 14, is_least)


def test_activity_budgets_are_compared_and_forecast(settings: Path, open_app: OpenApp) -> None:
    """A dollar a day: ten of twenty in November, and twenty to come; three since Sunday; one in the window."""
    app = open_app(*days(60), page="activity", range="all")

    found = texts(app)
    assert not app.exception
    assert headline(app) == {
        "This month, recorded": "$10.00",
        "This week, recorded": "$3.00",
        "5-hour window, recorded": "$1.00",
    }
    assert r"Likely to go over; \$10.00 left" in found
    assert "Forecast $30.00, 8 of 10 times $30.00 to $30.00 (n 39)" in found
    assert r":material/error: **Over budget by \$0.50**" in found
    assert r"Nov 10, 17\:00 to 22\:00" in found
    assert "at list prices" not in found  # none is known


def test_activity_little_history_forecasts_nothing(settings: Path, open_app: OpenApp) -> None:
    """It says what it takes."""
    app = open_app(*days(3), page="activity", range="all")

    assert "No forecast yet: it takes 14 stretches" in texts(app)


def test_activity_list_basis_names_what_has_no_price(settings: Path, open_app: OpenApp) -> None:
    """Nothing is filled from the other basis, and what nobody knows is neither $0 nor within budget."""
    app = open_app(*days(3), page="activity", range="all", basis="list")

    assert headline(app)["This month, list"] == "—"
    assert r"— of \$20.00" in [bar.proto.text for bar in app.get("progress")]
    assert "Not known: no cost is known of what was used" in texts(app)
    assert "Within budget" not in texts(app)
    assert "No forecast: what is spent so far is not known." in texts(app)
    assert r"\$3.00 as OpenCode recorded it" in texts(app)
    assert "Not in it: 3 messages with no known list price." in texts(app)


def test_activity_no_budget_is_one_quiet_line(open_app: OpenApp) -> None:
    """With the keys that set one."""
    app = open_app(*days(3), page="activity", range="all")

    assert headline(app) == {}
    assert r"No budget is set: month\_usd, week\_usd and five\_hours\_usd of \[budgets\]" in texts(app)


def test_activity_hours_follow_what_is_compared_and_the_first_weekday(settings: Path, open_app: OpenApp) -> None:
    """The answers were begun at 17:00; weeks begin on Sunday."""
    app = open_app(*days(14), page="activity", range="all", of="tokens")

    table = app.dataframe[0].value
    assert table.columns.tolist() == ["Hour", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    assert table.loc[table["Hour"] == "17:00", "Sun":"Sat"].to_numpy().tolist() == [[200.0] * 7]
    assert len(app.get("plotly_chart")) == 1  # fourteen answers are too few for a chart of speeds


def test_activity_speeds_and_changes_have_tables(open_app: OpenApp) -> None:
    """Few answers are marked; what OpenCode says of the session is there."""
    app = open_app(*days(3), page="activity", range="all")

    _, speeds, projects, folders = (table.value for table in app.dataframe)
    assert speeds["p50"].tolist() == [50.0]
    assert "~ fewer than 20 timed answers" in texts(app)
    assert projects[["Added", "Removed", "Files"]].to_numpy().tolist() == [[3.0, 1.0, 2.0]]
    assert folders["Kind"].tolist() == ["checkout"]


def test_activity_nothing_in_the_period_is_said(open_app: OpenApp) -> None:
    """No empty charts."""
    app = open_app(*days(3), page="activity", **{"from": "2020-01-01", "to": "2020-01-02"})

    assert not app.exception
    assert "No activity here" in texts(app)


@pytest.mark.parametrize("name", ["json", "sqlite", "migrated-after"])
def test_activity_real_data_is_shown(name: str, real_path: Callable[[str], Path], open_app: OpenApp) -> None:
    """Every table has rows."""
    app = open_app(real_path(name), page="activity", range="all")

    assert not app.exception
    assert all(len(table.value) for table in app.dataframe)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (budget("10"), r":material/check_circle: Within budget; \$0 left"),
        (budget("10.5"), r":material/error: **Over budget by \$0.50**"),
        (budget("4", "9", "10"), r":material/check_circle: Within budget; \$6.00 left"),
        (
            budget("4", "9", "10", is_least=True),
            r":material/check_circle: Within budget as far as is known; \$6.00 left",
        ),
        (budget("4", "9", "10.01"), r":material/warning: May go over; \$6.00 left"),
        (budget("4", "11", "12"), r":material/warning: **Likely to go over; \$6.00 left**"),
    ],
)
def test_verdict_each_state_has_its_own_icon_and_words(found: Budget, words: str) -> None:
    """Never by colour alone."""
    assert budgeting.verdict(found) == words


def test_expectation_part_of_unknown_cost_is_at_least() -> None:
    """What is not known may be more, and is not 0."""
    found = budgeting.expectation(budget("4", "9", "10", is_least=True))

    assert found == "Forecast at least $9.00, 8 of 10 times $9.00 to $10.00 (n 14)"


def test_period_words_window_is_in_local_time() -> None:
    """The viewer's clock, not UTC."""
    end = NOW + timedelta(hours=5)
    found = Budget(FIVE_HOURS, "recorded", usd("1"), NOW, end, usd("0"), 0, None, None, None, 0, False)

    assert budgeting.period_words(found, "Asia/Kolkata") == "Nov 10, 23:30 to 04:30"

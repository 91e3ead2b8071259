"""The Costs page, without a browser."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import display
from queries import costs
from queries.period import Scope, days
from tests.builders import START_MS, assistant, project, session, tokens, user
from tests.conftest import DATA_SETS, expected
from tests.pages.conftest import OpenApp, headline, read, texts, turn_page

RealPath = Callable[[str], Path]


def table_sum(app: AppTest, column: str = "Cost") -> float:
    """Add up a column of the page's table."""
    return float(app.dataframe[0].value[column].sum())


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_costs_headline_is_what_the_model_served(name: str, open_app: OpenApp, real_path: RealPath) -> None:
    """The headline equals the independent truth of the data set."""
    truth = expected(DATA_SETS[name][0])["served"]["recorded_without_fork_copies"]

    app = open_app(real_path(name), range="all")

    assert not app.exception
    assert app.title[0].value == "Costs"
    assert headline(app)["Cost, recorded (USD)"] == f"${truth['cost']:.2f}"
    assert f"{truth['requests']}" not in texts(app)


@pytest.mark.parametrize("by", costs.GROUPINGS)
@pytest.mark.parametrize("name", ["json"])  # tests/browser/test_agreement.py takes all sets
def test_costs_each_grouping_sums_to_the_headline(name: str, by: str, open_app: OpenApp, real_path: RealPath) -> None:
    """The table, all its pages together, sums to the headline."""
    con = read(real_path(name)).connection()
    whole = costs.cost_totals(con, Scope())

    app = open_app(real_path(name), range="all", by=by)

    assert not app.exception
    assert headline(app)["Cost, recorded (USD)"] == display.usd(whole.cost_recorded_usd)
    assert headline(app)["Tokens"] == display.tokens(whole.total_tokens)
    total = table_sum(app)
    if by == "session" and whole.sessions > 100:
        total += table_sum(turn_page(app, 2))
    assert total == pytest.approx(float(whole.cost_recorded_usd or 0))


def test_costs_settings_cut_days_and_weeks(open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their zone wins over the browser's; a running dashboard follows a change of the first weekday."""
    docs = (session(), assistant(created=START_MS, completed=START_MS + 1, cost=1))  # a Thursday in UTC
    file = tmp_path / "settings.toml"
    file.write_text('time_zone = "America/New_York"', encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))

    days_shown = list(open_app(*docs, tz="Asia/Tokyo", range="all", by="day").dataframe[0].value.iloc[:, 0])
    app = open_app(tmp_path / "index.duckdb", range="all", by="week")
    from_monday = list(app.dataframe[0].value.iloc[:, 0])
    file.write_text('time_zone = "America/New_York"\nfirst_weekday = "wednesday"', encoding="utf-8")
    app.run()

    assert days_shown == ["2025-12-31"]
    assert from_monday == ["2025-12-29 (W01)"]
    assert list(app.dataframe[0].value.iloc[:, 0]) == ["2025-12-31"]


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ({"agent": "build"}, Scope(agents=("build",))),
        ({"agent": ["build", "plan"]}, Scope(agents=("build", "plan"))),
        ({"model": "acme/nova-large"}, Scope(models=("acme/nova-large",))),
        ({"from": "2026-09-01", "to": "2026-10-31"}, Scope(period=days(date(2026, 9, 1), date(2026, 10, 31), "UTC"))),
        ({"from": "2026-11-01"}, Scope(period=days(date(2026, 11, 1), None, "UTC"))),
        ({"q": "retry"}, Scope(text="retry")),
        ({"project": "global"}, Scope(projects=("global",))),
    ],
)
def test_costs_filter_in_the_address_narrows_every_number(
    url: dict[str, str], scope: Scope, open_app: OpenApp, real_path: RealPath
) -> None:
    """A shared link shows what the sender saw."""
    truth = costs.cost_totals(read(real_path("json")).connection(), scope)

    app = open_app(real_path("json"), range="all", by="model", **url)

    assert not app.exception
    assert truth.messages
    assert headline(app)["Cost, recorded (USD)"] == display.usd(truth.cost_recorded_usd)
    assert table_sum(app) == pytest.approx(float(truth.cost_recorded_usd or 0))


def test_costs_filters_chosen_on_the_page_narrow_too(open_app: OpenApp, real_path: RealPath) -> None:
    """Each widget of the bar works, and one button takes all filters off."""
    app = open_app(real_path("json"), range="all")
    before = headline(app)

    app.multiselect(key="agent").set_value(["plan"]).run()
    narrowed = headline(app)
    app.button(key="clear_filters").click().run()

    assert not app.exception
    assert narrowed != before
    assert headline(app) == before


def test_costs_project_named_by_its_id_is_translated(open_app: OpenApp) -> None:
    """An old link gives only the id of a project; the filter shows its name."""
    app = open_app(
        project("a" * 40, name="Shop"), session(project_id="a" * 40), assistant(cost=1), range="all", project="a" * 40
    )

    assert app.multiselect(key="project").value == ["Shop · aaaaaaaa"]
    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_costs_unknown_filter_value_is_named_and_can_be_removed(open_app: OpenApp, real_path: RealPath) -> None:
    """A value that the data does not know shows no data, not everything."""
    app = open_app(real_path("json"), range="all", agent="![x](http://example.com/a.png)")

    shown = texts(app)
    app.button(key="remove_unknown").click().run()

    assert "No data for agent ![x](http://example.com/a.png)" in shown
    assert not app.exception
    assert headline(app)["Cost, recorded (USD)"] != "—"


def test_costs_unknown_value_beside_a_known_one_is_named(open_app: OpenApp, real_path: RealPath) -> None:
    """What matches is shown, what does not is named."""
    app = open_app(real_path("json"), range="all", agent=["build", "*nobody*"])

    assert r"No data for agent \*nobody\*" in texts(app)
    assert headline(app)


def test_costs_nothing_in_the_range_offers_all_time(open_app: OpenApp) -> None:
    """An empty range says so and offers the one action that helps."""
    app = open_app(session(created=START_MS), assistant(created=START_MS, cost=1), range="24h")

    shown = texts(app)
    app.button(key="show_all").click().run()

    assert "No costs here" in shown and "last 24 hours" in shown
    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_costs_nothing_matches_together_offers_to_clear(open_app: OpenApp) -> None:
    """Filters that are known but share no message."""
    app = open_app(session(), assistant(cost=1), range="all", q="no such words")

    app.button(key="clear_here").click().run()

    assert headline(app)["Cost, recorded (USD)"] == "$1.00"


def test_costs_not_recorded_is_a_dash_and_named(open_app: OpenApp) -> None:
    """A cost that was not recorded is never 0."""
    app = open_app(session(), assistant(usage=tokens(input=1_500), cost=None), range="all", by="model")

    assert headline(app)["Cost, recorded (USD)"] == "—"
    assert "the cost of 1 message (1.50K tokens) that OpenCode did not record" in texts(app)
    assert app.dataframe[0].value["Cost"].isna().all()


def test_costs_session_whose_title_cannot_be_seen_is_called_by_its_id(open_app: OpenApp) -> None:
    """Blanks and marks of direction alone would leave the cell, and its bar, without a name."""
    app = open_app(session(title="\u200e \u2028"), user(), assistant(cost=0.25), range="all", by="session")

    assert app.dataframe[0].value["Session"].tolist() == ["ses_1"]
    assert "ses_1" in app.get("plotly_chart")[1].proto.spec


def test_costs_zero_recorded_is_zero(open_app: OpenApp) -> None:
    """A subscription is recorded as 0; there is nothing to draw, which is said."""
    app = open_app(session(), assistant(usage=tokens(input=5), cost=0), range="all")

    assert headline(app)["Cost, recorded (USD)"] == "$0"
    assert "No cost above $0 was recorded here" in texts(app)
    assert not app.get("plotly_chart")


def test_costs_unknown_time_has_a_row_in_all_and_is_named_elsewhere(open_app: OpenApp) -> None:
    """A message whose time is not plausible is not lost."""
    docs = (
        session(),
        assistant("msg_1", created=START_MS, cost=1),
        assistant("msg_2", created=-5, completed=None, cost=2),
    )

    app = open_app(*docs, range="all", by="day")
    everything = app.dataframe[0].value["Day"].tolist()
    app.date_input(key="from").set_value(date(2026, 1, 1)).run()

    assert everything == ["2026-01-01", "unknown time"]
    assert "1 message of unknown time" in texts(app)


def test_costs_says_what_opencode_never_records(open_app: OpenApp, real_path: RealPath) -> None:
    """Titles, aborted steps and failed attempts are in no number; fork copies are counted once."""
    shown = texts(open_app(real_path("json"), range="all"))

    assert "failed attempts before a retry" in shown
    assert "9 fork copies" in shown


def test_costs_days_are_those_of_the_viewer(open_app: OpenApp) -> None:
    """The same message is of the next day further east."""
    docs = (session(), assistant(created=START_MS + 23 * 3_600_000, cost=1))

    app = open_app(*docs, tz="Asia/Tokyo", range="all", by="day")

    assert app.dataframe[0].value["Day"].tolist() == ["2026-01-02"]
    assert any("Asia/Tokyo" in caption.value for caption in app.caption)


def test_costs_charts_have_seven_series_and_no_markup(open_app: OpenApp) -> None:
    """Series follow the slots of the colours; labels are escaped and charts described."""
    hostile = "<a href='http://example.com'>x</a>"
    app = open_app(session(), assistant(agent=hostile, mode=hostile, cost=1), range="all", by="agent")

    (over_time, ranking) = (chart.proto for chart in app.get("plotly_chart"))

    assert not app.exception
    assert over_time.spec.count('"type":"bar"') == 7
    assert "<a href" not in over_time.spec + ranking.spec
    assert over_time.alt and ranking.alt


def test_costs_many_sessions_are_paged_and_a_bad_page_is_the_first(open_app: OpenApp) -> None:
    """Over a hundred rows come in pages; the headline is that of all."""
    docs = [session("ses_1")]
    for number in range(120):
        docs += [
            session(f"ses_{number}"),
            assistant(f"msg_{number}", f"ses_{number}", created=START_MS + number, cost=1),
        ]

    app = open_app(*docs, range="all", by="session", costs_page="999")

    assert not app.exception
    assert len(app.dataframe[0].value) == 100
    assert headline(app)["Cost, recorded (USD)"] == "$120.00"
    assert Decimal(table_sum(app)) == 100


def test_costs_bad_values_in_the_address_are_ignored(open_app: OpenApp, real_path: RealPath) -> None:
    """Nothing in an address breaks the page."""
    app = open_app(real_path("json"), range="1000y", by="moon", basis="list", costs_page="-3", **{"from": "yesterday"})

    assert not app.exception
    assert app.title[0].value == "Costs"


@pytest.mark.parametrize("by", costs.GROUPINGS)
def test_costs_at_list_prices_each_grouping_sums_to_the_headline(
    by: str, open_app: OpenApp, priced_path: RealPath
) -> None:
    """Shares and charts go by the list price then; both costs stay beside each other."""
    whole = costs.cost_totals(read(priced_path("json")).connection(), Scope())

    app = open_app(priced_path("json"), range="all", by=by, basis="list")

    assert not app.exception
    assert headline(app)["Cost at list prices (USD)"] == display.usd(whole.cost_list_usd)
    assert headline(app)["Cost, recorded (USD)"] == display.usd(whole.cost_recorded_usd)
    assert whole.cost_list_usd != whole.cost_recorded_usd
    found = app.dataframe[0].value
    if by != "session":
        assert found["List"].sum() == pytest.approx(float(whole.cost_list_usd or 0))
        assert found["Share"].sum() == pytest.approx(100)


def test_costs_models_without_a_price_are_named(open_app: OpenApp) -> None:
    """With their tokens: they are not in the list price."""
    usage = tokens(input=1_000, output=500)

    app = open_app(session(), assistant(usage=usage), range="all")

    assert headline(app)["Cost at list prices (USD)"] == "—"
    assert "Not in list prices: 1.50K tokens of 1 unpriced model (acme/nova)." in texts(app).replace("\\", "")


@pytest.mark.parametrize(
    ("page", "label"),
    [
        ("costs", "Cost at list prices (USD)"),
        ("what_if", "Own models, list prices (USD)"),
        ("ledger", "List price (USD)"),
    ],
)
def test_costs_list_price_of_nothing_but_a_request_without_tokens_is_not_known(
    page: str, label: str, open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed request of a priced model costs 0; what the tokens of another model cost nobody knows."""
    file = tmp_path / "settings.toml"
    file.write_text('[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 1000\noutput = 2000\n')
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))
    failed = assistant("msg_3a", usage=tokens(), error={"name": "APIError", "data": {}})

    app = open_app(session(), assistant(usage=tokens(input=9), modelID="odd"), failed, page=page, range="all", by="day")

    assert headline(app)[label] == "—"
    if page == "costs":
        assert app.dataframe[0].value["List"].isna().tolist() == [True]


def test_costs_of_a_subscription_say_what_it_would_have_cost(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded as 0, which is not what the tokens are worth."""
    file = tmp_path / "settings.toml"
    file.write_text('[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 1000\noutput = 2000\n')
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))

    app = open_app(session(), assistant(usage=tokens(input=1_000, output=500), cost=0), range="all", basis="list")

    assert headline(app)["Cost, recorded (USD)"] == "$0"
    assert headline(app)["Cost at list prices (USD)"] == "$2.00"
    said = texts(app).replace("\\", "")
    assert "Recorded as $0, by subscriptions and free models: tokens worth $2.00 at list prices." in said

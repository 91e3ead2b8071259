"""How numbers, times and untrusted text look."""

from datetime import date, datetime
from decimal import Decimal

import pytest

from pages.ui import call_charts, charts, display, working_charts
from queries.costs import CostPoint, RankedKey
from queries.health import Project
from queries.period import Period
from queries.speeds import ModelSpeed
from queries.tool_reports import CallReport


@pytest.mark.parametrize(
    ("cost", "digits", "written"),
    [
        (None, 2, "—"),
        (float("nan"), 2, "—"),
        (Decimal(0), 2, "$0"),
        (Decimal("0.00000001"), 2, "<$0.0001"),
        (Decimal("0.0032"), 2, "$0.0032"),
        (Decimal("0.01"), 2, "$0.01"),
        (Decimal("1234.5"), 2, "$1,234.50"),
        (Decimal("0.11188"), 4, "$0.1119"),
        (Decimal("-1.5"), 2, "-$1.50"),
    ],
)
def test_usd_is_never_zero_for_what_is_not(cost: Decimal | None, digits: int, written: str) -> None:
    """Not recorded is a dash, nothing is $0, and little is not nothing."""
    assert display.usd(cost, digits) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (None, "—"),
        (0, "0"),
        (999, "999"),
        (1_000, "1.00K"),
        (1_240, "1.24K"),
        (12_400, "12.4K"),
        (999_499, "999K"),
        (999_500, "1.00M"),
        (376_000_000, "376M"),
        (1_500_000_000, "1.50G"),
        (9_999_000_000_000_000, "9999T"),
        (-1_240, "-1.24K"),
    ],
)
def test_tokens_have_three_significant_digits(number: int | None, written: str) -> None:
    """What would round to a thousand is one of the next unit."""
    assert display.tokens(number) == written


@pytest.mark.parametrize(
    ("ms", "written"),
    [
        (None, "—"),
        (12, "12 ms"),
        (1_200, "1.2 s"),
        (48_000, "48 s"),
        (59_900, "1m 00s"),
        (130_000, "2m 10s"),
        (3_840_000, "1h 04m"),
        (273_600_000, "3d 4h"),
    ],
)
def test_duration_has_two_units_at_most(ms: int | None, written: str) -> None:
    """Units change where a reader expects it."""
    assert display.duration(ms) == written


@pytest.mark.parametrize(("ms", "written"), [(None, "—"), (0, "—"), (12, "12 ms"), (61_000, "1m 01s")])
def test_active_without_a_recorded_time_is_not_zero(ms: int | None, written: str) -> None:
    """The index adds up the exchanges whose times are known: of none, that is 0."""
    assert display.active(ms) == written


def test_counts_percentages_and_times_are_plain() -> None:
    """Thousands separators, one digit, a dash for what is missing."""
    assert (display.count(12_345), display.count(None)) == ("12,345", "—")
    assert (display.counted(1, "fork copy", "fork copies"), display.counted(2, "day")) == ("1 fork copy", "2 days")
    assert (display.percent(0.6151), display.percent(0.6151, 0), display.percent(None)) == ("61.5%", "62%", "—")
    assert (display.percent(0.0004), display.percent(0.004, 0), display.percent(0.0)) == ("<0.1%", "<1%", "0.0%")
    assert (display.moment(datetime(2026, 11, 3, 14, 32)), display.moment(None)) == ("Nov 3, 2026 14:32", "—")


@pytest.mark.parametrize(
    ("period", "words"),
    [
        (Period(), "all time"),
        (Period(datetime(2026, 10, 25), datetime(2026, 11, 24)), "Oct 25, 2026 to Nov 23, 2026"),
        (Period(datetime(2026, 10, 25), datetime(2026, 10, 26)), "Oct 25, 2026"),
        (Period(datetime(2026, 10, 25), None), "from Oct 25, 2026"),
        (Period(None, datetime(2026, 10, 26)), "until Oct 25, 2026"),
    ],
)
def test_span_names_both_days_included(period: Period, words: str) -> None:
    """A half-open period is said with its last day."""
    assert display.span(period, "UTC") == words


def test_md_markup_is_escaped() -> None:
    """No image, link, style or icon survives; lines become one."""
    assert display.md("![x](http://e.com)\n<b>*a*:red[b]$`#|~_") == (
        r"\!\[x\]\(http\://e.com\) \<b\>\*a\*\:red\[b\]\$\`\#\|\~\_"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (
            "No index at /a_b yet. Build it with `x --db 'a_b'`.",
            "No index at /a\\_b yet. Build it with `x --db 'a_b'`.",
        ),
        ("`run` or `bulk`", "`run` or `bulk`"),
        ("![x](y) has no `end", "\\!\\[x\\]\\(y\\) has no \\`end"),
        ("``` ![x](y) `", "\\`\\`\\` \\!\\[x\\]\\(y\\) \\`"),  # no pair of single ones, though their number is even
    ],
)
def test_with_commands_what_is_between_backticks_is_code(text: str, written: str) -> None:
    """And nothing else is markup, also where a backtick has no partner."""
    assert display.with_commands(text) == written


def test_one_line_long_and_bidirectional_text_is_tamed() -> None:
    """Direction marks go, a megabyte is cut."""
    assert display.one_line("a\u202eb\n c") == "ab c"
    assert len(display.one_line("x" * 1_000_000)) == 120


def test_project_is_named_with_the_start_of_its_id() -> None:
    """What the URL says, with and without a name."""
    assert display.project(Project("faf191dd2cff", "shop\napi")) == "shop api · faf191dd"
    assert display.project(Project("global", None)) == "global"


def test_steps_for_coarser_until_few_enough() -> None:
    """A long axis begins with a step that fits it."""
    start = datetime(2026, 1, 1)

    assert charts.steps_for(start, datetime(2026, 1, 2), "hour") == ["hour", "day", "week", "month"]
    assert charts.steps_for(start, datetime(2026, 3, 1), "day") == ["day", "week", "month"]
    assert charts.steps_for(start, datetime(2027, 1, 1), "day") == ["week", "month"]
    assert charts.steps_for(start, datetime(2126, 1, 1), "day") == ["month"]
    assert charts.steps_for(None, None, "week") == ["week", "month"]


def test_fits_counts_marks_by_slot() -> None:
    """Keys beyond the slots share one mark a step."""
    ranks = [RankedKey(f"k{number}", number) for number in range(1, 101)]
    one_step = [CostPoint(datetime(2026, 1, 1), entry.key, 1.0) for entry in ranks]

    assert charts.fits(one_step, ranks)
    assert not charts.fits(
        [CostPoint(datetime(2026, 1, day), e.key, 1.0) for day in range(1, 32) for e in ranks] * 2
        + [
            CostPoint(datetime(2025, month, day), e.key, 1.0)
            for month in range(1, 13)
            for day in range(1, 29)
            for e in ranks
        ],
        ranks,
    )


@pytest.mark.parametrize(
    ("step", "first", "last", "number"),
    [
        ("hour", datetime(2026, 3, 29, 0, 30), datetime(2026, 3, 29, 5), 6),
        ("day", datetime(2026, 2, 27, 13), datetime(2026, 3, 2, 1), 4),
        ("week", datetime(2026, 10, 28), datetime(2026, 11, 9), 3),
        ("month", datetime(2025, 11, 30), datetime(2026, 2, 1), 4),
    ],
)
def test_steps_empty_ones_are_on_the_axis(step: str, first: datetime, last: datetime, number: int) -> None:
    """An axis has no holes."""
    axis = charts.steps([], step, first, last)

    assert len(axis) == number == len(set(charts.axis_labels(axis, step, date(2026, 1, 1))))


def test_steps_weeks_begin_on_the_first_weekday() -> None:
    """As those of the queries do: a point must be on its axis."""
    axis = charts.steps([], "week", datetime(2026, 10, 31, 23), datetime(2026, 11, 8), first_weekday=6)

    assert axis == [datetime(2026, 10, 25), datetime(2026, 11, 1), datetime(2026, 11, 8)]


def test_axis_labels_last_day_is_today_and_years_are_told_apart() -> None:
    """Labels are ready-made: a time axis would shift them by the browser's zone."""
    assert charts.axis_labels([datetime(2026, 11, 22), datetime(2026, 11, 23)], "day", date(2026, 11, 23)) == [
        "Nov 22",
        "Today",
    ]
    assert charts.axis_labels([datetime(2025, 12, 1), datetime(2026, 1, 1)], "month", date(2026, 1, 1)) == [
        "Dec 2025",
        "Jan 2026",
    ]
    assert (
        charts.axis_labels([datetime(2025, 12, 29), datetime(2026, 1, 5)], "week", date(2026, 1, 9))[0] == "Dec 29 2025"
    )


def test_cost_over_time_slots_are_ranks_and_the_rest_is_other() -> None:
    """Series n is rank n, also when it is empty; seven in all."""
    ranks = [RankedKey(f"k{number}", number) for number in range(1, 9)]
    points = [CostPoint(datetime(2026, 1, 1), key, 1.0) for key in ("k2", "k7", "k8")]

    figure = charts.cost_over_time(points, [datetime(2026, 1, 1)], "day", ranks, {"k2": "<b>"}, date(2026, 1, 2))

    assert [(trace.name, trace.y[0], trace.showlegend) for trace in figure.data] == [
        ("k1", None, False),
        ("&lt;b&gt;", 1.0, True),
        ("k3", None, False),
        ("k4", None, False),
        ("k5", None, False),
        ("k6", None, False),
        ("Other", 2.0, True),
    ]


def test_distinct_labels_that_are_cut_alike_are_numbered() -> None:
    """Also where a name looks like a numbered one. They are the places of bars: `call_charts`, `working_charts`."""
    assert charts.distinct(["openrouter/a", "openrouter/b"], 11) == ["openrouter…", "openrouter… (2)"]
    assert charts.distinct(["a", "a (2)", "a", "<b>"], 24) == ["a", "a (2)", "a (3)", "&lt;b&gt;"]


def test_range_charts_names_that_begin_alike_have_places_of_their_own() -> None:
    """One bar and one mark for each tool, and for each model."""
    models = [f"openrouter/anthropic/claude-sonnet-4{end}" for end in ("", ".5")]
    calls = [CallReport(name, 9, 0, 0, 9, 1.0, 2.0, 3.0, 4.0, 5, 20, 0, None) for name in models]
    speeds = [ModelSpeed(name, 9, 9, 1.0, 2.0, 3.0, 90, 9) for name in models]

    figures = [call_charts.ranges(calls), working_charts.speeds(speeds)]

    for figure in figures:
        bars, marks = figure.data
        assert len(set(bars.y)) == 2
        assert list(marks.y) == list(bars.y) == list(figure.layout.yaxis.categoryarray)[::-1]
        assert [text.split("<br>")[0] for text in bars.hovertext] == models


@pytest.mark.parametrize("models", [1, 3, 12])
def test_range_charts_few_bars_are_as_thin_as_many(models: int) -> None:
    """One alone is not a wall: the mark on it is to be seen."""
    names = [str(number) for number in range(models)]
    calls = [CallReport(name, 9, 0, 0, 9, 1.0, 2.0, 3.0, 4.0, 5, 20, 0, None) for name in names]
    speeds = [ModelSpeed(name, 9, 9, 1.0, 2.0, 3.0, 90, 9) for name in names]

    figures = [call_charts.ranges(calls), working_charts.speeds(speeds)]

    for figure in figures:
        thickness = figure.data[0].width * figure.layout.height / models
        assert 10 <= thickness <= 20


@pytest.mark.parametrize(
    ("p50", "p95", "ticks"),
    [
        (3_000.0, 8_500.0, ("5.0 s", "10 s")),
        (40.0, 70_000.0, ("100 ms", "1.0 s", "10 s", "1m 00s")),
        (20_000.0, 200_000.0, ("30 s", "1m 00s", "2m 00s")),
    ],
)
def test_range_charts_of_tools_have_ticks_to_read_a_duration_by(p50: float, p95: float, ticks: tuple[str, ...]) -> None:
    """Whole powers of ten where there are enough of them, else some in between."""
    figure = call_charts.ranges([CallReport("bash", 9, 0, 0, 9, p50, p50, p95, p95, 5, 20, 0, None)])

    assert figure.layout.xaxis.ticktext == ticks


def test_cost_ranking_little_is_not_nothing() -> None:
    """What stands beside a bar is escaped: Plotly takes some HTML."""
    figure = charts.cost_ranking([("a", "a", 99.7, 0.997), ("b", "b", 0.3, 0.003)], None)

    assert figure.data[0].text == ("$99.70 · 100%", "$0.30 · &lt;1%")


def test_cost_ranking_equal_names_keep_their_own_bars() -> None:
    """Two sessions with one title are two bars; a bar has the colour of its key."""
    rows = [("a", "Same", 2.0, 0.5), ("b", "Same", 1.0, 0.25)]

    plain = charts.cost_ranking(rows, None)
    ranked = charts.cost_ranking(rows, [RankedKey("a", 2), RankedKey("b", 9)])

    assert list(plain.data[0].y) == ["Same", "Same (2)"]
    assert [len(trace.y) for trace in ranked.data] == [0, 1, 0, 0, 0, 0, 1]
    assert charts.cost_ranking([], None).layout.height >= 170


def test_condensed_keeps_the_sum() -> None:
    """A long course becomes a short one with the same sum."""
    values = [1.0] * 88

    short = charts.condensed(values)

    assert len(short) <= 24 and sum(short) == 88
    assert charts.condensed([1.0, 2.0]) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.01, "<0.1"), (0.44, "0.4"), (9.94, "9.9"), (9.96, "10"), (1234.4, "1,234")]
)
def test_rate_is_written_short(number: float, text: str) -> None:
    """A little is more than nothing; a lot needs no decimals."""
    assert display.rate(number) == text

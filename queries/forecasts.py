"""Budgets: the period each one is for, what is spent in it, and what is likely to be by its end. Pure functions.

A forecast is what is spent already plus what the rest of the period may cost. Nothing is fitted: the rest is looked up
in the past. For a month or a week, these are the stretches of time that are as long as the rest and began at the same
time of day, 1, 2, 3 … days earlier; for a 5-hour window, what earlier windows still cost once as much of them had
passed. The middle one is the forecast, the range goes from the 10th to the 90th percentile. A stretch in which
something was used, at no known cost, says nothing; where a part of the cost is not known, the forecast is the least.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

from queries.budgets import SpendQuarter
from queries.period import local_day, local_midnight

MONTH, WEEK, FIVE_HOURS = "month", "week", "5 hours"
HISTORY_DAYS = 84  # twelve weeks: every weekday as often
FEWEST_STRETCHES = 14  # with fewer, the 10th percentile would be the least or second least of them
_WINDOW = timedelta(hours=5)
_QUARTER = timedelta(minutes=15)


class Span(NamedTuple):
    """A half-open span of time, [start, end), naive UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets that the user set, USD. None: there is none."""

    month_usd: Decimal | None = None
    week_usd: Decimal | None = None
    five_hours_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will be spent by the end of a period.

    Attributes:
        low_usd: One of ten stretches of the past would lead to less.
        middle_usd: Half of them would lead to no more.
        high_usd: Nine of ten would lead to no more.
        stretches: Stretches of the past that it was looked up in: of each at least a part of the cost is known, or
            nothing was used.
    """

    low_usd: Decimal
    middle_usd: Decimal
    high_usd: Decimal
    stretches: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget in its present period.

    Attributes:
        name: One of `MONTH`, `WEEK`, `FIVE_HOURS`.
        basis: One of `costs.BASES`.
        limit_usd: What may be spent.
        start_at: When the period began, naive UTC. None: no 5-hour window is open.
        end_at: First moment after it.
        spent_usd: Of what is known. None: something was used, and no cost of it is known.
        uncounted_messages: Messages in the period whose cost is not known.
        low_usd: As in `Forecast`; so the next three. None: too little is known of the past, or of what is spent.
        is_least: The forecast is the least to expect: messages of unknown cost are in what is spent or was looked up.
    """

    name: str
    basis: str
    limit_usd: Decimal
    start_at: datetime | None
    end_at: datetime | None
    spent_usd: Decimal | None
    uncounted_messages: int
    low_usd: Decimal | None
    middle_usd: Decimal | None
    high_usd: Decimal | None
    stretches: int
    is_least: bool

    @property
    def spent_share(self) -> float | None:
        """Return the part of the budget that is spent: over 1 where it is exceeded. None if that is not known."""
        return None if self.spent_usd is None else float(self.spent_usd / self.limit_usd)

    @property
    def is_exceeded(self) -> bool:
        """Tell whether more is known to be spent than the budget allows."""
        return self.spent_usd is not None and self.spent_usd > self.limit_usd


class Ledger:
    """What was spent, quarter by quarter, ready to be added up over any stretch."""

    def __init__(self, quarters: Sequence[SpendQuarter], basis: str) -> None:
        """Add up once.

        Args:
            quarters: In order of time.
            basis: One of `costs.BASES`.
        """
        self.moments = [quarter.quarter_at for quarter in quarters]
        self._costs = list(accumulate((quarter.cost_usd(basis) for quarter in quarters), initial=Decimal(0)))
        self._known = list(accumulate((int(quarter.is_known(basis)) for quarter in quarters), initial=0))
        self._uncounted = list(accumulate((quarter.uncounted(basis) for quarter in quarters), initial=0))

    def spent_usd(self, span: Span) -> Decimal:
        """Return what was spent in a span whose bounds are full quarters."""
        first, last = self._places(span)
        return self._costs[last] - self._costs[first]

    def uncounted(self, span: Span) -> int:
        """Return the messages in a span whose cost is not known."""
        first, last = self._places(span)
        return self._uncounted[last] - self._uncounted[first]

    def is_unknown(self, span: Span) -> bool:
        """Tell whether something was used in a span, and no cost of it is known."""
        first, last = self._places(span)
        return first < last and self._known[first] == self._known[last]

    def _places(self, span: Span) -> tuple[int, int]:
        """Return where a span begins and ends."""
        return bisect_left(self.moments, span.start), bisect_left(self.moments, span.end)


def history_start(now: datetime, tz: str) -> datetime:
    """Return the moment from which the past is looked at: a local midnight, naive UTC."""
    return local_midnight(local_day(now, tz) - timedelta(days=HISTORY_DAYS), tz)


def month_of(now: datetime, tz: str) -> Span:
    """Return the local month that a naive UTC moment is in."""
    first = local_day(now, tz).replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Span(local_midnight(first, tz), local_midnight(following, tz))


def week_of(now: datetime, tz: str, first_weekday: int) -> Span:
    """Return the local week that a naive UTC moment is in; it begins on a weekday, Monday 0."""
    today = local_day(now, tz)
    first = today - timedelta(days=(today.weekday() - first_weekday) % 7)
    return Span(local_midnight(first, tz), local_midnight(first + timedelta(days=7), tz))


def windows(moments: Sequence[datetime]) -> list[Span]:
    """Cut time into 5-hour windows, as providers' session limits do.

    A window begins at the full hour (UTC) of the first request that no earlier window holds, and lasts five hours.

    Args:
        moments: Times of requests, naive UTC, in order.

    Returns:
        The windows in order. They do not overlap, and hold every request.
    """
    found: list[Span] = []
    for at in moments:
        if not found or at >= found[-1].end:
            start = at.replace(minute=0, second=0, microsecond=0)
            found.append(Span(start, start + _WINDOW))
    return found


def forecast(spent_usd: Decimal, rests_usd: Sequence[Decimal]) -> Forecast | None:
    """Say what will be spent.

    Args:
        spent_usd: What is spent already.
        rests_usd: What the rest of the period would cost if it were as each stretch of the past, in any order.

    Returns:
        None if the past holds fewer than `FEWEST_STRETCHES`.
    """
    if len(rests_usd) < FEWEST_STRETCHES:
        return None
    ranked = sorted(rests_usd)
    low, middle, high = (spent_usd + ranked[-(-len(ranked) * tenths // 10) - 1] for tenths in (1, 5, 9))
    return Forecast(low, middle, high, len(ranked))


def rests_of_days(ledger: Ledger, rest: Span, tz: str) -> list[Span]:
    """Look up the same stretch of time 1, 2, 3 … local days earlier.

    The same time of day is meant, whatever the clock did in between. Only stretches count that begin after the
    first spend that is known and have ended when the rest begins.

    Args:
        ledger: What was spent since `history_start`.
        rest: What is left of the period; from a full quarter on.
        tz: Zone of the days.

    Returns:
        Newest first; those of unknown cost are left out.
    """
    if not ledger.moments:
        return []
    found = []
    for days in range(1, HISTORY_DAYS + 1):
        earlier = Span(_days_earlier(rest.start, days, tz), _days_earlier(rest.end, days, tz))
        if earlier.start < ledger.moments[0]:
            break
        if earlier.end <= rest.start and not ledger.is_unknown(earlier):
            found.append(earlier)
    return found


def rests_of_windows(ledger: Ledger, earlier: Sequence[Span], passed: timedelta) -> list[Span]:
    """Look up what was left of earlier 5-hour windows once some of their time had passed.

    Args:
        ledger: What was spent.
        earlier: Windows that have ended.
        passed: How much of the present one has.

    Returns:
        In order; those of unknown cost are left out.
    """
    rests = [Span(window.start + passed, window.end) for window in earlier]
    return [rest for rest in rests if not ledger.is_unknown(rest)]


def budgets(
    quarters: Sequence[SpendQuarter], limits: Limits, basis: str, now: datetime, tz: str, first_weekday: int
) -> list[Budget]:
    """Compare what is spent with the budgets.

    Args:
        quarters: What was spent since `history_start`, in order of time.
        limits: The budgets.
        basis: One of `costs.BASES`.
        now: The present, naive UTC.
        tz: Zone of days, weeks and months.
        first_weekday: Begins a week, Monday 0.

    Returns:
        Those that are set: month, week, 5 hours.
    """
    ledger = Ledger(quarters, basis)
    return list(_budgets(ledger, limits, basis, now, tz, first_weekday))


def _budgets(
    ledger: Ledger, limits: Limits, basis: str, now: datetime, tz: str, first_weekday: int
) -> Iterator[Budget]:
    """Make the budgets that are set."""
    reached = now - (now - datetime.min) % _QUARTER + _QUARTER  # what is spent in this quarter may be in the index
    month, week = month_of(now, tz), week_of(now, tz, first_weekday)
    for name, limit, span in ((MONTH, limits.month_usd, month), (WEEK, limits.week_usd, week)):
        if limit is not None:
            yield _budget(name, basis, limit, ledger, span, rests_of_days(ledger, Span(reached, span.end), tz))
    if limits.five_hours_usd is not None:
        every = windows([at for at in ledger.moments if at < reached])  # a clock may have been ahead
        present = every.pop() if every and every[-1].end > now else None
        rests = rests_of_windows(ledger, every, reached - present.start) if present else []
        yield _budget(FIVE_HOURS, basis, limits.five_hours_usd, ledger, present, rests)


def _budget(
    name: str, basis: str, limit_usd: Decimal, ledger: Ledger, span: Span | None, rests: Sequence[Span]
) -> Budget:
    """Make one budget.

    Args:
        name: As in `Budget`.
        basis: Alike.
        limit_usd: Alike.
        ledger: What was spent.
        span: Its present period. None: it has none.
        rests: Stretches of the past that say what the rest of that may cost.
    """
    spent = ledger.spent_usd(span) if span else Decimal(0)
    is_unknown = span is not None and ledger.is_unknown(span)
    uncounted = ledger.uncounted(span) if span else 0
    expected = None if is_unknown else forecast(spent, [ledger.spent_usd(rest) for rest in rests])
    return Budget(
        name=name,
        basis=basis,
        limit_usd=limit_usd,
        start_at=span.start if span else None,
        end_at=span.end if span else None,
        spent_usd=None if is_unknown else spent,
        uncounted_messages=uncounted,
        low_usd=expected.low_usd if expected else None,
        middle_usd=expected.middle_usd if expected else None,
        high_usd=expected.high_usd if expected else None,
        stretches=expected.stretches if expected else len(rests),
        is_least=expected is not None and (uncounted > 0 or any(ledger.uncounted(rest) for rest in rests)),
    )


def _days_earlier(moment: datetime, days: int, tz: str) -> datetime:
    """Return the same time of day, some local days earlier, naive UTC."""
    zone = ZoneInfo(tz)
    there = moment.replace(tzinfo=UTC).astimezone(zone)
    return (there - timedelta(days=days)).astimezone(UTC).replace(tzinfo=None)

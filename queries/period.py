"""What to look at: the part of the index that the filter bar chose, and how days are cut."""

import zoneinfo
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:  # a report in the terminal is quicker without
    import pyarrow

# Days are cut by DuckDB, which brings its own rules of time zones. Those of the system may be years older: where a
# country changed its clock since, a period would begin an hour beside its first day. The package's are as new.
zoneinfo.reset_tzpath(to=())
ZoneInfo.clear_cache()

PRESETS = ("24h", "7d", "30d", "90d", "all")
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2099, 12, 31)  # that can be chosen
_QUARTER = timedelta(minutes=15)  # what the index adds usage up by: every offset of a time zone is a multiple of it


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span of time, [start, end), naive UTC. Both bounds are full quarters of an hour.

    Attributes:
        start: First moment. None: no lower bound.
        end: First moment after. None: no upper bound.
        is_rolling: It is so many hours long, even where they begin at midnight, and no number of days.
    """

    start: datetime | None = None
    end: datetime | None = None
    is_rolling: bool = False

    @property
    def is_all(self) -> bool:
        """Tell whether nothing is cut off, so that rows without a known time belong to it."""
        return self.start is None and self.end is None


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything that narrows a page: time, agents, models, projects, text.

    Attributes:
        tz: IANA name of the viewer's time zone; cuts days.
        period: On the time of the message.
        agents: Names, `unknown` for messages that name none. Empty: all.
        models: `provider/model`, each side `unknown` where not recorded. Empty: all.
        projects: Project ids, `unknown` for sessions that name none. Empty: all.
        text: Part of a title, prompt or answer, any case. Empty: all.
        first_weekday: Weeks begin on it; Monday is 0. Leaves nothing out.
        session_id: One session, without its child sessions. Empty: all.
        hits: Where the text was found, from `narrow.hits` on the same revision. None: each query looks for it itself.
    """

    tz: str = "UTC"
    period: Period = Period()
    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    text: str = ""
    first_weekday: int = 0
    session_id: str = ""
    hits: "pyarrow.Table | None" = field(default=None, compare=False, repr=False)

    @property
    def is_narrow(self) -> bool:
        """Tell whether any filter is set, the period included."""
        return self != Scope(tz=self.tz, first_weekday=self.first_weekday)

    @property
    def is_by_message(self) -> bool:
        """Tell whether a filter may pick some of a session's messages and not others."""
        return bool(self.agents or self.models) or not self.period.is_all


def preset(name: str, tz: str, now: datetime) -> Period:
    """Turn the name of a range into a period.

    Args:
        name: One of `PRESETS`.
        tz: IANA name; days begin at local midnight there.
        now: The present, naive UTC.

    Returns:
        For `24h` the last 24 hours and what is before them of a quarter of an hour; for days, that many local days,
        the last one being today; both end with today. For `all` no bounds.
    """
    if name == "all":
        return Period()
    today = now.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)).date()
    end = local_midnight(today + timedelta(days=1), tz)
    if name == "24h":
        return Period(_quarter(now - timedelta(hours=24)), end, is_rolling=True)
    return Period(local_midnight(today - timedelta(days=int(name.removesuffix("d")) - 1), tz), end)


def days(first: date | None, last: date | None, tz: str) -> Period:
    """Turn two local days, both included, into a period. None leaves that side open."""
    if first and last and first > last:
        first, last = last, first
    return Period(
        local_midnight(first, tz) if first else None,
        local_midnight(last + timedelta(days=1), tz) if last else None,
    )


def local_midnight(day: date, tz: str) -> datetime:
    """Return the moment a local day begins, naive UTC: the clock change itself where one skips midnight."""
    return datetime.combine(day, time(), ZoneInfo(tz)).astimezone(UTC).replace(tzinfo=None)


def _quarter(moment: datetime) -> datetime:
    """Return the begin of the quarter of an hour that a moment is in."""
    return moment - (moment - datetime.min) % _QUARTER


def local_day(moment: datetime, tz: str) -> date:
    """Return the local day of a naive UTC moment."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)).date()


def before(period: Period, tz: str, until: datetime) -> Period | None:
    """Return the stretch of the same length before a period, to compare it with.

    Args:
        period: What is looked at.
        tz: IANA name; days begin at local midnight there.
        until: How far the data reaches, naive UTC. The rest of the period has not happened yet, so the stretch is as
            much shorter, to the last full quarter of an hour: half a day is not compared with a whole one.

    Returns:
        For local days, as many days earlier, from and to the same time of day; else what ends where the period
        begins. None if the period has no start, or the data ends before or soon after that.
    """
    if period.start is None:
        return None
    end = period.end or local_midnight(local_day(until, tz) + timedelta(days=1), tz)
    reached = min(end, _quarter(until))
    if reached <= period.start:
        return None
    first, last = local_day(period.start, tz), local_day(end, tz)
    if period.is_rolling or local_midnight(first, tz) != period.start or local_midnight(last, tz) != end:
        return Period(period.start - (reached - period.start), period.start)
    shift = last - first
    if reached == end:
        return Period(local_midnight(first - shift, tz), period.start)
    wall = reached.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)) - shift  # the same time of day, across clock changes
    return Period(local_midnight(first - shift, tz), wall.astimezone(UTC).replace(tzinfo=None))

"""How numbers, times and untrusted text look. The only formatting; a value that is not known is a dash."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from queries.health import Project
from queries.period import Period, local_day, local_midnight

MISSING = "—"
_INSTANT = timedelta(microseconds=1)  # before the end of a half-open period
_SPECIAL = frozenset("\\`*_[]()!<>:$#|~")


def md(text: str) -> str:
    """Escape untrusted text for a place that takes Markdown: no image, link or style survives."""
    return _escaped(" ".join(text.split()))


def with_commands(text: str) -> str:
    """Escape a text for a place that takes Markdown, but for the commands in it: they stand between backticks."""
    pieces = " ".join(text.split()).split("`")
    if len(pieces) % 2 == 0 or "``" in text:  # one has no end, or Markdown pairs them another way
        return md(text)
    return "`".join(piece if place % 2 else _escaped(piece) for place, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    """Escape what means something in Markdown."""
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)


def usd(cost: Decimal | float | None, digits: int = 2) -> str:
    """Write a cost: `$12.09`; `<$0.0001` for what would round to nothing; a dash if it was not recorded.

    Args:
        cost: US dollars.
        digits: After the point: 2 for totals, 4 for costs of one thing.
    """
    if cost is None or cost != cost:
        return MISSING
    if cost == 0:
        return "$0"
    sign, size = "-" if cost < 0 else "", abs(float(cost))
    # "<$0.0001" is the least that is told apart, also where totals have two digits.
    if size < 0.0001:
        return f"{sign}<$0.0001"
    if digits < 4 and size < 0.01:
        digits = 4
    return f"{sign}${size:,.{digits}f}"


def tokens(number: float | None) -> str:
    """Write a number of tokens with three significant digits: `999`, `1.24K`, `376M`."""
    if number is None or number != number:
        return MISSING
    if abs(number) < 1000:
        return f"{number:.0f}"
    size = abs(float(number))
    for unit in ("K", "M", "G", "T"):
        size /= 1000
        # What would round to 1000 belongs to the next unit.
        if size < 999.5 or unit == "T":
            break
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{'-' if number < 0 else ''}{size:.{digits}f}{unit}"


def count(number: float | None) -> str:
    """Write a number of things: `12,345`."""
    return MISSING if number is None or number != number else f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Write how many things happen a second: `0`, `0.4`, `12`, `1,234`; a little is more than nothing."""
    if 0 < per_second < 0.1:
        return "<0.1"
    return f"{per_second:.1f}" if 0 < per_second < 9.95 else count(per_second)


def per_1000(number: float | None) -> str:
    """Write how many of 1,000: `0`, `0.4`, `12.5`; a little is more than nothing."""
    if number is None or number != number:
        return MISSING
    return "<0.1" if 0 < number < 0.05 else f"{number:,.1f}" if number else "0"


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun: `1 session`, `12 sessions`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 0 to 1 as a percentage; a little is more than nothing."""
    if share is None or share != share:
        return MISSING
    least = 10**-digits
    return f"<{least:.{digits}f}%" if 0 < share * 100 < least / 2 else f"{share * 100:.{digits}f}%"


def duration(ms: float | None) -> str:
    """Write a duration: `12 ms`, `1.2 s`, `48 s`, `2m 10s`, `1h 04m`, `3d 4h`."""
    if ms is None or ms != ms:
        return MISSING
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 9_950:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    minutes = round(ms / 60_000)
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    hours = round(ms / 3_600_000)
    return f"{hours // 24}d {hours % 24}h"


def active(ms: float | None) -> str:
    """Write how long sessions worked. A dash for 0: no exchange in them has both its times, or takes any."""
    return duration(ms or None)


def fine_duration(ms: float | None) -> str:
    """Write a duration of a few milliseconds with what tells them apart: `0.72 ms`, `9.5 ms`, `112 ms`, `1.2 s`."""
    if ms is None or ms != ms or ms >= 1000:
        return duration(ms)
    return f"{ms:.{2 if ms < 0.995 else 1 if ms < 99.95 else 0}f} ms"


def times(ratio: float | None) -> str:
    """Write how many times as much: `×0.42`, `×3.1`, `×74`."""
    if ratio is None or ratio != ratio:
        return MISSING
    return f"×{ratio:,.{2 if ratio < 0.995 else 1 if ratio < 9.95 else 0}f}"


def local(moment: datetime, tz: str) -> datetime:
    """Return a naive UTC moment in a zone, naive again: what a table shows."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)).replace(tzinfo=None)


def ago(passed: timedelta) -> str:
    """Write how long ago something was: `12 s ago`, `3d 4h ago`; what lies ahead by clock error was just now."""
    seconds = max(passed, timedelta()) // timedelta(seconds=1)
    return f"{duration(1000 * seconds)} ago" if seconds >= 10 else "just now"


def size(number: float | None) -> str:
    """Write a number of bytes: `812 B`, `1.24 KB`, `10.7 MB`."""
    if number is None or number != number:
        return MISSING
    text = tokens(number)
    return f"{text} B" if text[-1].isdigit() else f"{text[:-1]} {text[-1]}B"


def moment(at: datetime | None) -> str:
    """Write a local time: `Nov 3, 2026 14:32`."""
    return MISSING if at is None or at != at else f"{at:%b} {at.day}, {at:%Y %H:%M}"


def day(at: date) -> str:
    """Write a day: `Nov 3, 2026`."""
    return f"{at:%b} {at.day}, {at:%Y}"


def project(project: Project) -> str:
    """Name a project as the filter and the URL do: `shop-api · faf191dd`."""
    short = project.project_id[:8]
    return short if not project.name else f"{' '.join(project.name.split())} · {short}"


def one_line(text: str | None, limit: int = 120) -> str:
    """Put untrusted text on one line of limited length, for a table cell. Invisible direction marks are dropped."""
    words = " ".join((text or "").translate(_NO_DIRECTIONS).split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


_NO_DIRECTIONS = dict.fromkeys(map(ord, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"))


def stretch(period: Period, tz: str) -> str:
    """Write a period that ends in the middle of a day: `Oct 25 to Nov 23, 2026, 12:04`."""
    if period.end is None or local_midnight(local_day(period.end, tz), tz) == period.end:
        return span(period, tz)
    end = period.end.replace(tzinfo=UTC).astimezone(ZoneInfo(tz))
    return f"{span(period, tz)}, {end:%H:%M}"


def span(period: Period, tz: str) -> str:
    """Write a period in words: `Oct 25 to Nov 23, 2026`."""
    first = local_day(period.start, tz) if period.start else None
    last = local_day(period.end - _INSTANT, tz) if period.end else None
    if first and last:
        return day(first) if first == last else f"{day(first)} to {day(last)}"
    if first:
        return f"from {day(first)}"
    return f"until {day(last)}" if last else "all time"

"""The comparison as Markdown."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from statistics import median

from tests.comparison.differences import Difference, Differences
from tests.comparison.timing import Result
from tests.comparison.usage import COUNTERS, Printed

_HEADINGS = {"cache_read": "cache read", "cache_write": "cache write", "reasoning": "reasoning beside output"}


def timings(results: Iterable[Result]) -> str:
    """Lay out medians and how many times as fast we are."""
    rows = [
        (
            result.name,
            f"{median(result.ours_s):.2f} s",
            f"{result.rival} {median(result.theirs_s):.2f} s",
            f"{result.ratio:.2f}",
            f"{'≥ 5' if result.goal > 1 else '> 1'}: {'met' if result.ratio >= result.goal else 'missed'}",
        )
        for result in results
    ]
    return _table(("task", "ours", "theirs", "times as fast", "goal"), rows)


def totals(by_tool: dict[str, Printed]) -> str:
    """Lay out what each tool shows; what it does not say is a dash."""
    rows = [(_HEADINGS.get(name, name), *(getattr(each.usage, name) for each in by_tool.values())) for name in COUNTERS]
    rows.append(("all tokens, as it adds them up", *(each.tokens for each in by_tool.values())))
    rows.append(("USD", *(each.cost_usd for each in by_tool.values())))
    rows.append(("sessions", *(each.sessions for each in by_tool.values())))
    rows.append(("messages", *(each.messages for each in by_tool.values())))
    return _table(("", *by_tool), [[_cell(value) for value in row] for row in rows])


def differences(found: Differences) -> str:
    """Lay out what each cause makes of the way from our totals to theirs."""
    headings = ("cause", "messages", *(_HEADINGS.get(name, name) for name in COUNTERS), "USD", "sessions not listed")
    rows = [(cause, *map(_cell, _change(each))) for cause, each in found.items()]
    return _table(headings, rows)


def _change(difference: Difference) -> Sequence[int | Decimal | None]:
    """List the numbers of a cause; zeros are empty."""
    tokens = [difference.tokens[name] for name in COUNTERS]
    numbers: list[int | Decimal] = [difference.messages, *tokens, difference.cost_usd, difference.sessions]
    return [each or None for each in numbers]


def _cell(value: object) -> str:
    """Write a number, or a text as it is."""
    if value is None:
        return "—"
    return f"{value:,.6f}" if isinstance(value, Decimal) else f"{value:,}" if isinstance(value, int) else str(value)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table whose first column is text and the others are numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

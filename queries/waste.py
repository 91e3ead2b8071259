"""What a session spent for nothing, or twice: loops, edits that had to be made again, exchanges that failed.

Costs are those of the model requests concerned. OpenCode writes one message per request, and a message carries the
cost, so it is charged whole to each finding that it has a part in, and once in every total.
"""

from dataclasses import dataclass
from decimal import Decimal

import duckdb

LOOP, EDIT_FAIL_EDIT, FAILED, ABORTED = "loop", "edit-fail-edit", "failed", "aborted"
CATEGORIES = (LOOP, EDIT_FAIL_EDIT, FAILED, ABORTED)
LOOP_CALLS = 3


@dataclass(frozen=True, slots=True)
class Waste:
    """One finding, inside one exchange.

    Attributes:
        category: loop: one tool was called three times or more with the same arguments. edit-fail-edit: a file was
            edited, that edit or a call after it failed, and the file was edited again. failed, aborted: the exchange
            ended so.
        session_id: May be a child of the session asked for.
        name: The tool, the file, or the error's name.
        label: One line for people: what was called, which file, the prompt.
        count: Calls in the loop; edits of the file; 1 of an exchange.
        trace_ids: The events concerned, in order: all calls of the loop; edits and failures; of an exchange its error.
        tokens: Of the requests that made the calls after the first, the failed ones and the edits after the first; of
            an exchange all of it, without the sessions it delegated to. Fork copies count 0.
        cost_usd: Alike. None: nothing recorded.
        is_fork_copy: All of it was copied from another session, and is counted there.
    """

    category: str
    session_id: str
    exchange_id: str
    exchange: int
    name: str
    label: str
    count: int
    trace_ids: tuple[str, ...]
    tokens: int
    cost_usd: Decimal | None
    is_fork_copy: bool


@dataclass(frozen=True, slots=True)
class WasteTotal:
    """All findings of one category, or all together: each request charged once.

    Attributes:
        category: One of `CATEGORIES`. None: all together, which is less than the sum where categories overlap.
    """

    category: str | None
    findings: int
    tokens: int
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class WasteReport:
    """What was found in a session and all sessions below it.

    Attributes:
        findings: By session as in the timeline, exchange and place.
        totals: One per category that occurs, in the order of `CATEGORIES`.
        together: Everything, each request once.
        overlap_tokens: What the totals count more than `together`; 0 if no request is in two categories.
        overlap_cost_usd: Alike. None: nothing recorded.
    """

    findings: list[Waste]
    totals: list[WasteTotal]
    together: WasteTotal
    overlap_tokens: int
    overlap_cost_usd: Decimal | None


def waste(con: duckdb.DuckDBPyConnection, session_id: str) -> WasteReport:
    """Look for waste in a session and in all sessions below it.

    Args:
        con: The index, open for reading.
        session_id: Any session.

    Returns:
        The findings; none if there is no such session.
    """
    raise NotImplementedError

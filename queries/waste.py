"""What a session spent for nothing, or twice: loops, edits that had to be made again, exchanges that failed.

Costs are those of the model requests concerned. OpenCode writes one message per request, and a message carries the
cost, so it is charged whole to each finding that it has a part in, and once in every total: totals are upper bounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

import duckdb

from queries import edits
from queries.rows import fetch_rows
from queries.session_tree import tree_below
from queries.traced import IN_SESSIONS, call_words, one_line

LOOP, EDIT_FAIL_EDIT, FAILED, ABORTED = "loop", "edit-fail-edit", "failed", "aborted"
CATEGORIES = (LOOP, EDIT_FAIL_EDIT, FAILED, ABORTED)
LOOP_CALLS = 3
COMMANDS = ("bash", "shell")  # what an edit is tried out with


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, inside one exchange.

    Attributes:
        category: loop: one tool was called three times or more with the same arguments. edit-fail-edit: a file was
            edited, that edit or a command after it failed, and a later request edited the file again. failed, aborted:
            the exchange ended so.
        exchange: Its number.
        name: The tool, the file, or the error's name.
        label: One line for people: what was called, the file, what was reported. At most 120 characters.
        count: Calls in the loop; edits of the file; 1 of an exchange.
        trace_ids: The events concerned, in order: all calls of the loop; edits and failed commands; of an exchange the
            error.
        message_ids: The requests it is charged with: those that made the calls after the first, the failed calls and
            the edits after the first; of an exchange all.
    """

    category: str
    session_id: str
    exchange_id: str
    exchange: int
    name: str
    label: str
    count: int
    trace_ids: tuple[str, ...]
    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Waste:
    """A finding with what it cost.

    Attributes:
        tokens: Of the requests it is charged with. Fork copies count 0. Of an exchange, what it delegated is left out.
        cost_usd: Alike. None: nothing recorded.
        is_fork_copy: All of its requests were copied from another session, and are counted there.
    """

    finding: Finding
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
        findings: By session (breadth first), exchange, category.
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


NOTHING = WasteReport([], [], WasteTotal(None, 0, 0, None), 0, None)


@dataclass(frozen=True, slots=True)
class _Loop:
    """Equal calls of one exchange."""

    session_id: str
    exchange_id: str
    exchange: int
    name: str
    label: str
    trace_ids: list[str]
    message_ids: list[str]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call in an exchange in which an edit may have been made again.

    Attributes:
        arguments: Of edits only.
    """

    session_id: str
    exchange_id: str
    exchange: int
    trace_id: str
    message_id: str
    name: str
    is_failed: bool
    arguments: str | None


@dataclass(frozen=True, slots=True)
class _Ended:
    """An exchange that failed or was aborted."""

    session_id: str
    exchange_id: str
    exchange: int
    status: str
    error_name: str
    label: str
    error_ids: list[str]
    message_ids: list[str]


@dataclass(frozen=True, slots=True)
class _Charge:
    """What one request cost."""

    message_id: str
    tokens: int
    cost_usd: Decimal | None
    is_fork_copy: bool


def waste(con: duckdb.DuckDBPyConnection, session_id: str) -> WasteReport:
    """Look for waste in a session and in all sessions below it.

    Args:
        con: The index, open for reading.
        session_id: Any session.

    Returns:
        The findings; none if there is no such session.
    """
    session_ids = [node.session_id for node in tree_below(con, session_id)]
    return charged(con, session_ids, findings(con, session_ids))


def charged(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str], found: Sequence[Finding]) -> WasteReport:
    """Add what findings cost.

    Args:
        con: The index, open for reading.
        session_ids: Where they were found.
        found: As `findings` returns them.
    """
    concerned = {message_id for each in found for message_id in each.message_ids}
    values = {"sessions": list(session_ids), "messages": sorted(concerned)}
    charges = {each.message_id: each for each in fetch_rows(con, _CHARGES, values, _Charge)}
    totals = [
        _total(category, chosen, charges)
        for category in CATEGORIES
        if (chosen := [each for each in found if each.category == category])
    ]
    together = _total(None, found, charges)
    costs = [total.cost_usd for total in totals if total.cost_usd is not None]
    return WasteReport(
        findings=[_charged(each, charges) for each in found],
        totals=totals,
        together=together,
        overlap_tokens=sum(total.tokens for total in totals) - together.tokens,
        overlap_cost_usd=None if together.cost_usd is None else sum(costs, Decimal(0)) - together.cost_usd,
    )


def findings(
    con: duckdb.DuckDBPyConnection, session_ids: Sequence[str], exchange_ids: Sequence[str] | None = None
) -> list[Finding]:
    """Look for waste, without its cost.

    Args:
        con: The index, open for reading.
        session_ids: Where to look; gives the order.
        exchange_ids: Only in these exchanges of those sessions. None: in all.

    Returns:
        By session, exchange and category.
    """
    values = {"sessions": list(session_ids), "exchanges": None if exchange_ids is None else list(exchange_ids)}
    found = [
        *(_loop(each) for each in fetch_rows(con, _LOOPS, values, _Loop)),
        *_edit_retries(fetch_rows(con, _CALLS, values, _Call)),
        *(_ended(each) for each in fetch_rows(con, _ENDED, values, _Ended)),
    ]
    places = {session_id: place for place, session_id in enumerate(session_ids)}
    return sorted(found, key=lambda each: (places[each.session_id], each.exchange, CATEGORIES.index(each.category)))


def _loop(each: _Loop) -> Finding:
    """Make the finding of equal calls: charged is what was called again."""
    return Finding(
        category=LOOP,
        session_id=each.session_id,
        exchange_id=each.exchange_id,
        exchange=each.exchange,
        name=each.name,
        label=each.label,
        count=len(each.trace_ids),
        trace_ids=tuple(each.trace_ids),
        message_ids=tuple(dict.fromkeys(each.message_ids[1:])),
    )


def _ended(each: _Ended) -> Finding:
    """Make the finding of an exchange that failed or was aborted."""
    return Finding(
        category=each.status,
        session_id=each.session_id,
        exchange_id=each.exchange_id,
        exchange=each.exchange,
        name=each.error_name,
        label=each.label,
        count=1,
        trace_ids=tuple(each.error_ids),
        message_ids=tuple(each.message_ids),
    )


def _edit_retries(calls: Iterable[_Call]) -> list[Finding]:
    """Find the files that were edited again after a failure.

    Args:
        calls: Edits and failed commands, in order, exchange by exchange.
    """
    found = []
    for _, group in groupby(calls, key=lambda call: (call.session_id, call.exchange_id)):
        in_exchange = list(group)
        touched = [(place, call, path) for place, call in enumerate(in_exchange) for path in _edited(call)]
        for path in dict.fromkeys(path for _, _, path in touched):
            places = [place for place, _, each in touched if each == path]
            if finding := _edit_retry(path, in_exchange, places):
                found.append(finding)
    return found


def _edited(call: _Call) -> tuple[str, ...]:
    """Name the files that a call edits; none if it is a command."""
    return edits.paths(call.name, call.arguments) if call.name in edits.EDIT_TOOLS else ()


def _edit_retry(path: str, calls: Sequence[_Call], places: Sequence[int]) -> Finding | None:
    """Look for an edit of a file that followed a failure.

    Args:
        path: The file.
        calls: Of one exchange, in order.
        places: Which of them edit the file.

    Returns:
        One finding for all such edits of the file, or None. A request that edits the file twice at once did not know
        of the failure: its second edit is none.
    """
    edited: list[_Call] = []
    failures: list[_Call] = []
    for before, after in zip(places, places[1:], strict=False):
        between = [call for call in calls[before + 1 : after] if call.is_failed and call.name in COMMANDS]
        failed = [*([calls[before]] if calls[before].is_failed else []), *between]
        if any(call.message_id != calls[after].message_id for call in failed):
            edited += [calls[before], calls[after]]
            failures += failed
    if not edited:
        return None
    edited = list(dict.fromkeys(edited))
    concerned = {call.trace_id for call in (*edited, *failures)}
    charged = {call.message_id for call in (*edited[1:], *failures)}
    return Finding(
        category=EDIT_FAIL_EDIT,
        session_id=edited[0].session_id,
        exchange_id=edited[0].exchange_id,
        exchange=edited[0].exchange,
        name=path,
        label=path if len(path) <= 120 else f"…{path[-119:]}",
        count=len(edited),
        trace_ids=tuple(call.trace_id for call in calls if call.trace_id in concerned),
        message_ids=tuple(dict.fromkeys(call.message_id for call in calls if call.message_id in charged)),
    )


def _charged(finding: Finding, charges: Mapping[str, _Charge]) -> Waste:
    """Add what a finding cost."""
    own = [charges[message_id] for message_id in finding.message_ids]
    tokens, cost_usd = _sum(own)
    return Waste(finding, tokens, cost_usd, is_fork_copy=bool(own) and all(each.is_fork_copy for each in own))


def _total(category: str | None, found: Sequence[Finding], charges: Mapping[str, _Charge]) -> WasteTotal:
    """Add findings up, each request once."""
    message_ids = {message_id for each in found for message_id in each.message_ids}
    tokens, cost_usd = _sum([charges[message_id] for message_id in message_ids])
    return WasteTotal(category, len(found), tokens, cost_usd)


def _sum(charges: Sequence[_Charge]) -> tuple[int, Decimal | None]:
    """Add tokens and recorded costs; None if no cost is recorded."""
    costs = [each.cost_usd for each in charges if each.cost_usd is not None]
    return sum(each.tokens for each in charges), sum(costs, Decimal(0)) if costs else None


_IN = IN_SESSIONS
_IN_EXCHANGES = f"""
    {_IN} AND ($exchanges::VARCHAR[] IS NULL OR list_contains($exchanges::VARCHAR[], exchange_id))
"""

# Arguments that the index cut are not compared: what is left out may differ. A pending call has none yet.
_LOOPS = f"""
    WITH traced AS MATERIALIZED (
        SELECT trace_id, exchange_id, session_id, message_id, position, name, title
        FROM exchange_traces WHERE kind IN ('tool', 'delegation') AND {_IN_EXCHANGES}
    ),
    calls AS (
        SELECT part_id AS trace_id FROM parts
        WHERE {_IN} AND part_type = 'tool' AND tool_status IS DISTINCT FROM 'pending'
    ),
    given AS (
        SELECT part_id AS trace_id, hash(input) AS arguments, input_bytes, left(input, 2000) AS input_start
        FROM part_bodies WHERE {_IN} AND input_bytes = strlen(input)
    ),
    grouped AS (
        SELECT session_id, exchange_id, name,
               list(trace_id ORDER BY position) AS trace_ids, list(message_id ORDER BY position) AS message_ids,
               first({call_words("name", "title", "input_start")} ORDER BY position) AS words
        FROM traced JOIN calls USING (trace_id) JOIN given USING (trace_id)
        GROUP BY session_id, exchange_id, name, arguments, input_bytes
        HAVING count(*) >= {LOOP_CALLS}
    )
    SELECT grouped.* EXCLUDE (words), number AS exchange, coalesce({one_line("words")}, '') AS label
    FROM grouped JOIN (SELECT exchange_id, number FROM exchanges WHERE {_IN}) USING (exchange_id)
    ORDER BY session_id, number, trace_ids[1]
"""

_EDIT_TOOLS = ", ".join(f"'{tool}'" for tool in edits.EDIT_TOOLS)
_COMMANDS = ", ".join(f"'{tool}'" for tool in COMMANDS)

# Edits and failed commands of the exchanges that have two edits and a failure at all.
_CALLS = f"""
    WITH traced AS MATERIALIZED (
        SELECT trace_id, exchange_id, session_id, message_id, position, name, is_failed
        FROM exchange_traces
        WHERE kind = 'tool' AND (name IN ({_EDIT_TOOLS}) OR (is_failed AND name IN ({_COMMANDS}))) AND {_IN_EXCHANGES}
    ),
    likely AS (
        SELECT exchange_id FROM traced GROUP BY exchange_id
        HAVING bool_or(is_failed) AND count(*) FILTER (name IN ({_EDIT_TOOLS})) > 1
    )
    SELECT traced.* EXCLUDE (position), number AS exchange, if(name IN ({_EDIT_TOOLS}), input, NULL) AS arguments
    FROM traced SEMI JOIN likely USING (exchange_id)
         JOIN (SELECT exchange_id, number FROM exchanges WHERE {_IN}) USING (exchange_id)
         LEFT JOIN (SELECT part_id AS trace_id, input FROM part_bodies WHERE {_IN}) USING (trace_id)
    ORDER BY session_id, number, position
"""

# A message may have no trace at all: then it belongs where its user message does.
_ENDED = f"""
    WITH ended AS (
        SELECT exchange_id, session_id, number, status, error_name
        FROM exchanges WHERE status IN ('failed', 'aborted') AND {_IN_EXCHANGES}
    ),
    traced AS (
        SELECT exchange_id, message_id, min(position) AS position,
               list(trace_id) FILTER (kind = 'error') AS error_ids
        FROM exchange_traces WHERE {_IN_EXCHANGES} GROUP BY exchange_id, message_id
    ),
    sent AS (
        SELECT message_id, coalesce(traced.exchange_id, user_message_id) AS exchange_id, position, error_ids,
               coalesce(error_data->>'$.data.message', error_data->>'$.message') AS report
        FROM messages LEFT JOIN traced USING (message_id) WHERE {_IN} AND has_usage
    ),
    grouped AS (
        SELECT session_id, exchange_id, number AS exchange, status, coalesce(error_name, 'unknown') AS error_name,
               arg_max(report, position) AS words,
               coalesce(flatten(list(error_ids ORDER BY position) FILTER (error_ids IS NOT NULL)), []) AS error_ids,
               list(message_id ORDER BY position, message_id) AS message_ids
        FROM ended JOIN sent USING (exchange_id)
        GROUP BY session_id, exchange_id, number, status, ended.error_name
    )
    SELECT * EXCLUDE (words), coalesce({one_line("words")}, '') AS label
    FROM grouped
    ORDER BY session_id, exchange
"""

_CHARGES = f"""
    SELECT message_id, if(is_fork_copy, 0, total_tokens) AS tokens,
           if(is_fork_copy, NULL, cost_recorded_usd) AS cost_usd, is_fork_copy
    FROM messages
    WHERE {_IN} AND list_contains($messages::VARCHAR[], message_id)
"""

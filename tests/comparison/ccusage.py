"""What `ccusage opencode` counts: its report, and its rule applied to each stored message.

Its report has no messages. So its rule is applied to the stored documents here, and the report of each session must say
the same (`differences.unproven`): a difference explained by the rule is then one of the tool, not of our idea of it.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.comparison.usage import Counted, Printed, Usage, add, usage_of

NO_TOKENS = "messages without tokens of their own are left out"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A stored message that it counts."""

    message_id: str
    session_id: str
    usage: Usage
    recorded_usd: Decimal


def read_printed(output: str) -> Printed:
    """Read a report printed with `--json`; reasoning is what its total has beside its four counters."""
    report = json.loads(output, parse_float=Decimal)
    totals = report["totals"]
    names = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheCreationTokens")
    four = [int(totals[name]) for name in names]
    cost_by_model: dict[str, Decimal] = {}
    rows = next(value for key, value in report.items() if key != "totals")
    for model in (each for row in rows for each in row["modelBreakdowns"]):
        name = model["modelName"]
        cost_by_model[name] = cost_by_model.get(name, Decimal(0)) + Decimal(model["cost"])
    tokens = int(totals["totalTokens"])
    cost = Decimal(totals["totalCost"])
    return Printed(usage_of([*four, tokens - sum(four)]), tokens, cost, len(rows), None, cost_by_model)


def read_sessions(output: str) -> dict[str, Usage]:
    """Read the usage of each session from what `ccusage opencode session --json` printed, by id."""
    rows = json.loads(output)["sessions"]
    return {row["sessionId"]: read_printed(json.dumps({"rows": [row], "totals": row})).usage for row in rows}


def count(data_dir: Path, output: str) -> Counted:
    """Tell what it counted for each message.

    Args:
        data_dir: The storage that it read.
        output: What its report by session printed.
    """
    entries = list(_entries(data_dir))
    counted = {entry.message_id for entry in entries}
    return Counted(
        read_printed(output),
        {entry.message_id: entry.usage for entry in entries},
        frozenset(read_sessions(output)),
        {message_id: NO_TOKENS for message_id, _, _ in _documents(data_dir) if message_id not in counted},
        recorded_usd={entry.message_id: entry.recorded_usd for entry in entries if entry.recorded_usd > 0},
    )


def by_rule(data_dir: Path) -> dict[str, Usage]:
    """Apply its rule to a storage: the usage that its report of each session must show, by id."""
    usages: dict[str, list[Usage]] = {}
    for entry in _entries(data_dir):
        usages.setdefault(entry.session_id, []).append(entry.usage)
    return {session_id: add(each) for session_id, each in usages.items()}


def _entries(data_dir: Path) -> Iterator[_Entry]:
    """Yield what it counts: database before tree, each id once, nothing without tokens or without a model."""
    seen: set[str] = set()
    for message_id, session_id, document in _documents(data_dir):
        if message_id in seen:
            continue
        entry = _entry(message_id, session_id, document)
        if entry is not None:
            seen.add(message_id)
            yield entry


def _documents(data_dir: Path) -> Iterator[tuple[str, str, Any]]:
    """Yield id, session and document of each stored message, in the order of its search."""
    databases = [data_dir / "opencode.db", *sorted(data_dir.glob("opencode-*.db"))]
    for database in [path for path in databases if path.is_file()][:1]:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as con:
            tables = {name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "message" in tables:
                for message_id, session_id, data in con.execute("SELECT id, session_id, data FROM message"):
                    yield message_id, session_id, _parsed(data)
            if "session_message" in tables:
                rows = con.execute("SELECT id, session_id, data FROM session_message WHERE type = 'assistant'")
                for message_id, session_id, data in rows:
                    document = _parsed(data)
                    model = document.get("model") or {}
                    ids = {"modelID": model.get("id") or model.get("modelID"), "providerID": model.get("providerID")}
                    yield message_id, session_id, {**ids, **document}
    for path in sorted((data_dir / "storage" / "message").glob("*/*.json")):
        document = _parsed(path.read_bytes())
        yield document.get("id") or path.stem, document.get("sessionID") or "unknown", document


def _parsed(data: str | bytes) -> dict[str, Any]:
    """Parse a document; what is no JSON object has no usage."""
    try:
        document = json.loads(data, parse_float=Decimal)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _entry(message_id: str, session_id: str, document: dict[str, Any]) -> _Entry | None:
    """Count a message as it does: its own counters, not those of its steps; reasoning always beside output."""
    tokens = document.get("tokens")
    if not isinstance(tokens, dict) or not document.get("modelID") or not document.get("providerID"):
        return None
    cache = tokens["cache"] if isinstance(tokens.get("cache"), dict) else {}
    recorded = (
        tokens.get("input"),
        tokens.get("output"),
        cache.get("read"),
        cache.get("write"),
        tokens.get("reasoning"),
    )
    usage = usage_of(_natural(each) for each in recorded)
    missing = max(0, _natural(tokens.get("total")) - usage.total)
    usage = replace(usage, **({"reasoning": usage.reasoning + missing} if usage.output else {"output": missing}))
    cost = document.get("cost")
    usd = Decimal(cost) if isinstance(cost, int | Decimal) and not isinstance(cost, bool) else Decimal(0)
    return _Entry(message_id, session_id, usage, usd) if usage.total else None


def _natural(value: object) -> int:
    """Read a count as it does: what is no natural number is zero."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

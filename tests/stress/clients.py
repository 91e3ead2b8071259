"""A real OpenCode client in front of the running indexer; at the end, the index against a fresh one and its own export.

It needs a client's binary and the tools that drive one in front of a scripted model (`labkit.py` and its scenarios), so
it is no part of `make stress`.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from indexer.published import IndexReader
from tests.agreement import differences, fresh_index
from tests.stress.running import Child, Watcher

_CATCH_UP_S = 60.0  # numbers of a storage are recorded every 10 s
_COUNTERS = ("input", "output", "reasoning", "cache_read", "cache_write")

Spend = tuple[int | Decimal | None, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client and the index agree on.

    Attributes:
        steps: What the client did.
        exported: Sessions whose export equals the index; so messages and parts in them.
        deleted: Sessions that it deleted.
        opened: How often what is published was opened meanwhile.
        problems: What does not agree.
    """

    steps: list[str]
    exported: int
    messages: int
    parts: int
    deleted: int
    opened: int
    problems: list[str]


def run(folder: Path, binary: Path, tools: Path, version: str, ports: tuple[int, int]) -> Outcome:
    """Let a client work while the indexer follows it, then compare.

    Args:
        folder: For the client's home and the index; an empty one.
        binary: The client.
        tools: The folder of `labkit.py`.
        version: `old` (1.1) or `new` (1.18).
        ports: Of the scripted model and of the client.

    Returns:
        What was found.
    """
    home = folder / "home"
    os.environ |= {"LAB_HOME": str(home), "LAB_LLM_PORT": str(ports[0]), "LAB_API_PORT": str(ports[1])}
    sys.path.insert(0, str(tools))
    labkit, common = importlib.import_module("labkit"), importlib.import_module("scenarios_common")
    data, index = home / ".local/share/opencode", folder / "index.duckdb"
    lab = labkit.Lab(version, "stress", str(binary), folder / "log")
    try:
        lab.setup_home()
        lab.at(None)
        common.qa(lab, "notes", [("Hello", labkit.say("Hello."))], "First of all")
        indexer = Child(index, [data], folder / "indexer.log")
        try:
            indexer.wait_for_following()
            with Watcher(index) as watcher:
                before: dict[str, Spend] = {}
                steps = _work(lab, labkit, common, index, before)
                problems = _wait_until_equal(index, folder / "fresh.duckdb", data)
            problems += _changed_by_deletion(index, before)
            problems += watcher.failures + [str(failure) for failure in lab.failures]
            exported = _compare_exports(lab, labkit, binary, index, problems)
        finally:
            indexer.end()
    finally:
        lab.close()
    deleted = sum(bool(each.get("deleted")) for each in lab.sessions.values())
    return Outcome(steps, *exported, deleted, watcher.opened, problems)


def _work(lab: Any, labkit: Any, common: Any, index: Path, before: dict[str, Spend]) -> list[str]:
    """Do everything that a person does; return what was done.

    Args:
        lab: The client.
        labkit: Its module.
        common: Its ready scenarios.
        index: What is published.
        before: Takes what messages had cost before they were deleted.
    """
    say, use, call = labkit.say, labkit.use, labkit.call
    steps = {
        "a streamed answer": lambda: common.qa(
            lab, "shop-api", [("Tell a story", say("Once upon a time. " * 12, think="Hm. " * 8, delay=0.05))], "Story"
        ),
        "tools": lambda: common.filler(lab, "web-ui", "tools", 3, max_steps=4),
        "failing tools": lambda: common.tool_errors(lab, "shop-api", "S"),
        "subagents": lambda: common.subagents(lab, "shop-api", "S"),
        "provider errors": lambda: common.retries(lab, "web-ui", "S"),
        "aborts": lambda: common.aborts(lab, "shop-api", "S"),
        "undo: pending, taken back, final by the next prompt": lambda: common.reverts(lab, "shop-api", "S"),
        "forks, then their original deleted": lambda: _delete(lab, common.forks(lab, "web-ui", "S")[0], index, before),
        "a long session deleted": lambda: _delete(
            lab, common.filler(lab, "shop-api", "long", 3, max_steps=5), index, before
        ),
        "archive, rename, delete with a child": lambda: common.lifecycle(lab, "shop-api", "S"),
        "compaction by hand and by itself": lambda: common.compactions(lab, "shop-api", "S"),
        "parts edited and deleted": lambda: common.custom_prompt(lab, "shop-api", "S"),
        "undo in the middle of a conversation": lambda: _late_undo(lab, common, use, call, say),
        "queued prompts": lambda: common.queued(lab, "shop-api", "S"),
        "a restart of the client": lambda: lab.at(None),
        "a killed client": lambda: (common.crash(lab, "shop-api", "S"), lab.at(None)),
        "a last answer": lambda: common.qa(lab, "notes", [("Good bye", say("Good bye."))], "Last of all"),
    }
    if lab.new:
        steps["the second API"] = lambda: lab.v2_session(
            "infra", "Say hello", [use(call("bash", command="echo v2", description="Echo")), say("Hello.")]
        )
    for name, step in steps.items():
        print(f"  {name}", flush=True)
        lab.scenario = name
        step()
    return list(steps)


def _delete(lab: Any, session: Any, index: Path, before: dict[str, Spend]) -> None:
    """Delete a session and its children, once the index has them: what they cost stays."""
    lab.adopt_children(session)
    doomed = {session.id, *(key for key, each in lab.sessions.items() if each["parent"] == session.id)}
    _let_pass(3.0)
    before |= _spent(index, "session_id IN (SELECT unnest($ids::VARCHAR[]))", sorted(doomed))
    session.call("DELETE", "")
    for session_id in doomed:
        lab.sessions[session_id]["deleted"] = True


def _late_undo(lab: Any, common: Any, use: Any, call: Any, say: Any) -> None:
    """Undo the second of three prompts, and go on."""
    turns = [(f"Turn {number} of three", say(f"Answer {number}.")) for number in range(3)]
    session = common.qa(lab, "infra", turns, "Late undo")
    asked = [each["info"]["id"] for each in session.messages() if each["info"]["role"] == "user"]
    session.call("POST", "/revert", {"messageID": asked[1]})
    _let_pass(0.5)
    session.ask("Turn two, anew", [use(call("bash", command="echo anew", description="Echo")), say("Better.")])


def _let_pass(seconds: float) -> None:
    """Let the indexer see what is there now: what comes next must not arrive together with it."""
    time.sleep(seconds)


def _wait_until_equal(index: Path, fresh: Path, data: Path) -> list[str]:
    """Wait until the index equals a fresh one; return what does not agree at the end."""
    deadline = time.monotonic() + _CATCH_UP_S
    fresh_index(fresh, [data])
    while True:
        found = differences(index, fresh)
        if not found:
            return []
        if time.monotonic() > deadline:
            return [
                f"{table}: only in the kept index {mine[:2]}, only in a fresh one {others[:2]}"
                for table, (mine, others) in found.items()
            ]
        time.sleep(1.0)


def _changed_by_deletion(index: Path, before: Mapping[str, Spend]) -> list[str]:
    """List the messages that do not have the numbers any more that they had before they were deleted."""
    after = _spent(index, "deleted_at IS NOT NULL AND message_id IN (SELECT unnest($ids::VARCHAR[]))", sorted(before))
    return [
        f"{key}, deleted: {value}, now {after.get(key)}" for key, value in before.items() if after.get(key) != value
    ]


def _spent(index: Path, where: str, ids: Sequence[str]) -> dict[str, Spend]:
    """Read tokens and cost of some messages."""
    reader = IndexReader(index)
    con = reader.connection()
    rows = con.execute(
        f"""
        SELECT message_id, input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_write_tokens,
               cost_recorded_usd
        FROM messages WHERE {where}
        """,
        {"ids": ids},
    ).fetchall()
    con.close()
    reader.close()
    return {row[0]: row[1:] for row in rows}


# --- what the client itself says


def _compare_exports(lab: Any, labkit: Any, binary: Path, index: Path, problems: list[str]) -> tuple[int, int, int]:
    """Compare the export of every living session with the index; count sessions, messages and parts."""
    reader = IndexReader(index)
    con = reader.connection()
    living = {key for (key,) in con.execute("SELECT session_id FROM sessions WHERE deleted_at IS NULL").fetchall()}
    expected = {key: each["project"] for key, each in lab.sessions.items() if not each.get("deleted")}
    for session_id in expected.keys() ^ living:
        problems.append(f"{session_id}: {'only the index' if session_id in living else 'only the client'} has it")
    sessions = messages = parts = 0
    for session_id in sorted(expected.keys() & living):
        if lab.sessions[session_id]["created_via"] == "v2_api":
            continue  # the export does not know what the second API writes
        spent, part_ids = _exported(_export(lab, binary, labkit.project_dir(expected[session_id]), session_id))
        where = "deleted_at IS NULL AND session_id IN (SELECT unnest($ids::VARCHAR[]))"
        indexed = _spent(index, where, [session_id])
        held = con.execute(
            "SELECT part_id FROM parts WHERE session_id = $session_id AND deleted_at IS NULL AND NOT is_orphan",
            {"session_id": session_id},
        ).fetchall()
        if indexed != spent:
            problems.append(f"{session_id}: {sorted(indexed.items() ^ spent.items())[:4]}")
        if {part_id for (part_id,) in held} != part_ids:
            problems.append(f"{session_id}: parts {sorted({part_id for (part_id,) in held} ^ part_ids)[:4]}")
        sessions, messages, parts = sessions + 1, messages + len(spent), parts + len(part_ids)
    con.close()
    reader.close()
    return sessions, messages, parts


def _export(lab: Any, binary: Path, project: Path, session_id: str) -> Mapping[str, Any]:
    """Let the client export a session. Into a file: a pipe may lose the end of a long one."""
    target = lab.work / "export.json"
    with target.open("wb") as output:
        command = [str(binary), "export", session_id]
        subprocess.run(
            command, cwd=project, env=lab.env(), stdout=output, stderr=subprocess.DEVNULL, check=True, timeout=120
        )
    text = target.read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text[text.index("{") :], parse_float=Decimal)
    return found


def _exported(export: Mapping[str, Any]) -> tuple[dict[str, Spend], set[str]]:
    """Return tokens and cost of every message of an export, and the ids of all parts."""
    spent: dict[str, Spend] = {}
    part_ids: set[str] = set()
    for each in export["messages"]:
        info, parts = each["info"], each["parts"]
        part_ids |= {part["id"] for part in parts}
        steps = [part["tokens"] for part in parts if part["type"] == "step-finish"]
        counted = _sum(steps or ([info["tokens"]] if "tokens" in info else []))
        cost = Decimal(info["cost"]).quantize(Decimal("1e-12")) if "cost" in info else None
        spent[info["id"]] = (*counted, cost)
    return spent, part_ids


def _sum(usages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Add up token objects, counter by counter."""
    flat = [{**usage, **{f"cache_{name}": value for name, value in usage["cache"].items()}} for usage in usages]
    return [sum(int(usage[counter]) for usage in flat) for counter in _COUNTERS]


def report(outcome: Outcome) -> str:
    """Say what was found, in a few lines."""
    verdict = "\n".join(f"  {problem}" for problem in outcome.problems) or "  the index agrees with both"
    return (
        f"{len(outcome.steps)} steps of a real client, {outcome.deleted} sessions deleted; {outcome.exported} exported "
        f"sessions with {outcome.messages} messages and {outcome.parts} parts; what is published was opened "
        f"{outcome.opened} times meanwhile\n{verdict}"
    )

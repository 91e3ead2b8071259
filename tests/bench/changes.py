"""What one changed message costs, and how soon a reader has what arrives ten times a second."""

import json
import multiprocessing
import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from indexer.published import IndexReader
from tests.bench.figures import Figure, Target
from tests.bench.loading import PEAK
from tests.bench.processes import Following, peak_mb
from tests.bench.storages import JSON, Bed
from tests.builders import Doc
from tests.stress import idle, readers
from tests.stress.storage import Rows, Store, Tree

CHANGES = 20
CHANGE_MS = 50.0
LATENCY = Target(1.0, sizes=("M", "L"))
RATE = 10.0
_PAUSE_S = 0.5
_PATIENCE_S = 180.0  # where events get lost, a comparison finds it
_LOOK_S = 0.005
LIVE_S = {"S": 10.0, "M": 60.0, "L": 60.0}

_ANSWERS = """
    SELECT message_id, session_id FROM messages
    WHERE role = 'assistant' AND deleted_at IS NULL AND {condition} ORDER BY hash(message_id) LIMIT {limit}
"""


@dataclass(frozen=True, slots=True)
class _Changes:
    """What some changes cost.

    Attributes:
        cpu_ms: Of the indexer's process, all its threads, a change.
        seconds: From the write until a reader has it, of each.
    """

    cpu_ms: float
    seconds: list[float]


def change(bed: Bed) -> Iterator[Figure]:
    """Measure single changed messages: of any sessions, of the longest one, and one of these over and over."""
    store: Store = Tree(bed.data, random.Random(1)) if bed.storage == JSON else Rows(bed.data)
    with Following(bed) as indexer:
        idle.settle(indexer.pid)  # what a start puts off until it is quiet is no cost of a change
        cpu_s, started = idle.cpu_s(indexer.pid), time.monotonic()
        time.sleep(CHANGES * _PAUSE_S / 2)
        share = (idle.cpu_s(indexer.pid) - cpu_s) / (time.monotonic() - started)
        of_longest = _choose(bed, f"session_id = '{bed.longest()}'")
        for where, rows in (
            ("of any session", _choose(bed, "true")),
            ("of the longest session", of_longest),
            ("of the longest session, again", of_longest[-1:] * CHANGES),
        ):
            found = _measure(bed, indexer.pid, store, [document(bed, *row) for row in rows])
            count = len(found.seconds)
            for name, value, unit, target in (
                ("work", found.cpu_ms, "ms", Target(CHANGE_MS)),
                ("until visible, median", median(found.seconds), "s", None),
                ("until visible, most", max(found.seconds), "s", LATENCY),
            ):
                yield Figure("change", f"message {where}: {name}", *bed.names, value, unit, count, target=target)
    yield Figure("change", "work while nothing changes, before", *bed.names, 1_000 * share, "ms/s")
    store.close()


def document(bed: Bed, message_id: str, session_id: str) -> Doc:
    """Read a message as OpenCode stored it."""
    if bed.storage == JSON:
        text = (bed.data / "storage" / "message" / session_id / f"{message_id}.json").read_text(encoding="utf-8")
        return Doc("message", message_id, session_id, message_id, json.loads(text))
    con = sqlite3.connect(f"file:{bed.data / 'opencode.db'}?mode=ro", uri=True)
    try:
        ((text,),) = con.execute("SELECT data FROM message WHERE id = ?", (message_id,)).fetchall()
    finally:
        con.close()
    return Doc("message", message_id, session_id, message_id, json.loads(text))


def live(bed: Bed) -> Iterator[Figure]:
    """Measure how soon one reader has what is written, ten documents a second."""
    context = multiprocessing.get_context("spawn")
    stopping, results = context.Event(), context.Queue()
    with Following(bed) as indexer:
        watching = [
            context.Process(target=body, args=(bed.index, stopping, results), daemon=True)
            for body in (readers.watch, readers.read)
        ]
        for process in watching:
            process.start()
        stores = readers.open_stores([bed.data])
        cpu_s, started = idle.cpu_s(indexer.pid), time.monotonic()
        readers.write(stores, readers.Prober(stores), LIVE_S[bed.size], RATE - 1 / readers.PROBE_S)
        share = (idle.cpu_s(indexer.pid) - cpu_s) / (time.monotonic() - started)
        time.sleep(2.0)  # what was written last is seen, too
        stopping.set()
        for store in stores:
            store.close()
        seen = [results.get(timeout=60) for _ in watching]
        for process in watching:
            process.join()
        peak = peak_mb(indexer.pid)
    problems = [problem for each in seen for problem in each.problems]
    if problems:
        raise RuntimeError(f"a reader failed: {problems[0]}")
    delays = [delay for each in seen for delay in each.delays_s]
    for name, value, target in (("p50", median(delays), None), ("p95", readers.p95(delays), LATENCY)):
        yield Figure("live", f"write to visible, {name}", *bed.names, value, "s", len(delays), target=target)
    yield Figure("live", "indexer, share of a core", *bed.names, 100 * share, "%")
    yield Figure("live", "indexer, most memory (VmHWM)", *bed.names, peak, "MB", target=PEAK)


def _choose(bed: Bed, condition: str) -> list[tuple[str, str]]:
    """Choose answers, spread over all that meet a condition: id and session of each."""
    rows = bed.ask(_ANSWERS.format(condition=condition, limit=CHANGES))
    return [(str(message_id), str(session_id)) for message_id, session_id in rows]


def _measure(bed: Bed, pid: int, store: Store, docs: list[Doc]) -> _Changes:
    """Change one message after the other, with pauses."""
    reader, seconds = IndexReader(bed.index), []
    before = idle.cpu_s(pid)
    try:
        for number, doc in enumerate(docs, 1):
            cost = Decimal(number) / 1_000 + Decimal(str(doc.body.get("cost") or 0))
            doc.body["cost"] = float(round(cost, 6))
            started = time.monotonic()
            store.put([doc])
            _wait_for(reader, doc.id, doc.body["cost"])
            seconds.append(time.monotonic() - started)
            time.sleep(_PAUSE_S)
        return _Changes(1_000 * (idle.cpu_s(pid) - before) / len(docs), seconds)
    finally:
        reader.close()


def _wait_for(reader: IndexReader, message_id: str, cost: float) -> None:
    """Wait until a reader has the cost of a message."""
    deadline, looked_at = time.monotonic() + _PATIENCE_S, -1
    while time.monotonic() < deadline:
        if (revision := reader.revision()) != looked_at:
            looked_at = revision
            reader.refresh()
            con = reader.connection()
            row = con.execute(
                "SELECT cost_recorded_usd::DOUBLE = $cost FROM messages WHERE message_id = $id",
                {"cost": cost, "id": message_id},
            ).fetchone()
            con.close()
            if row == (True,):
                return
        time.sleep(_LOOK_S)
    raise TimeoutError(f"the change of {message_id} is never seen")

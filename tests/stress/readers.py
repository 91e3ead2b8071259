"""Readers that query without pause while documents arrive: no error, no torn read, and how soon a row is seen."""

import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path

import duckdb

from indexer.exceptions import IndexUnavailable
from indexer.published import IndexReader
from tests.agreement import differences, fresh_index
from tests.builders import project, session, user
from tests.stress.running import Child
from tests.stress.storage import Author, Rows, Store, Tree

READERS = 4
_CALM_PROBES = 60
_PROBE = "msg_probe"
_PLAIN_OPEN_S = 1.0
PROBE_S = 0.4
_LOOK_S = 0.005

# One transaction writes all of these, so a difference is half of one.
_BALANCE = """
    WITH spent AS (SELECT sum(total_tokens) AS tokens, sum(cost_recorded_usd) AS cost FROM spend),
         kept AS (SELECT sum(total_tokens) AS tokens, sum(cost_recorded_usd) AS cost, sum(exchange_count) AS exchanges
                  FROM session_stats),
         asked AS (SELECT sum(total_tokens) AS tokens, sum(cost_recorded_usd) AS cost, count(*) AS exchanges
                   FROM exchanges)
    SELECT spent.tokens IS NOT DISTINCT FROM kept.tokens AND kept.tokens IS NOT DISTINCT FROM asked.tokens
       AND spent.cost IS NOT DISTINCT FROM kept.cost AND kept.cost IS NOT DISTINCT FROM asked.cost
       AND kept.exchanges IS NOT DISTINCT FROM asked.exchanges
    FROM spent, kept, asked
"""


@dataclass(slots=True)
class Seen:
    """What one reader saw.

    Attributes:
        began_ns: When it began: rows of before tell nothing.
        reads: Queries that balanced.
        plain_opens: How often the file was opened as any DuckDB client opens it.
        revisions: Different revisions.
        problems: Errors and torn reads.
        delays_s: From the write of a row until this reader had it.
    """

    began_ns: int = field(default_factory=time.time_ns)
    reads: int = 0
    plain_opens: int = 0
    revisions: int = 0
    problems: list[str] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the readers saw.

    Attributes:
        parts: In the index at the end.
        calm_s: Delays while only one document arrived at a time.
        busy: One entry per reader while many arrived, and one of who only looked for new rows.
        seconds: How long.
        written: Documents written in that time.
        problems: All that is wrong.
    """

    parts: int
    calm_s: list[float]
    busy: list[Seen]
    seconds: float
    written: int
    problems: list[str]


def run(folder: Path, data_dirs: Sequence[Path], seconds: float, rate: float) -> Outcome:
    """Follow storage while it is written to, and read all the time.

    Args:
        folder: For the index; an empty one.
        data_dirs: Data folders that may be written to; of each, the tree and the database that it has.
        seconds: How long to write.
        rate: Documents a second.

    Returns:
        What was seen.
    """
    index = folder / "index.duckdb"
    indexer = Child(index, data_dirs, folder / "indexer.log")
    context = multiprocessing.get_context("spawn")
    try:
        indexer.wait_for_following(patience_s=1_800)
        os.sync()  # what was generated and loaded is on the disk before anything is measured
        stores = open_stores(data_dirs)
        prober = Prober(stores)
        calm = _measure_calm(index, prober)
        results: multiprocessing.Queue[Seen] = context.Queue()
        stopping = context.Event()
        readers = [context.Process(target=read, args=(index, stopping, results), daemon=True) for _ in range(READERS)]
        readers.append(context.Process(target=watch, args=(index, stopping, results), daemon=True))
        for reader in readers:
            reader.start()
        started = time.monotonic()
        written = write(stores, prober, seconds, rate)
        took_s = time.monotonic() - started
        time.sleep(2.0)  # what was written last is seen, too
        stopping.set()
        busy = [results.get(timeout=60) for _ in readers]
        for reader in readers:
            reader.join()
        problems = [problem for seen in busy for problem in seen.problems]
        problems += _lost_probes(index, prober)
        problems += _disagreement(index, folder / "fresh.duckdb", data_dirs)
    finally:
        indexer.end()
    return Outcome(_parts(index), calm, busy, took_s, written, problems)


# --- writing


def open_stores(data_dirs: Sequence[Path]) -> list[Store]:
    """Open every tree and database of some data folders for writing."""
    rng = random.Random(1)
    stores: list[Store] = [Tree(folder, rng) for folder in data_dirs if (folder / "storage" / "session").is_dir()]
    stores += [Rows(folder) for folder in data_dirs if (folder / "opencode.db").is_file()]
    return stores


class Prober:
    """Writes messages whose id says when they were written.

    Attributes:
        written: Their ids.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        """Make a session for them in every store."""
        self.written: list[str] = []
        self._stores = stores
        self._name = f"{time.time_ns():x}"
        for number, store in enumerate(stores):
            store.put([project(), session(f"ses_probe{self._name}{number}")])

    def write(self) -> None:
        """Write one message."""
        number = len(self.written) % len(self._stores)
        now = time.time_ns()
        message_id = f"{_PROBE}_{now}"
        self._stores[number].put([user(message_id, f"ses_probe{self._name}{number}", created=now // 1_000_000)])
        self.written.append(message_id)


def write(
    stores: list[Store], prober: Prober, seconds: float, rate: float, stopping: threading.Event | None = None
) -> int:
    """Write documents at a steady rate, and those of the prober besides.

    Args:
        stores: Where to.
        prober: Writes a message every `PROBE_S`.
        seconds: How long at most.
        rate: Documents a second.
        stopping: Ends it before.

    Returns:
        How many documents, without those of the prober.
    """
    # more sessions than a machine answers at once would only measure how many there are
    author = Author(stores, seed=time.time_ns() % 1_000_000, talks=8, most_talks=12)
    before, started = author.written, time.monotonic()
    next_probe = started
    while (now := time.monotonic()) < started + seconds and not (stopping and stopping.is_set()):
        if now >= next_probe:
            prober.write()
            next_probe = now + PROBE_S
        if author.written - before < rate * (now - started):
            author.act()
        else:
            time.sleep(0.005)
    return author.written - before


# --- reading


def watch(index: Path, stopping: Event, results: "multiprocessing.Queue[Seen]") -> None:
    """Look for the rows of the prober in every revision until told to stop; the body of a process beside the readers.

    It does nothing else, so that it tells how soon a reader can have a row, not how long the readers' queries take;
    between two revisions it leaves the processor to them.

    Args:
        index: What is published.
        stopping: Tells to stop.
        results: Takes what was seen.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # a program of its own, as far as Linux shares the processor out by session
    lookout = _Lookout(index)
    while not stopping.is_set():
        try:
            lookout.look()
        except (duckdb.Error, IndexUnavailable) as error:
            lookout.seen.problems.append(f"{type(error).__name__}: {error}")
        time.sleep(_LOOK_S)
    lookout.close()
    lookout.seen.revisions = len(lookout.revisions)
    results.put(lookout.seen)


def read(index: Path, stopping: Event, results: "multiprocessing.Queue[Seen]") -> None:
    """Read without pause until told to stop; the body of a reader process.

    Args:
        index: What is published.
        stopping: Tells to stop.
        results: Takes what was seen.
    """
    seen, revisions = Seen(), set[int]()
    reader = IndexReader(index)
    plain_at = time.monotonic()
    while not stopping.is_set():
        try:
            snapshot = reader.snapshot()
            revisions.add(snapshot.revision)
            con = snapshot.cursor()
            _check_balance(con, seen, f"revision {snapshot.revision}")
            con.close()
        except (duckdb.Error, IndexUnavailable) as error:
            seen.problems.append(f"{type(error).__name__}: {error}")
        if time.monotonic() >= plain_at:
            plain_at = time.monotonic() + _PLAIN_OPEN_S
            _open_plainly(index, seen)
    reader.close()
    seen.revisions = len(revisions)
    results.put(seen)


class _Lookout:
    """Notes how long rows of the prober took, and leaves the processor to others between two revisions."""

    def __init__(self, index: Path) -> None:
        """Begin to look; rows of before tell nothing."""
        self.seen = Seen()
        self.known: set[str] = set()
        self.revisions: set[int] = set()
        self._reader = IndexReader(index)

    def look(self) -> None:
        """Open the newest revision if it is another one, and note the rows that were not there before."""
        if self._reader.revision() in self.revisions:
            return
        snapshot = self._reader.refresh()
        con = snapshot.cursor()
        now = time.time_ns()
        rows = con.execute("SELECT message_id FROM messages WHERE starts_with(message_id, $probe)", {"probe": _PROBE})
        new = {str(found) for (found,) in rows.fetchall()} - self.known
        times = [int(message_id.rpartition("_")[2]) for message_id in new]
        self.seen.delays_s += [(now - at) / 1e9 for at in times if at >= self.seen.began_ns]
        self.known |= new
        self.revisions.add(snapshot.revision)
        con.close()

    def close(self) -> None:
        """Let go of the index."""
        self._reader.close()


def _check_balance(con: duckdb.DuckDBPyConnection, seen: Seen, where: str) -> None:
    """Check that the sums balance."""
    row = con.execute(_BALANCE).fetchone()
    if row == (True,):
        seen.reads += 1
    else:
        seen.problems.append(f"{where} does not balance")


def _open_plainly(index: Path, seen: Seen) -> None:
    """Open the file as any DuckDB client does."""
    try:
        with duckdb.connect(str(index), read_only=True) as con:
            con.execute("SET enable_progress_bar = false")
            _check_balance(con, seen, "a plain open")
        seen.plain_opens += 1
    except duckdb.Error as error:
        seen.problems.append(f"plain open: {error}")


def _measure_calm(index: Path, prober: Prober) -> list[float]:
    """Measure how soon a row is seen while nothing else arrives."""
    lookout = _Lookout(index)
    for _ in range(_CALM_PROBES):
        prober.write()
        deadline = time.monotonic() + 30
        while prober.written[-1] not in lookout.known and time.monotonic() < deadline:
            lookout.look()
            time.sleep(_LOOK_S)
        time.sleep(random.uniform(0.05, 0.4))
    lookout.close()
    return lookout.seen.delays_s


# --- the end


def _lost_probes(index: Path, prober: Prober) -> list[str]:
    """List the rows of the prober that are not there at the end."""
    reader = IndexReader(index)
    con = reader.connection()
    rows = con.execute("SELECT message_id FROM messages WHERE starts_with(message_id, $probe)", {"probe": _PROBE})
    found = {str(message_id) for (message_id,) in rows.fetchall()}
    con.close()
    reader.close()
    return [f"{message_id} was never seen" for message_id in prober.written if message_id not in found]


def _disagreement(index: Path, fresh: Path, data_dirs: Sequence[Path]) -> list[str]:
    """Compare the index with a fresh one, once the numbers of the storages are recorded."""
    fresh_index(fresh, data_dirs)
    deadline = time.monotonic() + 30
    while (found := differences(index, fresh)) and time.monotonic() < deadline:
        time.sleep(2.0)
    return [f"{table}: {mine[:2]} {others[:2]}" for table, (mine, others) in found.items()]


def _parts(index: Path) -> int:
    """Count the parts of the index."""
    reader = IndexReader(index)
    con = reader.connection()
    row = con.execute("SELECT count(*) FROM parts").fetchone()
    con.close()
    reader.close()
    return int(row[0]) if row else 0


def is_soon(outcome: Outcome, median_s: float, p95_s: float) -> bool:
    """Tell whether rows were seen soon enough, calm and busy."""
    busy_s = [delay for seen in outcome.busy for delay in seen.delays_s]
    return all(
        len(delays_s) > 1 and statistics.median(delays_s) < median_s and p95(delays_s) < p95_s
        for delays_s in (outcome.calm_s, busy_s)
    )


def p95(delays_s: Sequence[float]) -> float:
    """Return what 95 of 100 keep below."""
    return statistics.quantiles(delays_s, n=20)[-1]


def summary(delays_s: Sequence[float]) -> str:
    """Say how long rows took."""
    if len(delays_s) < 2:
        return "too few"
    median = statistics.median(delays_s)
    return f"median {median:.3f} s, p95 {p95(delays_s):.3f} s, most {max(delays_s):.3f} s ({len(delays_s)} rows)"


def report(outcome: Outcome) -> str:
    """Say what was seen, in a few lines."""
    busy_s = [delay for seen in outcome.busy for delay in seen.delays_s]
    verdict = "\n".join(f"  {problem}" for problem in outcome.problems[:20]) or "  no error, no torn read, nothing lost"
    return (
        f"{outcome.parts} parts; {outcome.written} documents in {outcome.seconds:.0f} s "
        f"({outcome.written / outcome.seconds:.0f} a second), {READERS} readers: "
        f"{sum(seen.reads for seen in outcome.busy)} reads that balance, "
        f"{sum(seen.plain_opens for seen in outcome.busy)} plain opens, "
        f"up to {max(seen.revisions for seen in outcome.busy)} revisions\n"
        f"  from write to visible row, calm: {summary(outcome.calm_s)}\n"
        f"  from write to visible row, busy: {summary(busy_s)}\n{verdict}"
    )

"""Kills the indexer with SIGKILL again and again, and checks what is left and what the next start makes of it.

Storage of both generations is written to meanwhile. A record says what every kill hit, by what the process had told
before it died (`child.py`).
"""

import itertools
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.invariants import DELETED_TEXTS, DERIVED, REFERENCES, broken, number
from indexer.published import IndexReader
from tests import corpus
from tests.agreement import differences, fresh_index
from tests.corpus import Plan, Store
from tests.stress import child
from tests.stress.running import ROOT, Child, Target, Watcher
from tests.stress.storage import Author, Rows, Tree, Writing

BULK, TRANSACTION, PUBLICATION, REAL_TIME, START = "bulk", "transaction", "copy to swap", "real time", "start"
KINDS = (BULK, TRANSACTION, PUBLICATION, REAL_TIME)
KILLS_PER_LIFE, KILLS_PER_LARGE_LIFE = 25, 12
FIRST_PASS_KILLS = 9  # of those in a large life
LARGE_EVERY = 2  # lives
PARTS, LARGE_PARTS = 300, 12_000  # of a storage; the second has enough messages to be read as a large one

# Not `step_count`: parts go before their message, so what was last indexed may have been the message without them.
_DELETED_ROWS = """
    SELECT message_id, session_id, role, provider_id, model_id, created_at, input_tokens, output_tokens,
           reasoning_tokens, cache_read_tokens, cache_write_tokens, total_tokens, cost_recorded_usd
    FROM messages
"""

_STEPS = {
    "": "nothing yet",
    child.BULK: "pass began",
    child.REAL_TIME: "pass ended",
    child.OPEN: "transaction open",
    child.COMMIT: "committing",
    child.ENDED: "transaction ended",
    child.COPIED: "WAL copied",
    child.LINKED: "base linked",
    child.POINTED: "pointer made",
    child.SWAPPED: "pointer swapped",
    child.UNLOGGED: "no WAL from now on",
    child.LOGGED: "with a WAL again",
}

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        hit: What it hit, one of `KINDS`, or that nothing had begun.
        where: The last step that the process told, as a letter of `child.py`.
        phase: What the indexer did at large.
        said: How many steps it had told.
        is_unlogged: It was writing without a WAL.
    """

    hit: str
    where: str
    phase: str
    said: int
    is_unlogged: bool


def classify(said: Sequence[str]) -> Kill:
    """Say what a kill hit, by everything that the process told before."""
    phases = [letter for letter in said if letter in (child.BULK, child.REAL_TIME)]
    phase = {child.BULK: BULK, child.REAL_TIME: REAL_TIME}[phases[-1]] if phases else START
    where = said[-1] if said else ""
    hit = phase
    if where and where in child.IN_TRANSACTION:
        hit = TRANSACTION
    elif where and where in child.IN_PUBLICATION:
        hit = PUBLICATION
    wal = [letter for letter in said if letter in (child.UNLOGGED, child.LOGGED)]
    return Kill(hit, where, phase, len(said), is_unlogged=wal[-1:] == [child.UNLOGGED])


class Life:
    """One storage and its index, from nothing through many kills.

    Attributes:
        kills: What they hit.
        checks: How often the index was compared with a fresh one.
    """

    def __init__(self, folder: Path, seed: int, parts: int = PARTS) -> None:
        """Write a small storage of both generations.

        Args:
            folder: An empty one.
            seed: Another seed gives another life.
            parts: About how many parts the storage has at first.
        """
        self.kills: list[Kill] = []
        self.checks = 0
        self._is_large = parts >= LARGE_PARTS
        self._folder = folder
        self._rng = random.Random(seed)
        self._data = folder / "opencode"
        self._index = folder / "index.duckdb"
        self._log = folder / "child.log"
        corpus.write(Plan(parts, seed, (Store.JSON, Store.SQLITE), text_scale=0.02), self._data)
        self._author = Author([Tree(self._data, self._rng), Rows(self._data)], seed)
        self.watcher = Watcher(self._index)
        self._rows: dict[str, Row] = {}
        self._deleted_at: dict[str, object] = {}

    @property
    def deleted(self) -> int:
        """Count the messages that were deleted."""
        return len(self._author.deleted_messages)

    def __enter__(self) -> "Life":
        """Begin to read what is published."""
        self.watcher.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading, and let go of the storage."""
        self.watcher.__exit__()
        self._author.close()

    def kill(self, kind: str) -> Kill:
        """Start the indexer and kill it where told, or near it.

        Args:
            kind: One of `KINDS`.

        Returns:
            What was really hit.
        """
        for _ in range(self._rng.randrange(5, 40)):
            self._author.act()  # nobody follows now: the full pass finds it
        target = self._target(kind)
        is_first_pass = self._is_large and not self.checks
        share = 1 if is_first_pass else 0.5 if target.is_large else 0.2
        is_in_pass = kind == BULK or (kind != REAL_TIME and self._rng.random() < share)
        victim = self._kill_in_pass(target) if is_in_pass else self._kill_while_following(target)
        assert victim.process.returncode == -signal.SIGKILL, f"it ended by itself: see {self._log}"
        victim.wait_for_helpers()
        hit = classify(victim.said)
        self.kills.append(hit)
        self.watcher.look()
        assert not self.watcher.failures, self.watcher.failures
        return hit

    def check(self) -> None:
        """Let the indexer go on after the last kill, and compare."""
        victim = Child(self._index, [self._data], self._log)
        try:
            victim.wait_for_following()
            self._compare()
        finally:
            victim.end()

    def check_after_bulk(self) -> None:
        """Let the command `bulk` go on after the last kill, and compare."""
        command = [sys.executable, "-m", "indexer", "bulk", "--db", str(self._index), "--data", str(self._data)]
        with self._log.open("ab") as output:
            subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=True)
        self._compare()

    def _target(self, kind: str) -> Target:
        """Say when to kill."""
        count, is_large = self._rng.randrange(1, 7), self._rng.random() < 0.5
        if kind == BULK and self._rng.random() < 0.5:
            longest_s = 4 if self._is_large else 0.5 if is_large else 0.3
            return Target(child.BULK, delay_s=self._rng.random() ** 2 * longest_s, is_large=is_large)
        if kind == BULK:
            return Target(child.ENDED, count + 1, is_large=is_large)
        if kind == TRANSACTION:
            return Target(child.OPEN, count, self._rng.random() ** 2 * 0.1, is_large)
        if kind == PUBLICATION:
            return Target(self._rng.choice(child.IN_PUBLICATION), count, is_large=is_large)
        return Target(child.SWAPPED, count, self._rng.uniform(0, 0.25), is_large)

    def _kill_in_pass(self, target: Target) -> Child:
        """Kill it at any moment of the full pass, or what comes after, while documents are written."""
        with Writing(self._author, 0.01):
            victim = Child(self._index, [self._data], self._log, target)
            try:
                victim.wait_for_end()
            finally:
                victim.end()
        return victim

    def _kill_while_following(self, target: Target) -> Child:
        """Let it catch up, compare, then kill it while it follows what is written."""
        victim = Child(self._index, [self._data], self._log, target, is_armed=False)
        try:
            victim.wait_for_following()
            self._compare()
            with Writing(self._author, 0.005):
                victim.arm()
                victim.wait_for_end()
        finally:
            victim.end()
        return victim

    def _compare(self) -> None:
        """Compare what is published with a fresh index of the same storage, and deleted rows with what they were."""
        fresh = fresh_index(self._folder / "fresh" / "index.duckdb", [self._data])
        found = differences(self._index, fresh)
        shutil.rmtree(fresh.parent)
        assert not found, {table: (mine[:3], others[:3]) for table, (mine, others) in found.items()}
        self._compare_deleted()
        self._author.settle()
        self.checks += 1

    def _compare_deleted(self) -> None:
        """Compare deleted rows with what was last indexed, and note what there is now."""
        reader = IndexReader(self._index)
        con = reader.connection()
        try:
            wrong = broken(con, [*DERIVED, *REFERENCES])
            texts = number(con, DELETED_TEXTS)
            deleted = {
                str(row[0]): row for row in con.execute(f"{_DELETED_ROWS} WHERE deleted_at IS NOT NULL").fetchall()
            }
            living = {str(row[0]): row for row in con.execute(f"{_DELETED_ROWS} WHERE deleted_at IS NULL").fetchall()}
            since = dict(
                con.execute("SELECT message_id, deleted_at FROM messages WHERE deleted_at IS NOT NULL").fetchall()
            )
            gone = con.execute("SELECT session_id FROM sessions WHERE deleted_at IS NOT NULL").fetchall()
        finally:
            con.close()
            reader.close()
        assert not wrong and not texts, (wrong, texts)
        assert deleted.keys() == self._author.deleted_messages, deleted.keys() ^ self._author.deleted_messages
        assert {session_id for (session_id,) in gone} == self._author.deleted_sessions
        changed = {key: (self._rows[key], row) for key, row in deleted.items() if self._rows[key] != row}
        assert not changed, changed
        moved = {key: (at, since[key]) for key, at in self._deleted_at.items() if since[key] != at}
        assert not moved, moved
        self._rows |= living
        self._deleted_at = since


@dataclass(slots=True)
class Outcome:
    """What many kills showed.

    Attributes:
        kills: What they hit.
        checks: How often the index was compared with a fresh one.
        opened: How often what is published was opened meanwhile.
        deleted: Messages that were deleted in OpenCode in the course of it.
    """

    kills: list[Kill] = field(default_factory=list)
    checks: int = 0
    opened: int = 0
    deleted: int = 0

    @property
    def hits(self) -> Counter[str]:
        """Count what was hit."""
        return Counter(kill.hit for kill in self.kills)

    @property
    def unlogged(self) -> int:
        """Count the kills while a large pass wrote without a WAL."""
        return sum(kill.is_unlogged for kill in self.kills)


def run(folder: Path, total: int, least: int, seed: int) -> Outcome:
    """Kill until there were enough of every kind, in life after life.

    Args:
        folder: For storage and index; an empty one.
        total: How many kills at least.
        least: How many of each kind at least, and while a large pass wrote without a WAL.
        seed: Another seed gives other lives.

    Returns:
        What was seen; whatever is wrong raises.
    """
    outcome = Outcome()
    for number_of_life in itertools.count():
        here = folder / f"life-{number_of_life}"
        is_large = number_of_life % LARGE_EVERY == 0
        with Life(here, seed + number_of_life, LARGE_PARTS if is_large else PARTS) as life:
            rng = random.Random(f"kinds:{seed}:{number_of_life}")
            for number_of_kill in range(KILLS_PER_LARGE_LIFE if is_large else KILLS_PER_LIFE):
                is_first_pass = number_of_kill < (FIRST_PASS_KILLS if is_large else 2)
                life.kill(_next_kind(outcome, least, rng, is_first_pass))
                outcome.kills.append(life.kills[-1])
                if rng.random() < 0.1:
                    life.check_after_bulk()
            life.check()
            outcome.checks += life.checks
            outcome.deleted += life.deleted
        outcome.opened += life.watcher.opened
        shutil.rmtree(here)
        hits = outcome.hits
        print(
            f"life {number_of_life}: {len(outcome.kills)} kills, {dict(hits)}, {outcome.unlogged} without a WAL",
            flush=True,
        )
        is_enough = all(count >= least for count in [outcome.unlogged, *(hits[kind] for kind in KINDS)])
        if len(outcome.kills) >= total and is_enough:
            return outcome
    raise AssertionError("unreachable")


def _next_kind(outcome: Outcome, least: int, rng: random.Random, is_first_pass: bool) -> str:
    """Choose what to try to hit: first of all the very first pass, then what was hit too rarely."""
    if is_first_pass:
        return rng.choice((BULK, BULK, TRANSACTION, PUBLICATION))
    hits = outcome.hits
    rare = [kind for kind in KINDS if hits[kind] < least]
    return rng.choice(rare or KINDS)


def report(outcome: Outcome) -> str:
    """Say what was seen, in a few lines."""
    where = Counter((kill.hit, kill.phase, kill.where) for kill in outcome.kills)
    lines = [
        f"{len(outcome.kills)} kills, {outcome.checks} comparisons with a fresh index, {outcome.opened} opens of what "
        f"is published meanwhile, {outcome.deleted} messages deleted: all well",
        f"{outcome.unlogged} of them while a large pass wrote without a WAL",
    ]
    lines += [
        f"  {count:4d}  {hit:13} while {phase:9} last told: {_STEPS[letter]}"
        for (hit, phase, letter), count in sorted(where.items())
    ]
    return "\n".join(lines)

"""What the indexer does right now, as pages show it.

The index only says what it did last; that an indexer is there, its heartbeat says.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

BULK, REAL_TIME, STOPPED, FAILED = "bulk", "real-time", "stopped", "failed"
GONE = "gone"  # ended without a word: killed, or the machine went down

_AT_REST = (STOPPED, FAILED)
_SILENCE = timedelta(seconds=30)
_OVERDUE = timedelta(seconds=10)  # it speaks at least that often


@dataclass(frozen=True, slots=True)
class Followed:
    """A folder or database that is followed.

    Attributes:
        how: events, polling or scanning.
        reason: Why not by events. None if by events.
    """

    path: str
    how: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What the indexer said last. Times are naive UTC.

    Attributes:
        at: When it said so.
        is_heard: Whether that is so recent that it is still there.
        phase: bulk, real-time, stopped or failed.
        queue: Changed documents that wait to be read.
        waiting_since: When the oldest of them was noticed. None: nothing waits.
        latency_ms: From noticed to published, of the last change. None: there was none yet.
        documents_per_second: Written over the last minute.
        followed: Empty before anything is.
        next_comparison_at: When everything is compared again. None: not planned.
        last_comparison_ms: How long the last such comparison took. None: there was none yet.
        problem: What is wrong and being retried. None: nothing.
        excluded_projects: Projects that the settings leave out.
        excluded_sessions: Sessions of those, and of folders that are left out.
    """

    at: datetime
    is_heard: bool
    phase: str
    queue: int
    waiting_since: datetime | None
    latency_ms: int | None
    documents_per_second: float
    followed: tuple[Followed, ...]
    next_comparison_at: datetime | None
    last_comparison_ms: int | None
    problem: str | None
    excluded_projects: int = 0
    excluded_sessions: int = 0

    def delay(self, now: datetime) -> timedelta:
        """Return how long the oldest noticed change waits to be shown; zero if none does.

        As of its last word: what it waited for then is mostly done since. An indexer whose next word is overdue is
        stuck, so then the present counts.
        """
        if self.waiting_since is None:
            return timedelta()
        until = now if now - self.at > _OVERDUE else self.at
        return max(until - self.waiting_since, timedelta())

    def current_until(self) -> datetime | None:
        """Return the moment up to which all that was noticed is in the newest revision. None outside of real time."""
        if self.phase != REAL_TIME:
            return None
        return self.at if self.waiting_since is None else min(self.waiting_since, self.at)


def condition(phase: str, written_at: datetime, said: Activity | None, now: datetime) -> str:
    """Say what the indexer really does.

    Args:
        phase: What the index says it did last; a killed indexer leaves it behind.
        written_at: When the index was written last.
        said: What the indexer said last. None: nothing.
        now: The present.

    Returns:
        A phase, or `GONE`.
    """
    has_ended_since = phase in _AT_REST and (said is None or written_at >= said.at)
    if said and said.is_heard and not has_ended_since:
        return said.phase
    # What was just written was written by somebody.
    return phase if phase in _AT_REST or abs(now - written_at) < _SILENCE else GONE


def is_at_work(condition: str) -> bool:
    """Tell whether an indexer is there, in a phase known here or not."""
    return condition not in (*_AT_REST, GONE)

"""What an indexer is doing right now: a small file beside the index, for what changes too often to be a revision.

`FILE.d/activity.json` is written every few seconds while an indexer runs, so its age tells whether one runs at all.
`FILE.d/retry` is the way back: a reader asks the running indexer to read the bad documents again.
"""

import errno
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.index_files import private_folder
from indexer.json_values import clean

log = logging.getLogger(__name__)

HEARTBEAT_MS = 10_000  # the longest time between two writes of a running indexer
_LOST_MS = 30_000  # without a heartbeat: nobody is there any more

_NAME = "activity.json"
_RETRY_NAME = "retry"
# The file fills whole blocks, so that on a full disk it can be written over in its own place.
_BLOCK_BYTES = 4096
_READ_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Watched:
    """A place that is followed.

    Attributes:
        path: The folder or database.
        how: events, polling or scanning.
        reason: Why not by events, for a person. None if by events.
    """

    path: str
    how: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What an indexer does at one moment. Times are Unix epoch milliseconds.

    Attributes:
        pid: Process of the indexer.
        at_ms: When it wrote this: its heartbeat.
        phase: As in `sync_state`.
        queue: Documents that wait to be read.
        waiting_since_ms: When the oldest of them was noticed. None: nothing waits.
        latency_ms: From noticed to published, of the last live batch. None: there was none yet.
        documents_per_second: Written over the last 60 s, or since the indexer began if that is less.
        watched: What is followed. Empty before anything is.
        next_comparison_at_ms: When everything is compared with the sources next. None: not planned.
        last_comparison_ms: How long the last such comparison took. None: there was none yet.
        problem: What is wrong and being retried, for a person, such as a full disk. None: nothing.
        excluded_projects: Projects that the settings leave out, as far as they were found.
        excluded_sessions: Sessions of those, and of folders that are left out.
    """

    pid: int
    at_ms: int
    phase: str
    queue: int
    waiting_since_ms: int | None
    latency_ms: int | None
    documents_per_second: float
    watched: tuple[Watched, ...]
    next_comparison_at_ms: int | None
    last_comparison_ms: int | None
    problem: str | None
    excluded_projects: int = 0
    excluded_sessions: int = 0

    def is_heard(self, now_ms: int) -> bool:
        """Tell whether its heartbeat is younger than 30 s.

        One as far ahead does not count: the clock was set back since, and an indexer that is there says so soon.
        """
        return abs(now_ms - self.at_ms) < _LOST_MS


def write_activity(index: Path, activity: Activity) -> None:
    """Tell readers what goes on, atomically.

    What cannot be written is logged and lost: an indexer must not end because nobody can watch it.

    Args:
        index: What readers open.
        activity: What goes on.
    """
    data = clean(json.dumps(asdict(activity), ensure_ascii=False)).encode()  # paths as the index names them
    data = data.ljust(-(-len(data) // _BLOCK_BYTES) * _BLOCK_BYTES)
    file = private_folder(index) / _NAME
    fresh = file.with_name(f"{_NAME}.new")
    try:
        try:
            fresh.write_bytes(data)
            os.replace(fresh, file)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A full disk is what readers must hear about.
            fresh.unlink(missing_ok=True)
            with file.open("r+b") as old:
                old.write(data)
                old.truncate()
    except OSError as error:
        log.warning("readers cannot be told what the indexer does: %s", error)


def read_activity(index: Path) -> Activity | None:
    """Read what an indexer said last.

    Args:
        index: What readers open.

    Returns:
        What it said, however long ago. None if no indexer said anything, or it cannot be read.
    """
    for _ in range(_READ_ATTEMPTS):  # on a full disk it is written over while it is read
        try:
            return _parsed((private_folder(index) / _NAME).read_bytes())
        except OSError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            log.debug("unreadable %s beside %s: %s", _NAME, index, error)
    return None


def is_running(activity: Activity | None, now_ms: int) -> bool:
    """Tell whether the indexer that said something, if any did, is still there."""
    return activity is not None and activity.is_heard(now_ms)


def request_retry(index: Path) -> None:
    """Ask the running indexer to read the bad documents again.

    Args:
        index: What readers open.

    Raises:
        OSError: The request cannot be left: the folder is missing, not ours, or its disk is full.
    """
    (private_folder(index) / _RETRY_NAME).touch()


def is_retry_requested(index: Path) -> bool:
    """Tell whether there is a request to take.

    Args:
        index: What readers open.
    """
    return (private_folder(index) / _RETRY_NAME).exists()


def take_retry_request(index: Path) -> bool:
    """Tell the indexer whether it was asked to read the bad documents again; True once per request.

    Args:
        index: What readers open.
    """
    try:
        (private_folder(index) / _RETRY_NAME).unlink()
    except OSError:
        return False
    return True


def _parsed(data: bytes) -> Activity:
    """Read the text of the file.

    Raises:
        ValueError, TypeError, KeyError: It is cut off, or another version's.
    """
    found = json.loads(data)
    return Activity(**found | {"watched": tuple(Watched(**each) for each in found["watched"])})

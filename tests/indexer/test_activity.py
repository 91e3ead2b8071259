"""What an indexer says about itself, from one process to another."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.activity import (
    Activity,
    Watched,
    is_running,
    read_activity,
    request_retry,
    take_retry_request,
    write_activity,
)
from indexer.index_files import private_folder

BUSY = Activity(
    pid=42,
    at_ms=1_000_000,
    phase="real-time",
    queue=3,
    waiting_since_ms=999_700,
    latency_ms=120,
    documents_per_second=4.5,
    watched=(
        Watched("/data/ö", "events", None),
        Watched("/net/b", "scanning", "A network folder does not tell of changes."),
    ),
    next_comparison_at_ms=None,
    last_comparison_ms=2_100,
    problem=None,
)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index's path, with the folder that its indexer makes."""
    path = tmp_path / "index.duckdb"
    private_folder(path).mkdir()
    return path


def activity_file(index: Path) -> Path:
    """Return where it is kept."""
    return private_folder(index) / "activity.json"


def test_write_activity_twice_newest_is_read(index: Path) -> None:
    """Every field survives, and nothing else is left behind."""
    newer = replace(BUSY, at_ms=BUSY.at_ms + 1, problem="The disk is full.", watched=())
    write_activity(index, BUSY)
    first = read_activity(index)

    write_activity(index, newer)

    assert (first, read_activity(index)) == (BUSY, newer)
    assert os.listdir(private_folder(index)) == ["activity.json"]


def test_write_activity_path_without_a_text_is_named_as_in_the_index(index: Path) -> None:
    """A name that is not UTF-8 can be shown, and compared with the sources."""
    write_activity(index, replace(BUSY, watched=(Watched("/data/\udcff", "events", None),)))

    assert read_activity(index) == replace(BUSY, watched=(Watched("/data/?", "events", None),))


@pytest.mark.parametrize("content", [None, b"", b"\0" * 4096, b'{"pid": 1', b'{"pid": 1}', b"[]", b"\xff"])
def test_read_activity_missing_or_damaged_is_none(content: bytes | None, index: Path) -> None:
    """Also what a power failure leaves of it."""
    if content is not None:
        activity_file(index).write_bytes(content)

    assert read_activity(index) is None


def test_write_activity_without_a_folder_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The indexer goes on."""
    write_activity(tmp_path / "gone" / "index.duckdb", BUSY)

    assert "readers cannot be told" in caplog.text


def test_write_activity_full_disk_is_still_told(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file's own blocks take the new text."""
    full = replace(BUSY, problem="The disk is full.")
    write_activity(index, BUSY)
    blocks = activity_file(index).stat()

    def no_space(path: Path, data: bytes) -> int:
        """Stand for a new file on a full disk."""
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    write_activity(index, full)

    after = activity_file(index).stat()
    assert read_activity(index) == full
    assert (after.st_ino, after.st_size) == (blocks.st_ino, blocks.st_size)
    assert os.listdir(private_folder(index)) == ["activity.json"]


def test_read_activity_while_it_is_written_is_never_torn(index: Path) -> None:
    """A reader gets one whole text or the next."""
    write_activity(index, BUSY)
    ended = threading.Event()

    def write() -> None:
        """Write texts of various lengths."""
        for number in range(200):
            write_activity(index, replace(BUSY, queue=number, problem="x" * number))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not ended.is_set():
        seen.append(read_activity(index))
    writer.join()

    assert seen and None not in seen
    assert all(len(found.problem or "") == found.queue for found in seen[1:] if found and found.problem is not None)


@pytest.mark.parametrize(
    ("age_ms", "expected"), [(0, True), (29_999, True), (30_000, False), (-29_999, True), (-3_600_000, False)]
)
def test_is_running_goes_by_the_heartbeat(age_ms: int, expected: bool) -> None:
    """Half a minute of silence is the end; so is a heartbeat from a clock that was set back since."""
    assert is_running(BUSY, BUSY.at_ms + age_ms) is expected


def test_is_running_nothing_said_is_not() -> None:
    """No indexer ever ran."""
    assert not is_running(None, 0)


def test_take_retry_request_each_request_is_taken_once(index: Path) -> None:
    """Two clicks before the indexer looks are one request."""
    before = take_retry_request(index)
    request_retry(index)
    request_retry(index)

    assert (before, take_retry_request(index), take_retry_request(index)) == (False, True, False)


def test_request_retry_without_a_folder_raises(tmp_path: Path) -> None:
    """A request that is lost must not look like one that was made."""
    with pytest.raises(OSError, match="gone"):
        request_retry(tmp_path / "gone" / "index.duckdb")

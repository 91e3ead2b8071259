"""Being told, once, that something in a folder is written."""

import errno
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import folder_events
from indexer.folder_events import FolderEvents

TIMEOUT_S = 30.0  # only a failing test waits so long
SHORT_S = 0.3  # for what must not come

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is told")


class Told:
    """Folder events, and how often they told."""

    def __init__(self) -> None:
        """Begin."""
        self.events = FolderEvents(self._take)
        self.count = 0
        self._news = threading.Condition()

    def wait(self, count: int, timeout_s: float = TIMEOUT_S) -> bool:
        """Wait until it told so often; tell whether it did."""
        with self._news:
            return self._news.wait_for(lambda: self.count >= count, timeout_s)

    def _take(self) -> None:
        """Count."""
        with self._news:
            self.count += 1
            self._news.notify_all()


@pytest.fixture
def told() -> Iterator[Told]:
    """Folder events, stopped in the end."""
    made = Told()
    yield made
    made.events.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file and a folder in it."""
    path = tmp_path / "opencode"
    (path / "log").mkdir(parents=True)
    (path / "opencode.db").write_text("1", encoding="utf-8")
    return path


@pytest.mark.parametrize("how", ["written", "created", "renamed", "deleted"])
def test_arm_something_happens_is_told(how: str, told: Told, folder: Path) -> None:
    """Whatever a client does with its database."""
    file = folder / "opencode.db"
    is_armed = told.events.arm({folder})

    match how:
        case "written":
            file.write_text("2", encoding="utf-8")
        case "created":
            file.with_name("opencode.db-wal").touch()
        case "renamed":
            file.rename(file.with_name("else.db"))
        case _:
            file.unlink()

    assert (is_armed, told.wait(1), told.events.is_armed({folder})) == (True, True, False)


def test_arm_much_happens_is_told_once_each_time(told: Told, folder: Path) -> None:
    """A client that writes all the time must not wake anybody all the time."""
    counts = []
    for number in (1, 2):
        told.events.arm({folder})
        for each in range(50):
            (folder / "opencode.db").write_text(str(each), encoding="utf-8")
        told.wait(number)
        told.wait(number + 1, SHORT_S)
        counts.append(told.count)

    assert counts == [1, 2]


def test_arm_own_reads_and_inner_folders_are_not_told(told: Told, folder: Path) -> None:
    """To look must not cause the next look; logs are none of its business."""
    told.events.arm({folder})

    (folder / "opencode.db").read_bytes()
    (folder / "log" / "today.log").write_text("noise", encoding="utf-8")

    assert (told.wait(1, SHORT_S), told.events.is_armed({folder})) == (False, True)


def test_arm_again_without_an_event_keeps_the_watch(told: Told, folder: Path) -> None:
    """It is asked for often; one event comes of it."""
    for _ in range(3):
        told.events.arm({folder})

    (folder / "opencode.db").write_text("2", encoding="utf-8")

    assert (told.wait(1), told.wait(2, SHORT_S)) == (True, False)


def test_arm_several_folders_the_other_stays_armed(told: Told, folder: Path) -> None:
    """Each tells for itself, and all count."""
    other = folder.with_name("other")
    other.mkdir()
    told.events.arm({folder, other})

    (folder / "opencode.db").write_text("2", encoding="utf-8")
    told.wait(1)

    found = [told.events.is_armed(each) for each in ({folder}, {other}, {folder, other})]
    assert found == [False, True, False]


def test_arm_folder_deleted_and_made_again_is_told_again(told: Told, folder: Path) -> None:
    """The new one is another folder to the system."""
    told.events.arm({folder})

    shutil.rmtree(folder)
    is_told = told.wait(1)
    is_missing = told.events.arm({folder})
    folder.mkdir()
    is_armed, before = told.events.arm({folder}), told.count
    (folder / "opencode.db").touch()

    assert (is_told, is_missing, is_armed, told.wait(before + 1)) == (True, False, True, True)


def test_has_told_event_on_its_way_is_awaited(told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds a change may be faster than who tells it."""
    monkeypatch.setattr(folder_events, "GRACE_S", TIMEOUT_S)
    told.events.arm({folder})

    (folder / "opencode.db").write_text("2", encoding="utf-8")

    assert told.events.has_told({folder})


def test_has_told_nothing_written_is_not(told: Told, folder: Path) -> None:
    """It does not wait for ever."""
    told.events.arm({folder})

    assert not told.events.has_told({folder})


def test_arm_limit_reached_gives_up_for_good(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Looking often does the same; the log says why."""
    attempts = []

    def fail() -> None:
        """Fail as at the limit of instances."""
        attempts.append(1)
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(folder_events, "InotifyFD", fail)
    with caplog.at_level("INFO"):
        found = [told.events.arm({folder}) for _ in range(3)]

    assert (found, len(attempts)) == ([False] * 3, 1)
    assert "inotify instance limit reached" in caplog.text

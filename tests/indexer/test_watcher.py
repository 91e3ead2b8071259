"""Following a JSON tree by file events: every change is named, and what cannot be named is "everything"."""

import contextlib
import ctypes
import errno
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers import inotify_c
from watchdog.observers.polling import PollingObserver

from indexer import watcher
from indexer.changes import Changes
from indexer.watcher import KINDS, TreeWatcher

TIMEOUT_S = 60
LOOK_S = 0.02
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify")

Watch = Callable[[], "Reports"]


class Reports:
    """What a watcher reported, put together."""

    def __init__(self, storage: Path) -> None:
        """Watch a storage."""
        self.found = Changes()
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._looking = threading.Thread(target=self._look)
        self.watcher = TreeWatcher(storage, self.take)

    def take(self, changes: Changes) -> None:
        """Take a report, or fail as told."""
        assert self.go_on.wait(TIMEOUT_S)
        with self._changed:
            error, self.error = self.error, None
            if error is not None:
                raise error
            self.found.add(changes)
            self._changed.notify_all()

    def start(self) -> None:
        """Watch, and look around often."""
        self.watcher.start()
        self._looking.start()

    def stop(self) -> None:
        """End both."""
        self._stopping.set()
        self._looking.join()
        self.watcher.stop()

    def _look(self) -> None:
        """Look around until stopped."""
        while not self._stopping.wait(LOOK_S):
            self.watcher.look()

    def wait(self, is_seen: Callable[[Changes], object]) -> Changes:
        """Wait until what was reported is enough, and return it; later reports start from nothing."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_seen(self.found), TIMEOUT_S), self.found
            found, self.found = self.found, Changes()
            return found


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """An OpenCode storage with the four folders and one document in each."""
    path = tmp_path / "opencode" / "storage"
    for name in ("project/prj.json", "session/prj/ses.json", "message/ses/msg.json", "part/msg/prt.json"):
        write(path / name)
    return path


@pytest.fixture
def watch(storage: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Start a watcher of the storage that looks at its folders often; it is stopped in the end."""
    monkeypatch.setattr(watcher, "AGAIN_S", 0.02)
    started = []

    def start() -> Reports:
        """Start."""
        started.append(Reports(storage))
        started[-1].start()
        return started[-1]

    yield start
    for reports in started:
        reports.stop()


@pytest.fixture(params=[pytest.param("inotify", marks=on_linux), "observer"])
def watch_both_ways(request: pytest.FixtureRequest, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """`watch` in the way of Linux and in that of other systems."""
    if request.param == "observer":
        monkeypatch.setattr(watcher, "_watch", watcher._ObservedTree)
    return watch


def write(path: Path) -> None:
    """Write a document, in a new folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}", encoding="utf-8")


DOCUMENTS = [
    ("project/{}.json", Changes(projects={"new"})),
    ("session/prj/{}.json", Changes(sessions={"new"})),
    ("message/ses/{}.json", Changes(messages={"new": "ses"})),
    ("part/new/{}.json", Changes(messages={"new": None})),
]


@pytest.mark.parametrize(("name", "expected"), DOCUMENTS)
def test_watch_new_document_is_named(watch_both_ways: Watch, storage: Path, name: str, expected: Changes) -> None:
    """The id comes from the path; a part names its message."""
    (storage / "part" / "new").mkdir()
    reports = watch_both_ways()

    write(storage / name.format("new"))

    assert reports.wait(bool) == expected


@pytest.mark.parametrize(("name", "expected"), DOCUMENTS)
def test_watch_rewritten_document_is_named(watch_both_ways: Watch, storage: Path, name: str, expected: Changes) -> None:
    """OpenCode rewrites in place, once per streamed chunk."""
    write(storage / name.format("new"))
    reports = watch_both_ways()

    (storage / name.format("new")).write_text('{"text": "more"}', encoding="utf-8")

    assert reports.wait(bool) == expected


@pytest.mark.parametrize(("name", "expected"), DOCUMENTS)
def test_watch_deleted_document_is_named(watch_both_ways: Watch, storage: Path, name: str, expected: Changes) -> None:
    """What is gone has to be looked at, too."""
    write(storage / name.format("new"))
    reports = watch_both_ways()

    (storage / name.format("new")).unlink()

    assert reports.wait(bool) == expected


def test_watch_renamed_document_is_deletion_and_write(watch_both_ways: Watch, storage: Path) -> None:
    """Both ids are named, whether the name before was a document or not."""
    write(storage / "message/ses/draft.tmp")
    reports = watch_both_ways()

    (storage / "message/ses/msg.json").rename(storage / "message/ses/msg_2.json")
    (storage / "message/ses/draft.tmp").rename(storage / "message/ses/msg_3.json")

    found = reports.wait(lambda found: len(found.messages) == 3)
    assert found == Changes(messages={"msg": "ses", "msg_2": "ses", "msg_3": "ses"})


def test_watch_what_is_no_document_is_ignored(watch_both_ways: Watch, storage: Path) -> None:
    """Files of editors, names that are no text, and everything that is none of ours."""
    for folder in ("session_diff", "todo", "session_share"):
        (storage / folder).mkdir()
    reports = watch_both_ways()

    for name in ("msg.json~", ".msg.json.swp", ".#msg.json", "4913", "msg.json.tmp", ".json", "deeper/msg.json"):
        write(storage / "message/ses" / name)
    with contextlib.suppress(OSError):  # not every system has such names
        Path(os.fsdecode(os.fsencode(storage / "message/ses/msg_") + b"\xff.json")).write_bytes(b"{}")
    for name in ("auth.json", "storage/todo/ses.json", "storage/session_diff/ses.json", "storage/migration"):
        write(storage.parent / name)
    write(storage / "message/ses/last.json")

    assert reports.wait(bool) == Changes(messages={"last": "ses"})


def test_watch_own_reads_do_not_wake(watch_both_ways: Watch, storage: Path) -> None:
    """To list and to read everything changes nothing."""
    reports = watch_both_ways()

    for path in storage.rglob("*"):
        if path.is_file():
            path.read_bytes()
    write(storage / "project/last.json")

    assert reports.wait(bool) == Changes(projects={"last"})


def test_watch_new_folder_its_first_files_are_named(watch_both_ways: Watch, storage: Path) -> None:
    """Folders that come with files, and files written at once into new ones, before these could be watched."""
    for name in ("session/prj_2/ses_2.json", "message/ses_2/msg_2.json", "part/msg_3/prt.json"):
        write(storage.parent / name)
    reports = watch_both_ways()

    (storage.parent / "session/prj_2").rename(storage / "session/prj_2")
    (storage.parent / "message/ses_2").rename(storage / "message/ses_2")
    (storage.parent / "part/msg_3").rename(storage / "part/msg_3")
    for number in range(100):
        write(storage / f"message/ses_{number}/msg_a{number}.json")
        write(storage / f"part/msg_b{number}/prt.json")

    found = reports.wait(lambda found: len(found.messages) == 202)
    expected: dict[str, str | None] = {"msg_2": "ses_2", "msg_3": None}
    expected |= {f"msg_a{number}": f"ses_{number}" for number in range(100)}
    expected |= {f"msg_b{number}": None for number in range(100)}
    assert found == Changes(sessions={"ses_2"}, messages=expected)


def test_watch_new_folder_is_followed(watch_both_ways: Watch, storage: Path) -> None:
    """What happens in it later is named, too."""
    reports = watch_both_ways()
    (storage / "part/msg_2").mkdir()
    reports.wait(lambda found: "msg_2" in found.messages)

    write(storage / "part/msg_2/prt.json")

    assert reports.wait(bool) == Changes(messages={"msg_2": None})


def test_watch_folder_of_parts_gone_names_its_message(watch_both_ways: Watch, storage: Path) -> None:
    """Deleted or moved away: its name is the id."""
    write(storage / "part/msg_2/prt.json")
    reports = watch_both_ways()

    (storage / "part/msg").rename(storage.parent / "away")
    shutil.rmtree(storage / "part/msg_2")

    assert reports.wait(lambda found: len(found.messages) == 2) == Changes(messages={"msg": None, "msg_2": None})


@pytest.mark.parametrize("name", ["session/prj", "message/ses"])
def test_watch_folder_moved_away_is_everything(watch_both_ways: Watch, storage: Path, name: str) -> None:
    """Nobody knows the names of the files that went with it."""
    reports = watch_both_ways()

    (storage / name).rename(storage.parent / "away")

    assert reports.wait(bool) == Changes(is_everything=True)


@on_linux
def test_watch_renamed_folder_is_followed_under_its_new_name(watch: Watch, storage: Path) -> None:
    """And back again."""
    reports = watch()
    (storage / "part/msg").rename(storage / "part/msg_2")
    reports.wait(lambda found: found.messages == {"msg": None, "msg_2": None})
    (storage / "part/msg_2").rename(storage / "part/msg")
    reports.wait(lambda found: found.messages == {"msg": None, "msg_2": None})

    write(storage / "part/msg/prt.json")

    assert reports.wait(bool) == Changes(messages={"msg": None})


@on_linux
def test_watch_folder_deleted_and_made_again_is_followed(watch: Watch, storage: Path) -> None:
    """Many times, as fast as it goes."""
    reports = watch()
    for _ in range(100):
        shutil.rmtree(storage / "part/msg")
        (storage / "part/msg").mkdir()
    write(storage / "part/msg_2/last.json")
    reports.wait(lambda found: "msg_2" in found.messages)

    write(storage / "part/msg/prt.json")

    assert not reports.wait(lambda found: "msg" in found.messages).is_everything


@on_linux
def test_watch_linked_folders_are_followed_one_level(watch: Watch, storage: Path) -> None:
    """Two names of one folder are two ids; a link that leads back into the tree has no end."""
    (storage / "part/msg_2").symlink_to("msg")
    (storage / "part/loop").symlink_to(storage)
    (storage / "part/itself").symlink_to("itself")
    reports = watch()
    (storage / "part/msg_3").symlink_to("msg")
    reports.wait(lambda found: "msg_3" in found.messages)

    write(storage / "part/msg/prt.json")
    found = reports.wait(lambda found: len(found.messages) == 3)
    (storage / "project/settled.json").touch()
    reports.wait(lambda found: found.projects)
    (storage / "part/msg_2").unlink()

    assert found == Changes(messages={"msg": None, "msg_2": None, "msg_3": None})
    assert reports.wait(bool) == Changes(messages={"msg_2": None})


def test_watch_file_among_folders_is_nothing(watch: Watch, storage: Path) -> None:
    """Whatever is done to it."""
    reports = watch()

    for name in ("message/notes.txt", "part/notes.txt"):
        write(storage / name)
        write(storage / name)
        (storage / name).unlink()
    write(storage / "part/msg/last.json")

    assert reports.wait(lambda found: "msg" in found.messages) == Changes(messages={"msg": None})


@pytest.fixture(scope="module")
def big_folder() -> Iterator[Path]:
    """30,000 empty folders, in memory where the system has such a place: disks may take half a minute."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        for number in range(30_000):
            os.mkdir(f"{folder}/msg_{number}")
        yield Path(folder)


def test_watch_tree_of_30000_folders_delivers(watch_both_ways: Watch, storage: Path, big_folder: Path) -> None:
    """With watchdog's own choice of events, its listing of such a tree drowns in the events that listing causes."""
    shutil.rmtree(storage / "part")
    (storage / "part").symlink_to(big_folder)
    reports = watch_both_ways()

    write(storage / "part/msg_29999/prt.json")

    assert reports.watcher.state.is_by_events
    assert reports.wait(bool) == Changes(messages={"msg_29999": None})


def test_watch_burst_every_document_is_named(watch_both_ways: Watch, storage: Path) -> None:
    """Also while the one who takes the reports is busy."""
    for number in range(1_000):
        (storage / f"part/msg_{number}").mkdir()
    reports = watch_both_ways()
    reports.go_on.clear()

    for number in range(5_000):
        write(storage / f"part/msg_{number % 1_000}/prt_{number}.json")
    reports.go_on.set()

    assert reports.wait(lambda found: len(found.messages) == 1_000) == Changes(
        messages={f"msg_{number}": None for number in range(1_000)}
    )


@on_linux
def test_watch_queue_overflow_is_everything(watch: Watch, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops events when nobody reads them; it says so, and what follows is seen again."""
    go_on, is_reached = threading.Event(), threading.Event()
    take = watcher._InotifyTree.take

    def take_later(tree: watcher._InotifyTree, folder: watcher._Folder, event: inotify_c.InotifyEvent) -> None:
        """Wait for the flood to pass."""
        is_reached.set()
        assert go_on.wait(TIMEOUT_S)
        take(tree, folder, event)

    monkeypatch.setattr(watcher._InotifyTree, "take", take_later)
    reports = watch()
    write(storage / "project/first.json")
    assert is_reached.wait(TIMEOUT_S)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))

    for _ in range(limit // 4 + 1_000):  # at least four events a round
        (storage / "project/flood.tmp").touch()
        (storage / "part/msg/flood.tmp").touch()
        (storage / "project/flood.tmp").unlink()
        (storage / "part/msg/flood.tmp").unlink()
    (storage / "part/msg_2").mkdir()  # nobody hears of it
    go_on.set()
    reports.wait(lambda found: found.is_everything)
    write(storage / "part/msg_2/prt.json")

    assert reports.wait(lambda found: "msg_2" in found.messages).is_everything is False
    assert reports.watcher.state.is_by_events


def refuse(monkeypatch: pytest.MonkeyPatch, function: str, error: int, after: int = 0) -> None:
    """Let a system call fail after so many calls, as it does at a limit."""
    call = getattr(inotify_c, function)
    calls = iter(range(after))

    def limited(*arguments: object) -> object:
        """Call as long as the limit allows."""
        if next(calls, None) is None:
            ctypes.set_errno(error)
            return -1
        return call(*arguments)

    monkeypatch.setattr(inotify_c, function, limited)


@on_linux
def test_start_limit_of_watches_says_how_to_raise_it(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exception, and no watch kept that others lack."""
    refuse(monkeypatch, "inotify_add_watch", errno.ENOSPC, after=5)

    state = watch().watcher.state

    assert not state.is_by_events
    assert state.reason is not None
    assert "fs.inotify.max_user_watches = " in state.reason
    assert "`sudo sysctl fs.inotify.max_user_watches=" in state.reason
    assert not any(isinstance(thread, inotify_c.InotifyFD) for thread in threading.enumerate())


@on_linux
def test_start_limit_of_instances_says_how_to_raise_it(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program that watches takes one."""
    refuse(monkeypatch, "inotify_init", errno.EMFILE)

    state = watch().watcher.state

    assert not state.is_by_events
    assert state.reason is not None
    assert "`sudo sysctl fs.inotify.max_user_instances=" in state.reason


@on_linux
def test_watch_limit_reached_and_raised_later_is_told(
    watch: Watch, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new folder is one too many; when the limit is raised, watching comes back by itself."""
    reports = watch()
    with monkeypatch.context() as patch:
        refuse(patch, "inotify_add_watch", errno.ENOSPC)
        (storage / "part/msg_2").mkdir()
        reports.wait(lambda found: found.is_everything)
        state = reports.watcher.state

    monkeypatch.setattr(watcher, "RETRY_S", 0.0)
    (storage / "project").rename(storage / "project_2")  # noticed at any time, as the next try would be
    reports.wait(lambda found: found.is_everything)
    write(storage / "part/msg_2/prt.json")

    assert not state.is_by_events
    assert reports.watcher.state.is_by_events
    assert reports.wait(lambda found: found.messages).messages == {"msg_2": None}


def test_watch_without_events_tries_again(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """From time to time; a try in vain is not worth a word."""
    monkeypatch.setattr(watcher, "RETRY_S", 0.0)
    tries = threading.Semaphore(0)

    def refuse_instance(*_: object) -> watcher._Tree:
        """Count a try and refuse it."""
        tries.release()
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(watcher, "_watch", refuse_instance)
        reports = watch()
        assert all(tries.acquire(timeout=TIMEOUT_S) for _ in range(3))
        was_told = bool(reports.found)
    reports.wait(lambda found: found.is_everything)

    assert not was_told
    assert reports.watcher.state.is_by_events


def test_start_system_without_events_says_so(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchdog would compare all files every second then."""
    monkeypatch.setattr(watcher, "_watch", watcher._ObservedTree)
    monkeypatch.setattr(watcher, "Observer", PollingObserver)

    state = watch().watcher.state

    assert not state.is_by_events
    assert state.reason is not None
    assert "file events cannot be had" in state.reason


def test_start_observer_that_fails_oddly_does_not_raise(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems raise what is no OSError."""
    monkeypatch.setattr(watcher, "_watch", broken)

    state = watch().watcher.state

    assert not state.is_by_events
    assert state.reason == "file events cannot be had (no stream)"


def broken(*_: object) -> watcher._Tree:
    """Fail."""
    raise RuntimeError("no stream")


@pytest.mark.parametrize("missing", ["..", ".", *KINDS])
def test_watch_folder_that_comes_later_is_followed(watch_both_ways: Watch, storage: Path, missing: str) -> None:
    """OpenCode makes them at its first session."""
    shutil.rmtree((storage / missing).resolve())
    reports = watch_both_ways()

    for kind in KINDS:
        (storage / kind / "inside").mkdir(parents=True, exist_ok=True)
    reports.wait(lambda found: found.is_everything)
    wait_for_roots(reports, storage)
    for kind in KINDS:
        write(storage / kind / "inside" / "last.json" if kind != "project" else storage / "project/last.json")

    found = reports.wait(
        lambda found: found.projects and found.sessions and {"last", "inside"} <= found.messages.keys()
    )
    assert (found.projects, found.sessions) == ({"last"}, {"last"})
    assert reports.watcher.state.is_by_events


def wait_for_roots(reports: Reports, storage: Path) -> None:
    """Wait until the folders that are there now are the watched ones: it may have looked between two of them."""
    of = reports.watcher
    while of._roots != watcher._roots(storage) or of._tree is None or of._tree.is_lost:
        reports.wait(lambda found: found.is_everything)


@pytest.mark.parametrize("name", [".", "session", "part"])
@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_watch_folder_removed_and_back_is_followed(watch_both_ways: Watch, storage: Path, name: str, how: str) -> None:
    """Both times everything has to be compared."""
    away = storage.parent / "away"
    folder = (storage / name).resolve()
    shutil.copytree(storage, storage.parent / "copy")
    reports = watch_both_ways()

    if how == "moved":
        folder.rename(away)
    else:
        shutil.rmtree(folder)
    gone = reports.wait(lambda found: found.is_everything)
    if how == "moved":
        away.rename(folder)
    else:
        (storage.parent / "copy" / name).rename(folder)
    back = reports.wait(lambda found: found.is_everything)
    wait_for_roots(reports, storage)
    write(storage / "session/prj/last.json")
    write(storage / "part/msg/last.json")

    assert gone.is_everything
    assert back.is_everything
    reports.wait(lambda found: "last" in found.sessions and "msg" in found.messages)


@on_linux
def test_watch_folder_replaced_at_once_is_noticed(watch: Watch, storage: Path) -> None:
    """Faster than anybody looks, and with the number of the old one, as file systems give them out."""
    reports = watch()

    shutil.rmtree(storage / "part")
    (storage / "part/msg_2").mkdir(parents=True)
    reports.wait(lambda found: found.is_everything)
    wait_for_roots(reports, storage)
    write(storage / "part/msg_2/prt.json")

    assert reports.wait(lambda found: found.messages).messages == {"msg_2": None}


def test_watch_storage_behind_a_link_is_followed(watch_both_ways: Watch, storage: Path) -> None:
    """Also where it leads to later."""
    shutil.copytree(storage, storage.parent / "one")
    shutil.copytree(storage, storage.parent / "two")
    shutil.rmtree(storage)
    storage.symlink_to("one")
    reports = watch_both_ways()

    write(storage / "part/msg/prt.json")
    found = reports.wait(bool)
    (storage.parent / "next").symlink_to("two")
    (storage.parent / "next").replace(storage)
    reports.wait(lambda found: found.is_everything)
    write(storage.parent / "two/part/msg/prt.json")

    assert found == Changes(messages={"msg": None})
    assert reports.wait(lambda found: found.messages).messages == {"msg": None}


def test_watch_threads_that_ended_are_replaced(watch_both_ways: Watch, storage: Path) -> None:
    """Whatever ended them: nothing goes unnoticed for long."""
    reports = watch_both_ways()
    assert reports.watcher._tree is not None

    reports.watcher._tree.stop()
    reports.wait(lambda found: found.is_everything)
    write(storage / "part/msg/prt.json")

    assert reports.wait(lambda found: found.messages) == Changes(messages={"msg": None})


def test_watch_report_that_fails_is_repeated_as_everything(watch: Watch, storage: Path) -> None:
    """The watcher lives on."""
    reports = watch()
    reports.error = RuntimeError("index is busy")

    write(storage / "part/msg/prt.json")

    assert reports.wait(lambda found: found.is_everything).is_everything


def test_watch_event_that_fails_is_everything(
    watch_both_ways: Watch, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours must not end watchdog's thread."""
    reports = watch_both_ways()
    with monkeypatch.context() as patch:
        patch.setattr(watcher, "_changes", broken)
        write(storage / "part/msg/prt.json")
        reports.wait(lambda found: found.is_everything)

    write(storage / "part/msg/last.json")

    reports.wait(lambda found: "msg" in found.messages)


def test_stop_ends_all_threads(watch_both_ways: Watch, storage: Path) -> None:
    """And nothing is reported any more."""
    before = set(threading.enumerate())
    reports = watch_both_ways()

    reports.stop()
    write(storage / "part/msg/prt.json")

    assert set(threading.enumerate()) <= before
    assert reports.found == Changes()


def test_stop_before_start_is_harmless(storage: Path) -> None:
    """Nothing to end."""
    reports = Reports(storage)

    reports.watcher.stop()

    assert not reports.watcher.state.is_by_events

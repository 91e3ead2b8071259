"""Messages read by other processes: the same as those that the main process reads, whatever happens to these."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer import bulk_loader, reading, update
from indexer.exceptions import SourceUnusable
from indexer.exclusion import Exclusion, narrowed
from indexer.reading import FoundMessages, Ids, Place, ReadingProcesses, Versions, parse_copies, process_count
from indexer.sources import Source
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_v1 import SqliteV1
from tests import agreement
from tests.builders import project, session, user, write_json_tree
from tests.following import move_back, wait_for

MESSAGES = {f"msg_{number:03}": "ses_1" for number in range(30)}


@pytest.fixture
def tree(tmp_path: Path) -> JsonTree:
    """Write a tree of thirty messages, long enough ago that it looks the same whenever it is read."""
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), *map(user, MESSAGES)])
    for file in data_dir.rglob("*.json"):
        move_back(file)
    return JsonTree(data_dir)


def place(source_id: int = 1) -> Place:
    """Describe a storage that stands alone."""
    return Place(source_id, newer=(), is_beside_newer=False, held={})


def chunks(size: int = 10) -> Iterator[tuple[Ids, Versions]]:
    """Cut the messages into pieces, none of which the index has."""
    ids = list(MESSAGES)
    for start in range(0, len(ids), size):
        yield dict.fromkeys(ids[start : start + size], "ses_1"), {}


def read_here(source: Source) -> FoundMessages:
    """Read all messages in this process."""
    return parse_copies([(place(), documents) for documents in source.messages(MESSAGES, 1)], {})


def test_each_messages_of_a_tree_are_those_of_the_main_process(tree: JsonTree) -> None:
    """Rows survive the way from one process to the other, and chunks keep their order."""
    with ReadingProcesses([tree], [place()], 2) as processes:
        found = list(processes.each(chunks()))

    assert [list(ids) for ids, _ in found] == [list(ids) for ids, _ in chunks()]
    assert {key: copies for _, read in found for key, copies in (read or {}).items()} == read_here(tree)


def test_messages_slow_disk_is_read_by_several_threads_in_the_same_order(
    tree: JsonTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for one file after the other where a disk is slow, and nothing comes in another order."""
    at_once = tree.messages(MESSAGES, 1)
    readers, really_open = set(), os.open

    def slow(path: str, *arguments: int) -> int:
        """Let a disk take its time."""
        readers.add(threading.current_thread())
        time.sleep(0.01)
        return really_open(path, *arguments)

    monkeypatch.setattr(os, "open", slow)

    found = tree.messages(MESSAGES, 1)

    assert found == at_once
    assert [documents.message_id for documents in found] == list(MESSAGES)
    assert len(readers) > 1


def test_each_unusable_source_is_left_to_the_main_process(tmp_path: Path) -> None:
    """Only there it is recorded what is wrong."""
    source = SqliteV1(tmp_path, tmp_path / "opencode.db")

    with ReadingProcesses([source], [place()], 1) as processes:
        found = [read for _, read in processes.each(chunks())]

    assert found == [None, None, None]
    with pytest.raises(SourceUnusable):
        source.messages(MESSAGES, 1)


def test_each_killed_process_leaves_the_rest_to_the_main_process(
    tree: JsonTree, caplog: pytest.LogCaptureFixture
) -> None:
    """A system that is short of memory kills the process that it likes; nothing is lost."""
    with ReadingProcesses([tree], [place()], 1) as processes:
        coming = processes.each(chunks(size=2))
        first = next(coming)
        for pid in processes._pool._processes:
            os.kill(pid, signal.SIGKILL)
        rest = list(coming)

    assert first[1] is not None
    assert [list(ids) for ids, _ in [first, *rest]] == [list(ids) for ids, _ in chunks(size=2)]
    assert rest[-1][1] is None
    assert "ended" in caplog.text


PARENT = """
import sys
from pathlib import Path
from indexer.reading import Place, ReadingProcesses
from indexer.sources.json_tree import JsonTree

if __name__ == "__main__":
    ids = {f"msg_{number:03}": "ses_1" for number in range(30)}
    with ReadingProcesses([JsonTree(Path(sys.argv[1]))], [Place(1, (), False, {})], 1) as processes:
        found = list(processes.each([(ids, {})]))
        print(*processes._pool._processes, flush=True)
        sys.stdin.read()
"""


def test_each_killed_main_process_takes_the_others_with_it(tree: JsonTree, tmp_path: Path) -> None:
    """No process is left that waits for work for ever."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(script), str(tree.data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)

        parent.kill()

    wait_for(lambda: not is_alive(child), "the end of the reading process")


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not asked for is none."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("name", ["json", "migrated-after"])
def test_load_by_other_processes_gives_the_same_index(
    name: str,
    data_set: Callable[[str], Path],
    real_path: Callable[[str], Path],
    build_index: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real storages of every generation, as a pass reads them that is large enough for other processes."""
    counted = Mock(return_value=2)
    monkeypatch.setattr(update, "process_count", counted)
    monkeypatch.setattr(update, "MESSAGES_FOR_PROCESSES", 1)
    monkeypatch.setattr(bulk_loader, "_MANY_MESSAGES", 1)

    index = build_index(data_set(name))

    counted.assert_called()
    assert not agreement.differences(index, real_path(name))


@pytest.mark.parametrize(("processors", "count"), [(1, 0), (2, 1), (4, 3), (64, reading.MOST_PROCESSES)])
def test_process_count_processors_leaves_one_to_the_main_process(
    processors: int, count: int, tree: JsonTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with one processor nothing is read ahead by others."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)

    assert process_count([tree]) == count


def test_process_count_source_that_leaves_something_out_is_read_here(tree: JsonTree) -> None:
    """It learns from what it reads which sessions are left out, and another process would not hear of it."""
    exclusion = Exclusion(["somewhere"])

    assert process_count(narrowed([tree], exclusion)) == 0

"""`status` answers whatever is left of an index, and ends with what mends it."""

import shutil
import time

from indexer.checks import PROBLEM
from indexer.database import Database
from indexer.publish import Publisher
from indexer.status import report
from tests.indexer.test_checks import Lab, drop_all, say, spoil_published
from tests.indexer.test_checks import lab as lab  # a fixture, and the one it needs
from tests.indexer.test_checks import made as made


def test_report_index_in_order_names_every_value(lab: Lab) -> None:
    """Content, sources, and that nothing is wrong."""
    found = report(lab.index)

    told = dict(found.lines())
    assert told["content"] == "2 sessions, 3 messages, 2 parts"
    assert told["indexer"] == "none runs"
    assert told["problems"].startswith("none")
    assert found.as_json()["is_running"] is False
    assert found.as_json()["problems"] == []


def test_report_no_index_tells_how_to_make_one(lab: Lab) -> None:
    """Not only that there is none."""
    drop_all(lab)

    found = report(lab.index)

    told = dict(found.lines())
    assert told["index"].endswith("cannot be read")
    assert "python -m indexer bulk" in told["  mend it with"]
    assert found.status is None
    assert found.as_json()["path"] == str(lab.index)


def test_report_damaged_index_tells_what_mends_it(lab: Lab) -> None:
    """The working file is whole: any start publishes it anew."""
    spoil_published(lab)

    found = report(lab.index)

    told = dict(found.lines())
    assert told["problem"].startswith("index: ")
    assert told["  mend it with"].startswith("python -m indexer bulk")


def test_report_table_that_no_quick_check_reads_is_a_problem(lab: Lab) -> None:
    """The exit code says that the index cannot be read, so the text has to."""
    lab.execute("DROP TABLE parts")

    found = report(lab.index)

    assert found.status is None
    assert [(check.name, check.text[:21]) for check in found.checks if check.state == PROBLEM] == [
        ("rows", "The index is damaged:")
    ]


def test_report_running_indexer_shows_what_it_does(lab: Lab) -> None:
    """Queue, latency, what it watches and when it compares everything."""
    now_ms = time.time_ns() // 1_000_000
    with Database.open(lab.index) as database:
        Publisher(database).publish()
        say(
            lab,
            queue=3,
            waiting_since_ms=now_ms - 400,
            watched=({"path": "/data", "how": "polling", "reason": "too many folders"},),
            next_comparison_at_ms=now_ms + 60_000,
            last_comparison_ms=1_234,
        )

        found = report(lab.index)

    told = dict(found.lines())
    assert "real-time, 1.5 documents a second" in told["indexer"]
    assert told["queue"].startswith("3 documents wait, the oldest for ")
    assert told["latency"].startswith("120 ms")
    assert told["follows by polling"] == "/data (too many folders)"
    assert told["next comparison"].endswith("the last one took 1,234 ms")
    activity = found.as_json()["activity"]
    assert isinstance(activity, dict)
    assert activity["queue"] == 3


def test_report_running_command_without_a_heartbeat_names_its_process(lab: Lab) -> None:
    """A migration, say."""
    with Database.open(lab.index):
        told = dict(report(lab.index).lines())

    assert told["indexer"].startswith("process ")


def test_report_idle_indexer_has_nothing_waiting(lab: Lab) -> None:
    """Said in words."""
    with Database.open(lab.index):
        say(lab, latency_ms=None)

        told = dict(report(lab.index).lines())

    assert told["queue"] == "nothing waits"
    assert "latency" not in told


def test_report_data_folder_gone_says_so_after_the_next_pass(lab: Lab) -> None:
    """The reason of the last pass, and its rows stay."""
    shutil.rmtree(lab.data_dir)
    lab.load()

    found = report(lab.index)

    assert found.status is not None
    assert found.status.messages == 3
    assert any(check.name == "source" for check in found.checks)
    assert str(lab.data_dir) in dict(found.lines())["problem"]

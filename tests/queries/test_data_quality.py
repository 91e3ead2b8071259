"""How far the data of each version of the client can be trusted."""

from dataclasses import astuple

import pytest

from queries.data_quality import version_quality
from queries.period import Scope
from tests.builders import START_MS, Doc, assistant, damaged, part, session, step_finish, tokens, user
from tests.conftest import OpenIndex

ALL = Scope()
USAGE = tokens(100, 20, total=120)


def versioned(version: str, number: int) -> list[Doc]:
    """Make a session of a version, with one answer about which nothing is in doubt but its list price."""
    session_id, message_id = f"ses_{number}", f"msg_{number}2"
    return [
        session(session_id, version=version),
        user(f"msg_{number}1", session_id),
        assistant(message_id, session_id, created=START_MS + 1_000 * number, usage=USAGE),
        step_finish(f"prt_{number}1", USAGE, message_id, session_id),
    ]


def test_version_quality_versions_are_in_their_own_order(open_index: OpenIndex) -> None:
    """Newest first, by number and not by letter; sessions without a document, so without a version, last."""
    orphaned = assistant("msg_92", "ses_9", created=START_MS + 9_000, usage=USAGE)
    con = open_index(*versioned("1.2.9", 1), *versioned("1.10.0", 2), *versioned("1.2.27", 3), orphaned)

    found = version_quality(con, ALL)

    assert [row.client_version for row in found] == ["1.10.0", "1.2.27", "1.2.9", None]


def test_version_quality_each_doubt_is_counted(open_index: OpenIndex) -> None:
    """Four answers: a sound one, a contradicted cost, no usage, an unreadable part; none has a known price."""
    later = START_MS + 60_000
    con = open_index(
        *versioned("1.1.65", 1),
        assistant("msg_2a", "ses_1", usage=USAGE, cost=0.5, created=later),
        step_finish("prt_2", USAGE, "msg_2a", "ses_1", cost=0.25),
        assistant("msg_3a", "ses_1", usage=tokens(), cost=0, created=later),
        step_finish("prt_3", tokens(), "msg_3a", "ses_1", cost=0),
        assistant("msg_4a", "ses_1", usage=USAGE, created=later),
        damaged(part("prt_4", "text", "msg_4a", "ses_1"), b"{"),
    )

    (row,) = version_quality(con, ALL)

    assert astuple(row) == ("1.1.65", 1, 4, 2, 1, 3, 1, 3, 0)
    assert (row.agreeing_share, row.score) == (0.5, 0)


def test_version_quality_known_price_makes_it_good(open_index: OpenIndex) -> None:
    """All four hold: the score counts the message."""
    priced = [
        session(),
        user(),
        assistant(usage=USAGE, providerID="anthropic", modelID="claude-sonnet-4-5"),
        assistant("msg_3a", usage=USAGE, created=START_MS + 9_000),
    ]
    con = open_index(*priced)

    (row,) = version_quality(con, ALL)

    assert (row.messages, row.priced, row.good) == (2, 1, 1)
    assert row.score == pytest.approx(0.5)


def test_version_quality_answers_without_steps_cannot_be_compared(open_index: OpenIndex) -> None:
    """Nothing confirms their sums, so no share is known; nothing contradicts them, so they may be good."""
    answers = [
        assistant(f"msg_{number}a", usage=USAGE, cost=cost, providerID="anthropic", modelID="claude-sonnet-4-5")
        for number, cost in enumerate([0.25, None])
    ]
    con = open_index(session(), user(), *answers)

    (row,) = version_quality(con, ALL)

    assert (row.messages, row.comparable, row.agreeing, row.good) == (2, 0, 0, 2)
    assert row.agreeing_share is None


def test_version_quality_total_that_contradicts_needs_no_steps(open_index: OpenIndex) -> None:
    """The recorded total alone says that the counters are wrong."""
    con = open_index(session(), user(), assistant(usage=tokens(100, 20, total=500)))

    (row,) = version_quality(con, ALL)

    assert (row.comparable, row.agreeing, row.agreeing_share) == (1, 0, 0)


def test_version_quality_nothing_matches_is_empty(open_index: OpenIndex) -> None:
    """No version without a message."""
    con = open_index(*versioned("1.1.65", 1))

    assert version_quality(con, Scope(agents=("nobody",))) == []

"""What the index says about itself, and which names it knows."""

from dataclasses import replace

import pytest

from queries import health
from tests.builders import PROJECT, assistant, project, session, user
from tests.conftest import OpenIndex


def test_status_after_a_full_pass_is_whole(open_index: OpenIndex) -> None:
    """A finished index is neither partial nor empty."""
    found = health.status(open_index(session(), user(), assistant()))

    assert (found.sessions, found.messages, found.is_partial, found.is_empty, found.is_sample) == (
        1,
        2,
        False,
        False,
        False,
    )
    assert replace(found, sessions=0, messages=0).is_empty
    assert replace(found, last_full_pass_at=None).is_partial


def test_sources_each_storage_is_listed(open_index: OpenIndex) -> None:
    """Where the indexer looked, and what it found."""
    (found,) = health.sources(open_index(session(), assistant()))

    assert (found.kind, found.state, found.reason, found.sessions) == ("json_tree", "ok", None, 1)


def test_names_every_agent_model_and_project_is_listed(open_index: OpenIndex) -> None:
    """Names come from prompts and answers alike, the most frequent first."""
    found = health.names(
        open_index(
            project(worktree="/home/dev/shop"),
            session(),
            user(agent="plan"),
            assistant("msg_1"),
            assistant("msg_2", created=1_767_225_700_000, modelID="mini"),
        )
    )

    assert found.agents == ("build", "plan")
    assert found.models == ("acme/nova", "acme/mini")
    assert found.projects == (health.Project(PROJECT, "shop"),)


@pytest.mark.parametrize(("tz", "known"), [("Europe/Berlin", True), ("UTC", True), ("Mars/Olympus'--", False)])
def test_knows_zone_says_whether_days_can_be_cut(tz: str, known: bool, open_index: OpenIndex) -> None:
    """A browser may name a zone that nobody else knows."""
    assert health.knows_zone(open_index(session()), tz) is known

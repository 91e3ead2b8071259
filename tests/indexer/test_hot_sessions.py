"""What is remembered of a session gives the same rows as reading all of it again, whatever changes."""

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from indexer.changes import Changes
from indexer.exchanges import Message, Part
from indexer.hot_sessions import MOST_LISTINGS, Held, HotSessions, RowChanges, SessionState
from indexer.rows import EpochMs

ROLES = ("user", "assistant", "assistant", "idle", "compaction", "synthetic")
STEP_NUMBERS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
PART_TYPES = ("text", "step-start", "step-finish", "tool", "reasoning", "file", "subtask")


def message(rng: random.Random, number: int) -> Message:
    """Make a message of any kind."""
    role = rng.choice(ROLES)
    tokens = [rng.randrange(100) for _ in range(7)]
    return Message(
        message_id=f"msg_{number}",
        session_id="ses_1",
        role=role,
        user_message_id=f"msg_{rng.randrange(12)}" if rng.random() < 0.5 else None,
        seq=rng.choice([None, number]),
        agent=rng.choice([None, "build", "plan"]),
        provider_id=rng.choice([None, "anthropic"]),
        model_id=rng.choice([None, "claude"]),
        created_at=rng.choice([None, EpochMs(rng.randrange(20))]),
        completed_at=rng.choice([None, EpochMs(rng.randrange(20))]),
        finish=rng.choice([None, "stop"]),
        is_summary=role != "user" and rng.random() < 0.1,
        error_name=rng.choice([None, None, "APIError", "MessageAbortedError"]),
        error_category=rng.choice([None, "network"]),
        has_usage=role == "assistant",
        root_tokens=tokens[0],
        input_tokens=tokens[1],
        output_tokens=tokens[2],
        reasoning_tokens=tokens[3],
        cache_read_tokens=tokens[4],
        cache_write_tokens=tokens[5],
        reasoning_in_output_tokens=rng.choice([0, tokens[3]]),
        total_tokens=rng.choice([0, tokens[6]]),
        step_count=rng.choice([0, 1]),
        is_usage_missing=rng.random() < 0.2,
        cost_recorded_usd=rng.choice([None, Decimal(0), Decimal("0.125")]),
        cost_list_usd=rng.choice([None, Decimal("0.25")]),
        fork_key=rng.choice([None, number]),
        is_fork_copy=rng.random() < 0.2,
        generation=rng.choice([1, 2, 3]),
        recorded_until=None,
        deleted_at=rng.choice([None, None, EpochMs(30)]),
    )


def part(rng: random.Random, message_id: str, position: int) -> Part:
    """Make a part of any kind."""
    part_type = rng.choice(PART_TYPES)
    return Part(
        part_id=f"prt_{message_id}_{position}",
        message_id=message_id,
        session_id="ses_1",
        position=position,
        part_type=part_type,
        tool_name=rng.choice(["bash", "task"]) if part_type == "tool" else None,
        tool_status=rng.choice(["running", "completed"]) if part_type == "tool" else None,
        title=None,
        started_at=rng.choice([None, EpochMs(rng.randrange(20))]),
        ended_at=rng.choice([None, EpochMs(rng.randrange(20))]),
        child_session_id=None,
        error_category=rng.choice([None, "timeout"]),
        target=rng.choice([None, "git"]),
        output_bytes=rng.choice([None, 0, 40]) if part_type == "tool" else None,
        is_failed=rng.random() < 0.2,
        is_unfinished=rng.random() < 0.2,
        is_synthetic=rng.random() < 0.3,
        is_shell_notice=rng.random() < 0.1,
        is_orphan=rng.random() < 0.1,
        **dict.fromkeys(STEP_NUMBERS, rng.choice([1, 400, 900]) if part_type == "step-finish" else None),
        reasoning_tokens=None,
        reasoning_in_output_tokens=0 if part_type == "step-finish" else None,
        cost_recorded_usd=None,
        deleted_at=rng.choice([None, None, None, EpochMs(20)]),
    )


NOTHING = Held({}, {}, {}, {}, {}, {})


class Index:
    """The rows that an index would have of the session, brought up to date by differences."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.held = NOTHING

    def update(self, state: SessionState, changed: Sequence[str], *, is_read: bool = False) -> None:
        """Write what differs; remove first, as a key that is there already would be refused."""
        difference = state.derive(changed, self.held if is_read else None)
        self.held = Held(
            replaced(self.held.traces, difference.traces),
            replaced(self.held.exchanges, difference.exchanges),
            replaced(self.held.calls, difference.calls),
            replaced(self.held.failures, difference.failures),
            replaced(self.held.links, difference.links),
            {key: row for key, row in self.held.slices.items() if row.quarter_at not in difference.slices.stale}
            | {row.key: row for row in difference.slices.rows},
        )


def replaced(held: Mapping[str, Any], changes: RowChanges[Any]) -> dict[str, Any]:
    """Remove rows of a table by their key, which is their first column, and add others."""
    kept = {key: row for key, row in held.items() if key not in changes.stale}
    rows = {row[0]: row for row in changes.rows}
    assert not kept.keys() & rows.keys()
    return {**kept, **rows}


@pytest.mark.parametrize("seed", range(40))
def test_derive_any_row_of_changes_equals_reading_everything(seed: int) -> None:
    """Messages and parts come, change, lose parts and go; each time only the changed ones are handed over."""
    rng = random.Random(seed)
    state, index = SessionState("ses_1"), Index()
    messages: dict[str, Message] = {}
    parts: dict[str, list[Part]] = {}
    for step in range(25):
        changed = [f"msg_{number}" for number in rng.sample(range(12), rng.randrange(1, 4))]
        for message_id in changed:
            messages.pop(message_id, None)
            parts[message_id] = [part(rng, message_id, place) for place in range(rng.randrange(5))]
            if rng.random() < 0.8:
                messages[message_id] = message(rng, int(message_id.removeprefix("msg_")))
        state.replace(
            changed,
            [messages[message_id] for message_id in changed if message_id in messages],
            [found for message_id in changed for found in parts[message_id]],
        )

        index.update(state, changed, is_read=step == 0)

        fresh, expected = SessionState("ses_1"), Index()
        fresh.replace((), messages.values(), [found for owned in parts.values() for found in owned])
        expected.update(fresh, (), is_read=True)
        assert index.held == expected.held
        assert state.numbers() == fresh.numbers()
        assert state.rows == fresh.rows


def test_derive_one_new_message_writes_nothing_else() -> None:
    """The last exchange of a long session grows: the others are left alone."""
    rng = random.Random(1)
    state = SessionState("ses_1")
    messages = [
        message(rng, number)._replace(role="user", created_at=EpochMs(number), seq=None, generation=2)
        for number in range(50)
    ]
    state.replace((), messages, [part(rng, found.message_id, 0)._replace(is_orphan=False) for found in messages])
    state.derive((), NOTHING)
    state.replace(["msg_49"], messages[49:], [part(rng, "msg_49", 0)._replace(is_orphan=False, title="new")])

    difference = state.derive(["msg_49"])

    assert {row.exchange_id for row in difference.exchanges.rows} <= {"msg_49"}
    assert {row.exchange_id for row in difference.traces.rows} == {"msg_49"}
    assert "prt_msg_49_0" in difference.traces.stale


def test_keep_more_rows_than_wanted_forgets_the_oldest() -> None:
    """The memory is bounded; the session that changed last is always there."""
    rng, hot = random.Random(1), HotSessions(most_rows=5)
    states = [SessionState(f"ses_{number}") for number in range(3)]
    for state in states:
        state.replace((), [message(rng, number) for number in range(3)], ())

    hot.keep(states)

    assert [hot.take(f"ses_{number}") for number in range(3)] == [None, None, states[2]]


def test_take_listings_touched_session_returns_and_forgets_it() -> None:
    """The listings of other sessions stay."""
    hot = HotSessions()
    hot.listings = {(1, "ses_1"): {"msg_1": 7}, (1, "ses_2"): {}}

    taken = hot.take_listings(Changes(messages={"msg_9": None}, touched_sessions={"ses_1"}))

    assert taken == {(1, "ses_1"): {"msg_1": 7}}
    assert hot.listings == {(1, "ses_2"): {}}


def test_doubt_messages_looked_at_by_name_differ_from_every_stamp() -> None:
    """What was written may be gone when its session is listed next, what was gone may be back with the same stamp."""
    hot = HotSessions()
    hot.listings = {(1, "ses_1"): {"msg_1": 7, "msg_2": 8}, (2, "ses_1"): {}, (1, "ses_2"): {"msg_3": 9}}

    hot.doubt({"msg_1": "ses_1", "msg_4": "ses_1"}, {"msg_3"})

    assert hot.listings == {
        (1, "ses_1"): {"msg_1": None, "msg_2": 8, "msg_4": None},
        (2, "ses_1"): {"msg_1": None, "msg_4": None},
        (1, "ses_2"): {"msg_3": None},
    }


def test_take_listings_too_many_forgets_all() -> None:
    """The memory is bounded."""
    hot = HotSessions()
    hot.listings = {(1, f"ses_{number}"): {} for number in range(MOST_LISTINGS + 1)}

    assert hot.take_listings(Changes(touched_sessions={"ses_1"})) == {}
    assert hot.listings == {}

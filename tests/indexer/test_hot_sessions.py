"""What is remembered of a session gives the same rows as reading all of it again, whatever changes."""

import random
from collections.abc import Mapping
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

    def update(self, state: SessionState, *, is_read: bool = False) -> None:
        """Write what differs; remove first, as a key that is there already would be refused."""
        difference = state.derive(self.held if is_read else None)
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

        index.update(state, is_read=step == 0)

        fresh, expected = SessionState("ses_1"), Index()
        fresh.replace((), messages.values(), [found for owned in parts.values() for found in owned])
        expected.update(fresh, is_read=True)
        assert index.held == expected.held
        assert state.numbers() == fresh.numbers()
        assert state.rows == fresh.rows


class Conversation:
    """A session that mostly grows at its end, as OpenCode writes it; now and then something else happens."""

    def __init__(self, rng: random.Random) -> None:
        """Begin with nothing; a third of all sessions are numbered."""
        self.messages: dict[str, Message] = {}
        self.parts: dict[str, list[Part]] = {}
        self._rng, self._has_seq = rng, rng.random() < 0.3
        self._number = self._time = 0
        self._away: list[Message] = []
        self._awaited: str | None = None

    def change(self) -> set[str]:
        """Let something happen. Returns the messages that changed, or whose parts did."""
        rng = self._rng
        usual = (self._stream, self._stream, self._revise, self._ask, self._answer, self._answer)
        rare = (self._note, self._undo, self._remove, self._move, self._flag, self._send_away, self._return)
        odd = (self._answer_early, self._ask_late, self._orphan, self._adopt)
        return rng.choice(rng.choices((usual, rare, odd), (6, 1, 1))[0])()

    def _stream(self) -> set[str]:
        """The message that was written last goes on."""
        return self._rewrite(list(self.messages)[-1:])

    def _revise(self) -> set[str]:
        """Any message gets other values, or other parts."""
        return self._rewrite(self._some(1))

    def _rewrite(self, message_ids: list[str]) -> set[str]:
        """Their places stay."""
        for message_id in message_ids:
            old, new = self.messages[message_id], message(self._rng, 0)
            kept = ("message_id", "role", "user_message_id", "seq", "created_at", "generation", "has_usage", "fork_key")
            self.messages[message_id] = new._replace(**{name: getattr(old, name) for name in kept}, is_summary=False)
            parts = self.parts[message_id]
            if self._rng.random() < 0.5:
                parts.append(part(self._rng, message_id, len(parts)))
            elif parts:
                place = self._rng.randrange(len(parts))
                parts[place] = part(self._rng, message_id, place)
        return set(message_ids)

    def _ask(self, message_id: str | None = None) -> set[str]:
        """A prompt comes."""
        return self._append("user", message_id=message_id)

    def _answer(self) -> set[str]:
        """Numbered rows name no prompt."""
        prompts = [found.message_id for found in self.messages.values() if found.role == "user"][-2:]
        return self._append("assistant", None if self._has_seq or not prompts else self._rng.choice(prompts))

    def _note(self) -> set[str]:
        """A row comes that is neither prompt nor answer."""
        return self._append(self._rng.choice(["idle", "compaction", "synthetic", "shell"]))

    def _append(self, role: str, named: str | None = None, message_id: str | None = None) -> set[str]:
        """A message comes, at times in the same moment as the one before or without a time."""
        rng = self._rng
        self._number += 1
        self._time += rng.choice([0, 1, 60_000, 900_000])
        new = message(rng, self._number)
        new = new._replace(
            message_id=message_id or new.message_id,
            role=role,
            user_message_id=named,
            seq=self._number if self._has_seq else None,
            created_at=None if rng.random() < 0.05 else EpochMs(self._time),
            has_usage=role == "assistant",
            is_summary=role == "assistant" and rng.random() < 0.1,
            generation=3 if self._has_seq else 2,
        )
        self.messages[new.message_id] = new
        self.parts[new.message_id] = [part(rng, new.message_id, place) for place in range(rng.randrange(4))]
        return {new.message_id}

    def _undo(self) -> set[str]:
        """The last messages go, at times with something new in the same moment."""
        gone = list(self.messages)[-self._rng.randrange(1, 4) :]
        return self._drop(gone) | (self._ask() if self._rng.random() < 0.3 else set())

    def _remove(self) -> set[str]:
        """Any message goes."""
        return self._drop(self._some(1))

    def _send_away(self) -> set[str]:
        """A message moves to another session."""
        gone = self._some(1)
        self._away += [self.messages[message_id] for message_id in gone]
        return self._drop(gone)

    def _return(self) -> set[str]:
        """What moved away comes back."""
        back = {found.message_id: found for found in self._away}
        self.messages |= back
        self.parts |= {message_id: [part(self._rng, message_id, 0)] for message_id in back}
        self._away.clear()
        return set(back)

    def _drop(self, message_ids: list[str]) -> set[str]:
        """Messages go with their parts."""
        for message_id in message_ids:
            del self.messages[message_id], self.parts[message_id]
        return set(message_ids)

    def _move(self) -> set[str]:
        """A message gets another time, or another prompt."""
        for message_id in (moved := self._some(1)):
            found = self.messages[message_id]
            at = EpochMs(self._rng.randrange(self._time + 1))
            change = {"created_at": at} if self._rng.random() < 0.5 else {"user_message_id": self._some(1)[0]}
            self.messages[message_id] = found._replace(**change)
        return set(moved)

    def _flag(self) -> set[str]:
        """Messages turn out to be copies that a fork made."""
        for message_id in (flagged := self._some(3)):
            found = self.messages[message_id]
            self.messages[message_id] = found._replace(is_fork_copy=not found.is_fork_copy)
        return set(flagged)

    def _answer_early(self) -> set[str]:
        """An answer is there before the prompt that it names."""
        self._awaited = f"msg_late_{self._number}"
        return self._append("assistant", self._awaited)

    def _ask_late(self) -> set[str]:
        """That prompt comes, after its answer."""
        prompt, self._awaited = self._awaited, None
        return self._ask(prompt)

    def _orphan(self) -> set[str]:
        """Parts come before their message."""
        self.parts[f"msg_{self._number + 1}"] = [part(self._rng, f"msg_{self._number + 1}", 0)]
        return {f"msg_{self._number + 1}"}

    def _adopt(self) -> set[str]:
        """The next prompt may be that message, and have an answer at once."""
        return self._ask() | self._answer()

    def _some(self, most: int) -> list[str]:
        """Choose messages, none if there are none."""
        return self._rng.sample(list(self.messages), min(most, len(self.messages)))


@pytest.mark.parametrize("seed", range(12))
def test_derive_conversation_equals_reading_everything(seed: int) -> None:
    """Whatever happens to a session while it grows."""
    conversation = Conversation(random.Random(seed))
    state, index = SessionState("ses_1"), Index()
    state.derive(NOTHING)
    for _ in range(40):
        changed = conversation.change()
        messages, parts = conversation.messages, conversation.parts
        state.replace(
            changed,
            [messages[message_id] for message_id in changed if message_id in messages],
            [found for message_id in changed for found in parts.get(message_id, ())],
        )

        index.update(state)

        fresh, expected = SessionState("ses_1"), Index()
        fresh.replace((), messages.values(), [found for owned in parts.values() for found in owned])
        expected.update(fresh, is_read=True)
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
    state.derive(NOTHING)
    state.replace(["msg_49"], messages[49:], [part(rng, "msg_49", 0)._replace(is_orphan=False, title="new")])

    difference = state.derive()

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

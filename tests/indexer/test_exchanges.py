"""Which messages can change without others being ordered anew."""

from typing import Any

import pytest

from indexer.exchanges import Message, Order
from indexer.rows import EpochMs


def message(message_id: str, role: str, at: int | None, named: str | None = None, **changes: Any) -> Message:
    """Make a message of which nothing else is known."""
    values: dict[str, Any] = dict.fromkeys(Message._fields)
    values |= {"message_id": message_id, "session_id": "ses_1", "role": role, "created_at": at}
    return Message(**(values | {"user_message_id": named} | changes))


PROMPT, ANSWER = message("msg_1", "user", 10), message("msg_2", "assistant", 20, "msg_1")
EARLY = message("msg_3", "assistant", 30, "msg_9")


def test_update_messages_that_stay_or_come_last_returns_their_places() -> None:
    """An answer that goes on, the next prompt and its answer: in any order."""
    order = Order([EARLY, ANSWER, PROMPT])
    longer = ANSWER._replace(completed_at=EpochMs(25), output_tokens=7)
    prompt, answer = message("msg_4", "user", 30), message("msg_5", "assistant", 40, "msg_4")

    places = order.update([(None, answer), (ANSWER, longer), (None, prompt), (None, None)])

    assert places == [1, 3, 4]
    assert order.messages == [
        *((PROMPT, "msg_1"), (longer, "msg_1"), (EARLY, "msg_1")),
        *((prompt, "msg_4"), (answer, "msg_4")),
    ]
    assert order.members == Order([PROMPT, longer, EARLY, prompt, answer]).members


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(ANSWER, None, id="gone"),
        pytest.param(ANSWER, ANSWER._replace(created_at=EpochMs(5)), id="another time"),
        pytest.param(ANSWER, ANSWER._replace(user_message_id="msg_9"), id="another prompt"),
        pytest.param(ANSWER, ANSWER._replace(role="compaction"), id="another role"),
        pytest.param(ANSWER, ANSWER._replace(seq=1), id="a number"),
        pytest.param(None, message("msg_4", "assistant", 25, "msg_1"), id="in between"),
        pytest.param(None, message("msg_0", "assistant", 30, "msg_1"), id="equal time and smaller id"),
        pytest.param(None, message("msg_9", "user", 40), id="prompt of an answer that was there before"),
    ],
)
def test_update_message_that_may_move_others_returns_none(before: Message | None, after: Message | None) -> None:
    """Then all messages are ordered anew."""
    assert Order([PROMPT, ANSWER, EARLY]).update([(before, after)]) is None


@pytest.mark.parametrize(
    ("first", "new"),
    [
        pytest.param([], PROMPT, id="no message"),
        pytest.param([message("msg_1", "synthetic", 10)], message("msg_2", "user", 20), id="no prompt"),
        pytest.param([PROMPT._replace(seq=1)], ANSWER, id="first one without a number"),
    ],
)
def test_update_first_of_its_kind_returns_none(first: list[Message], new: Message) -> None:
    """What comes before the first prompt belongs to it; numbers order a session where all messages have one."""
    assert Order(first).update([(None, new)]) is None

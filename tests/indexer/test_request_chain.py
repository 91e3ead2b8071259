"""How requests follow each other: pure, over the messages and parts of one session."""

from typing import Any

import pytest

from indexer.exchanges import Message, Part
from indexer.request_chain import SMALLEST_PREFIX, Chained, Standing, chained
from indexer.rows import EpochMs
from queries import request_chain as shown

USAGE = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")


def message(number: int = 1, sent: int = 0, read: int = 0, written: int = 0, **changes: Any) -> Message:
    """Make an answer without steps that sent so many tokens and answered with ten."""
    values: dict[str, Any] = dict.fromkeys(Message._fields)
    values |= {"message_id": f"msg_{number}", "session_id": "ses_1", "role": "assistant", "has_usage": True}
    values |= dict(zip(USAGE, (sent, read, written, 10), strict=True))
    values |= {"reasoning_in_output_tokens": 0, "step_count": 0, "is_summary": False}
    return Message(**(values | changes))


def step(part_id: str, sent: int | None, **changes: Any) -> Part:
    """Make the end of a step."""
    return _part(part_id, "step-finish", **dict.fromkeys(USAGE, 0) | {"input_tokens": sent} | changes)


def call(part_id: str, output_bytes: int = 100, **changes: Any) -> Part:
    """Make a call of a tool."""
    return _part(part_id, "tool", output_bytes=output_bytes, **changes)


def _part(part_id: str, part_type: str, **changes: Any) -> Part:
    """Make a part."""
    values: dict[str, Any] = dict.fromkeys(Part._fields)
    values |= {"part_id": part_id, "message_id": "msg_1", "session_id": "ses_1", "part_type": part_type}
    values |= {"is_orphan": False, "reasoning_in_output_tokens": 0}
    return Part(**(values | changes))


def follow(*messages: tuple[Message, list[Part]]) -> list[Chained]:
    """Follow a session from its start."""
    found: list[Chained] = []
    for each, parts in messages:
        found.append(chained(each, parts, found[-1].after if found else Standing()))
    return found


def test_chained_next_request_names_the_one_before() -> None:
    """And what it sends more, its own answer left out, came from the calls in between."""
    first, second = follow((message(1, sent=1_000), [call("prt_1", 300)]), (message(2, read=1_000, sent=110), []))

    assert [(link.number, link.prior_id) for link in (*first.links, *second.links)] == [(1, None), (2, "msg_1")]
    assert first.enters_at == {"prt_1": 2}
    assert (second.links[0].entered_bytes, second.links[0].entered_tokens, second.after.held_tokens) == (300, 100, 100)


def test_chained_call_between_steps_is_sent_by_the_second() -> None:
    """Old clients keep several requests in one message."""
    parts = [step("prt_2", 100), call("prt_1", 30), step("prt_4", 130), call("prt_3", 70), call("prt_5", 1)]

    (found,) = follow((message(step_count=2), parts))

    assert [link.request_id for link in found.links] == ["prt_2", "prt_4"]
    assert found.enters_at == {"prt_1": 2, "prt_3": 3, "prt_5": 3}
    assert [link.entered_bytes for link in found.links] == [0, 30]
    assert found.after.waiting_bytes == 71


@pytest.mark.parametrize(
    ("prefix", "read", "is_collapsed"),
    [
        (SMALLEST_PREFIX, SMALLEST_PREFIX // 2 - 1, True),
        (SMALLEST_PREFIX, SMALLEST_PREFIX // 2, False),
        (SMALLEST_PREFIX - 1, 0, False),
    ],
)
def test_chained_collapse_reads_less_than_half_of_a_prefix(prefix: int, read: int, is_collapsed: bool) -> None:
    """Of one that providers cache at all."""
    _, second = follow((message(1, written=prefix), []), (message(2, read=read, sent=5_000), []))

    assert (second.links[0].is_collapsed, second.links[0].stretch) == (is_collapsed, int(is_collapsed))


def test_chained_summary_between_requests_begins_a_stretch() -> None:
    """Also where the summary itself tells no usage; what was held is gone."""
    summary = message(3, is_summary=True, has_usage=False)
    found = follow(
        (message(1, sent=100), [call("prt_1", 1_000)]),
        (message(2, read=100, sent=400), []),
        (summary, []),
        (message(4, sent=50), []),
    )

    assert (found[1].after.held_tokens, found[3].after.held_tokens) == (390, 0)
    assert (found[3].links[0].is_compacted, found[3].links[0].stretch, found[3].links[0].prior_id) == (True, 1, "msg_2")


@pytest.mark.parametrize(
    "left_out",
    [
        call("prt_9", is_orphan=True),
        call("prt_9", deleted_at=EpochMs(1)),
        call("prt_9", output_bytes=0),
        _part("prt_9", "text", output_bytes=5),
    ],
    ids=["without a trace", "of a rewritten message", "no output", "no call"],
)
def test_chained_what_nobody_sends_again_has_no_place(left_out: Part) -> None:
    """It takes none of what the next request sends."""
    (found,) = follow((message(1, sent=100), [left_out]))

    assert (found.enters_at, found.after.waiting_bytes) == ({}, 0)


@pytest.mark.parametrize("sent", [None, 0], ids=["not known", "nothing"])
def test_chained_request_that_sent_nothing_known_is_passed_over(sent: int | None) -> None:
    """As if it had not been; what its calls brought waits for the next one."""
    first, second = follow((message(1, step_count=1), [call("prt_0"), step("prt_1", sent)]), (message(2, sent=10), []))

    assert first.links == ()
    assert (second.links[0].number, second.links[0].prior_id, second.links[0].entered_bytes) == (1, None, 100)


def test_smallest_prefix_is_the_one_that_the_page_names() -> None:
    """Two layers that may not import each other."""
    assert shown.SMALLEST_PREFIX == SMALLEST_PREFIX

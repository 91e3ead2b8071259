"""Context rent: what re-reading tool outputs cost, and that nothing is charged twice."""

import random
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from queries.context_rent import ContextRent, context_rent, step_rents
from queries.period import Period, Scope
from tests.builders import START_MS, Doc, copied, session, step_finish, tokens, user
from tests.conftest import OpenIndex
from tests.priced import output, prices, request

ALL = Scope()
MILLIONTH = Decimal("1e-6")
EXACT = Decimal("1e-9")

__all__ = ["prices"]
pytestmark = pytest.mark.usefixtures("prices")

# The context grows by 100 tokens of the answer and 4,000 of two outputs, which are read again twice.
GROWING: tuple[Doc, ...] = (
    session(),
    user(),
    request(1, write=10_000, output=100),
    output("prt_1", 4_000, 1),
    output("prt_2", 12_000, 1, "read"),
    request(2, read=10_000, write=4_100),
    request(3, read=14_100, write=500),
    request(4, read=14_600),
)


def by_output(found: ContextRent) -> dict[str, tuple[int, int, float | None]]:
    """Return tokens, re-reads and rent in millionths of each output."""
    return {
        row.part_id: (
            row.estimated_tokens,
            row.reads,
            None if row.estimated_rent_list_usd is None else float(row.estimated_rent_list_usd / MILLIONTH),
        )
        for row in found.outputs
    }


def test_context_rent_growth_is_shared_by_bytes_and_paid_by_later_requests(open_index: OpenIndex) -> None:
    """The request that first sends an output pays no rent."""
    con = open_index(*GROWING)

    found = context_rent(con, ALL)

    assert by_output(found) == {"prt_2": (3_000, 2, 6_000), "prt_1": (1_000, 2, 2_000)}
    assert [(row.tool_name, row.outputs, row.reads) for row in found.tools] == [("read", 1, 2), ("bash", 1, 2)]
    assert (found.totals.cache_read_tokens, found.totals.estimated_rent_tokens) == (38_700, 8_000)
    assert found.totals.remainder_list_usd == 30_700 * MILLIONTH


def test_context_rent_short_output_is_not_charged_with_a_prompt(open_index: OpenIndex) -> None:
    """At most a token for two bytes: the rest of the growth came with something else."""
    con = open_index(
        *(session(), user(), request(1, write=9_000)),
        output("prt_1", 100, 1),
        request(2, read=9_000, write=90_000),
        request(3, read=99_000),
    )

    assert by_output(context_rent(con, ALL)) == {"prt_1": (50, 1, 50)}


@pytest.mark.parametrize(
    "end", [request(4, write=14_600), request(4, read=14_600, summary=True)], ids=["collapse", "compaction"]
)
def test_context_rent_ends_where_the_cache_does(end: Doc, open_index: OpenIndex) -> None:
    """Neither that request nor a later one pays."""
    con = open_index(*GROWING[:-1], end, request(5, read=14_600))

    assert by_output(context_rent(con, ALL)) == {"prt_2": (3_000, 1, 3_000), "prt_1": (1_000, 1, 1_000)}


def test_context_rent_partial_read_is_charged_in_part(open_index: OpenIndex) -> None:
    """Nobody pays for more than was read from the cache."""
    con = open_index(
        *(session(), user()),
        request(1, write=2_000),
        output("prt_1", 16_000, 1),
        request(2, read=2_000, write=6_000),
        request(3, read=4_500, input=3_500),
    )

    found = context_rent(con, ALL)

    assert by_output(found) == {"prt_1": (6_000, 1, 4_500)}
    assert found.totals.remainder_list_usd == 2_000 * MILLIONTH  # of the request before, which held no output yet


def test_context_rent_unpriced_reads_are_unknown(open_index: OpenIndex) -> None:
    """The output is listed, without an amount."""
    con = open_index(
        *(session(), user()),
        request(1, write=2_000, modelID="gremlin"),
        output("prt_1", 4_000, 1),
        request(2, read=2_000, write=1_000, modelID="gremlin"),
        request(3, read=3_000, modelID="gremlin"),
    )

    found = context_rent(con, ALL)

    assert by_output(found) == {"prt_1": (1_000, 1, None)}
    assert (found.totals.estimated_rent_list_usd, found.totals.remainder_list_usd, found.totals.unpriced_tokens) == (
        *(None, None),
        5_000,
    )


def test_context_rent_call_belongs_to_the_step_that_made_it(open_index: OpenIndex) -> None:
    """Of several requests in one message, the next one that ends: the second call is sent by the next message first."""
    con = open_index(
        *(session(), user(), request(1)),
        output("prt_1", 4_000, 1),
        step_finish("prt_2", tokens(cache_write=2_000), "msg_001"),
        output("prt_3", 8_000, 1),
        step_finish("prt_4", tokens(cache_read=2_000, cache_write=1_000), "msg_001"),
        request(2, read=3_000, write=2_000),
        request(3, read=5_000),
    )

    assert by_output(context_rent(con, ALL)) == {"prt_1": (1_000, 2, 2_000), "prt_3": (2_000, 1, 2_000)}


def test_context_rent_call_of_an_aborted_answer_is_sent_by_the_next(open_index: OpenIndex) -> None:
    """Its own usage is not known, but its output was in the context."""
    con = open_index(
        *(session(), user(), request(1, write=2_000), request(2)),
        output("prt_1", 4_000, 2),
        request(3, read=2_000, write=1_000),
        request(4, read=3_000),
    )

    assert by_output(context_rent(con, ALL)) == {"prt_1": (1_000, 1, 1_000)}


def test_context_rent_fork_pays_for_what_it_reads_itself(open_index: OpenIndex) -> None:
    """What the copied requests read was paid in the first session."""
    con = open_index(
        *GROWING,
        session("ses_2", created=START_MS + 10 * 60_000),
        *copied(GROWING[1:], "ses_2", "c"),
        request(11, read=14_600, session_id="ses_2"),
    )

    found = {row.part_id: (row.session_id, row.estimated_tokens, row.reads) for row in context_rent(con, ALL).outputs}

    assert found == {
        "prt_1": ("ses_1", 1_000, 2),
        "prt_2": ("ses_1", 3_000, 2),
        "prt_1c": ("ses_2", 1_000, 1),
        "prt_2c": ("ses_2", 3_000, 1),
    }


def test_context_rent_period_counts_the_reads_in_it(open_index: OpenIndex) -> None:
    """Whenever the call was."""
    con = open_index(*GROWING[:-1], request(4, minute=60, read=14_600))

    found = context_rent(con, Scope(period=Period(datetime(2026, 1, 1, 1), None)))

    assert by_output(found) == {"prt_2": (3_000, 1, 3_000), "prt_1": (1_000, 1, 1_000)}
    assert found.totals.cache_read_tokens == 14_600


def test_context_rent_nothing_matches_is_empty(open_index: OpenIndex) -> None:
    """No rows, no amounts."""
    con = open_index(*GROWING)

    found = context_rent(con, Scope(agents=("no such agent",)))

    assert (found.tools, found.outputs, found.totals.requests, found.totals.estimated_rent_list_usd) == (
        [],
        [],
        0,
        None,
    )


QUARTER_MINUTES = 15
STEPS = 12


@pytest.mark.parametrize("seed", range(6))
def test_context_rent_of_each_step_adds_up_to_its_cache_reads(seed: int, open_index: OpenIndex) -> None:
    """Whatever a session did: rents and the remainder are what the step paid for cache reads, nobody less than 0."""
    con = open_index(session(), user(), *_any_session(random.Random(seed)))
    rents: dict[str, Decimal] = {}
    steps = {step.request_id: step for step in step_rents(con, ALL)}

    for number in range(STEPS):
        found = context_rent(con, _quarter(number))
        paid = [row.estimated_rent_list_usd or Decimal() for row in found.outputs]
        remainder, cost = found.totals.remainder_list_usd, found.totals.cache_read_list_usd
        step = steps.get(f"msg_{number:03}")  # none where nothing was read
        assert (remainder, cost) == ((step.remainder_list_usd, step.cache_read_list_usd) if step else (0, 0))
        assert remainder is not None and cost is not None
        assert remainder >= 0 and all(rent >= 0 for rent in paid)
        assert abs(sum(paid) + remainder - cost) < EXACT
        assert cost == found.totals.cache_read_tokens * MILLIONTH
        for row in found.outputs:
            rents[row.part_id] = rents.get(row.part_id, Decimal()) + (row.estimated_rent_list_usd or 0)

    whole = context_rent(con, ALL)
    assert whole.outputs
    assert all(
        abs((row.estimated_rent_list_usd or Decimal()) - rents.pop(row.part_id)) < EXACT for row in whole.outputs
    )
    assert not rents
    tools = sum((row.estimated_rent_list_usd or Decimal() for row in whole.tools), Decimal())
    assert abs(tools - (whole.totals.estimated_rent_list_usd or Decimal())) < EXACT


def _any_session(rng: random.Random) -> list[Doc]:
    """Make a session of a request each quarter of an hour, with calls, partial reads, collapses and compactions."""
    docs, context, cached = [], 3_000, 0
    for step in range(STEPS):
        read = round(cached * rng.choice((1, 1, 1, 0.9, 0.6, 0.2, 0)))
        answer = rng.randrange(400)
        docs.append(
            request(
                step,
                minute=step * QUARTER_MINUTES + 1,
                read=read,
                write=context - read,
                output=answer,
                summary=rng.random() < 0.1,
            )
        )
        sizes = [rng.randrange(1, 20_000) for _ in range(rng.randrange(4))]
        docs += [output(f"prt_{step:02}{place}", size, step) for place, size in enumerate(sizes)]
        cached = context
        context += answer + sum(sizes) // 4 + rng.choice((0, 0, 5_000, -1_000))
    return docs


def _quarter(step: int) -> Scope:
    """Look at one quarter of an hour."""
    start = datetime(1970, 1, 1) + timedelta(milliseconds=START_MS, minutes=step * QUARTER_MINUTES)
    return Scope(period=Period(start, start + timedelta(minutes=QUARTER_MINUTES)))

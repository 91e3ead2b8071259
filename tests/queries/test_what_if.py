"""The same requests on other models."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from indexer.published import IndexReader
from queries.costs import cost_rows, cost_totals
from queries.period import Scope
from queries.what_if import Alternative, ListPrice, alternatives
from tests.builders import START_MS, Json, assistant, copied, session, step_finish, user, write_json_tree
from tests.conftest import BuildIndex, OpenIndex

MILLION = Decimal(1_000_000)
DAY = datetime(2026, 1, 2)


def price(model: str = "x/y", rate: str = "1", **fields: object) -> ListPrice:
    """Make a price: USD a million tokens, the same for all kinds."""
    each = Decimal(rate) / MILLION
    open_ends = dict.fromkeys(("from_at", "until_at", "from_minute", "until_minute", "over_tokens", "upto_tokens"))
    return ListPrice(model, **{**open_ends, **fields}, **dict.fromkeys(_RATES, each), request_usd=Decimal())  # type: ignore[arg-type]


_RATES = ("input_usd", "output_usd", "reasoning_usd", "cache_read_usd", "cache_write_usd")


def usage(sent: int = 1_000, output: int = 500, reasoning: int = 0, cached: int = 0) -> Json:
    """Describe a request whose output does not contain its reasoning."""
    total = sent + output + reasoning + cached
    cache = {"read": cached, "write": 0}
    return {"total": total, "input": sent, "output": output, "reasoning": reasoning, "cache": cache}


def test_alternatives_price_each_request_by_its_time_and_size(open_index: OpenIndex) -> None:
    """A long request costs the long price, a later one the newer price."""
    con = open_index(
        session(),
        user(),
        assistant(usage=usage(3_000, 0)),
        assistant("msg_3a", created=START_MS + 86_400_000, completed=None, usage=usage(1_000, 0)),
    )
    prices = [
        price(until_at=DAY, upto_tokens=2_000),
        price(rate="10", until_at=DAY, over_tokens=2_000),
        price(rate="100", from_at=DAY),
    ]

    found = alternatives(con, ["x/y"], prices, Scope())

    assert found == [Alternative("x/y", Decimal("0.03") + Decimal("0.1"), 2, 0)]


def test_alternatives_of_filtered_models_are_of_their_requests(open_index: OpenIndex) -> None:
    """The models of the filter say which requests; the others, what they are priced as."""
    con = open_index(
        session(),
        user(),
        assistant(usage=usage(3_000, 0)),
        assistant("msg_3a", created=START_MS + 9_000, completed=None, usage=usage(1_000, 0), modelID="other"),
    )

    found = alternatives(con, ["x/y", "acme/other"], [price(), price("acme/other", "2")], Scope(models=("acme/nova",)))

    assert found == [Alternative("x/y", Decimal("0.003"), 1, 0), Alternative("acme/other", Decimal("0.006"), 1, 0)]


def test_alternatives_undone_answer_of_the_json_tree_counts(tmp_path: Path, build_index: BuildIndex) -> None:
    """It was asked, and paid for: its steps lie there still, without their message."""
    docs = [session(), user(), assistant(usage=usage()), step_finish("prt_1", usage(1_000, 0))]
    data = write_json_tree(tmp_path / "opencode", docs)
    build_index(data)
    (data / "storage" / "message" / "ses_1" / "msg_2a.json").unlink()
    reader = IndexReader(build_index(data))

    found = alternatives(reader.connection(), ["x/y"], [price()], Scope())

    assert found == [Alternative("x/y", Decimal("0.001"), 1, 0)]
    reader.close()


def test_alternatives_what_used_no_tokens_costs_nothing(open_index: OpenIndex) -> None:
    """As on its own model, also where each request has a price."""
    con = open_index(session(), user(), assistant(usage=usage(0, 0), cost=0))

    found = alternatives(con, ["x/y"], [replace(price(), request_usd=Decimal(1))], Scope())

    assert found == [Alternative("x/y", None, 0, 0)]


def test_alternatives_without_a_price_at_the_time_are_counted_apart(open_index: OpenIndex) -> None:
    """Never priced as 0."""
    con = open_index(session(), user(), assistant(usage=usage()))

    found = alternatives(con, ["new/model", "x/y"], [price("new/model", from_at=DAY), price()], Scope())

    assert found == [Alternative("x/y", Decimal("0.0015"), 1, 0), Alternative("new/model", None, 1, 1)]


def test_alternatives_of_no_known_price_count_the_requests(open_index: OpenIndex) -> None:
    """All of them are without a price; there are not none."""
    con = open_index(session(), user(), assistant(usage=usage()))

    assert alternatives(con, ["a/b"], [], Scope()) == [Alternative("a/b", None, 1, 1)]
    assert alternatives(con, [], [], Scope()) == []


def test_alternatives_steps_are_requests_and_copies_are_none(open_index: OpenIndex) -> None:
    """Each step by its own size; what a fork copied was asked once."""
    docs = [
        user(),
        assistant(usage=usage()),
        step_finish("prt_1", usage(900, 0)),
        step_finish("prt_2", usage(1_100, 0)),
    ]
    con = open_index(session(), *docs, session("ses_2", created=START_MS + 9), *copied(docs, "ses_2", "x"))

    found = alternatives(con, ["x/y"], [price(upto_tokens=1_000), price(rate="10", over_tokens=1_000)], Scope())

    assert found == [Alternative("x/y", Decimal("0.0009") + Decimal("0.011"), 2, 0)]


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_alternatives_at_their_own_price_are_the_list_price(name: str, priced_path: Callable[[str], Path]) -> None:
    """The requests of one model on that very model cost what they cost."""
    con = IndexReader(priced_path(name)).connection()
    scope = Scope(models=("borealis/polar-opus",))
    columns = "from_at, until_at, from_minute, until_minute, over_tokens, upto_tokens, input_usd, output_usd"
    rows = con.execute(
        f"SELECT {columns}, reasoning_usd, cache_read_usd, cache_write_usd, request_usd FROM prices "
        "WHERE model_id = 'polar-opus'"
    ).fetchall()

    (model,) = scope.models
    found = alternatives(con, scope.models, [ListPrice(model, *row) for row in rows], scope)

    assert [each.cost_list_usd for each in found] == [cost_totals(con, scope).cost_list_usd]
    assert found[0].cost_list_usd == cost_rows(con, "model", scope)[0].cost_list_usd

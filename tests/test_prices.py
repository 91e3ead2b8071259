"""List prices: what SQL makes of the table `prices` is what `genai-prices` itself would charge."""

import json
import random
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from genai_prices import Usage, calc_price
from genai_prices.types import StartDateConstraint, TieredPrices, TimeOfDateConstraint

from indexer import bulk_loader, price_changes, price_sources, settings
from indexer.database import Database
from indexer.price_sources import Price, PriceSources, genai_prices
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.builders import (
    START_MS,
    Doc,
    Json,
    assistant,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_sqlite,
)
from tests.conftest import DATA_SETS, BuildIndex, OpenIndex, expected

SEEDED = 1_000
# OpenCode's provider, the price list's, and a model: tiers, price changes, hours of the day, reasoning apart.
PRICED = [
    ("anthropic", "anthropic", "claude-sonnet-4-5"),
    ("anthropic", "anthropic", "claude-opus-4-1"),
    ("openai", "openai", "gpt-5"),
    ("openai", "openai", "o3"),
    ("google", "google", "gemini-2.5-pro"),
    ("google", "google", "gemini-2.5-flash"),
    ("deepseek", "deepseek", "deepseek-chat"),
    ("deepseek", "deepseek", "deepseek-reasoner"),
    ("amazon-bedrock", "aws", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("xai", "x-ai", "grok-4"),
    ("perplexity", "perplexity", "sonar"),
    ("openrouter", "openrouter", "anthropic/claude-sonnet-4.5"),
]


def list_costs(con: duckdb.DuckDBPyConnection) -> dict[str, Decimal | None]:
    """Return the list price of every message with usage."""
    return dict(con.execute("SELECT message_id, cost_list_usd FROM messages WHERE has_usage").fetchall())


def requests_of(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int]]:
    """Return id, message and input of every request."""
    return con.execute("SELECT request_id, message_id, input_tokens FROM requests ORDER BY ALL").fetchall()


def usage_of(sent: int, cache_read: int, cache_write: int, output: int, reasoning: int, *, included: bool) -> Json:
    """Describe one request as OpenCode records it; `sent` holds the cached tokens."""
    plain = sent - cache_read - cache_write
    recorded = output if included else output - reasoning
    total = plain + recorded + cache_read + cache_write + (0 if included else reasoning)
    return {
        "total": total,
        "input": plain,
        "output": recorded,
        "reasoning": reasoning,
        "cache": {"read": cache_read, "write": cache_write},
    }


def edges_of(provider: str, model_id: str) -> tuple[list[int], list[datetime]]:
    """Return the tokens at which tiers of a model begin, and the moments at which its prices change."""
    found = price_sources._genai_model((provider, model_id))
    assert found is not None, (provider, model_id)
    each = [found.prices] if not isinstance(found.prices, list) else [entry.prices for entry in found.prices]
    tiers = {
        tier.start
        for entry in each
        for value in vars(entry).values()
        if isinstance(value, TieredPrices)
        for tier in value.tiers
    }
    moments = []
    for entry in found.prices if isinstance(found.prices, list) else []:
        match entry.constraint:
            case StartDateConstraint(start_date=day):
                moments.append(datetime(day.year, day.month, day.day))
            case TimeOfDateConstraint(start_time=start, end_time=end):
                moments += [datetime.combine(date(2025, 6, 1), at.replace(tzinfo=None)) for at in (start, end)]
    return sorted(tiers), moments


@pytest.fixture
def seeded() -> list[tuple[str, Doc, Decimal]]:
    """Make requests around everything that changes a price, and what the price list itself charges for them."""
    chance = random.Random(7)
    found = []
    for number in range(SEEDED):
        vendor, provider, model_id = PRICED[number % len(PRICED)]
        tiers, moments = edges_of(vendor, model_id)
        sent = chance.choice([start + step for start in tiers for step in (-1, 0, 1)] or [chance.randrange(1, 400_000)])
        at = datetime(2025, 6, 1) + timedelta(minutes=chance.randrange(700_000))
        if moments and number % 2:
            at = chance.choice(moments) + timedelta(milliseconds=chance.choice((-1, 0, 1)))
        cache_read = chance.randrange(sent + 1) if number % 3 else 0
        cache_write = chance.randrange(sent - cache_read + 1) if number % 5 else 0
        output = chance.randrange(100_000)
        reasoning = chance.randrange(output + 1)
        usage = usage_of(sent, cache_read, cache_write, output, reasoning, included=number % 4 == 0)
        created = round(at.replace(tzinfo=UTC).timestamp() * 1_000)
        doc = assistant(
            f"msg_{number:04}", created=created, completed=created, usage=usage, providerID=vendor, modelID=model_id
        )
        charged = calc_price(
            Usage(
                input_tokens=sent,
                cache_read_tokens=cache_read,
                cache_write_tokens=cache_write,
                output_tokens=output,
                output_reasoning_tokens=reasoning,
            ),
            model_id,
            provider_id=provider,
            genai_request_timestamp=at.replace(tzinfo=UTC),
        )
        found.append((doc.id, doc, charged.total_price))
    return found


def test_costs_of_seeded_usages_are_what_the_price_list_charges(
    seeded: list[tuple[str, Doc, Decimal]], open_index: OpenIndex
) -> None:
    """To 1e-9 USD, on both sides of every tier and price change, with reasoning inside output and apart."""
    con = open_index(session(), *(doc for _, doc, _ in seeded))

    found = list_costs(con)

    wrong = [
        (message_id, found[message_id], charged)
        for message_id, _, charged in seeded
        if found[message_id] is None or abs(found[message_id] - charged) > Decimal("1e-9")  # type: ignore[operator]
    ]
    assert len(found) == SEEDED
    assert wrong == []


def test_priced_requests_view_agrees_with_what_was_written(
    seeded: list[tuple[str, Doc, Decimal]], open_index: OpenIndex
) -> None:
    """The sum that readers make is the one that was made before the rows were written."""
    con = open_index(session(), *(doc for _, doc, _ in seeded))

    viewed = dict(con.execute("SELECT message_id, cost_list_usd FROM priced_requests").fetchall())

    assert viewed == list_costs(con)


def test_seeded_usages_reach_every_edge() -> None:
    """The chosen models have tiers and price changes, else the test above would show nothing."""
    edges = [edges_of(vendor, model_id) for vendor, _, model_id in PRICED]

    assert sum(bool(tiers) for tiers, _ in edges) >= 3
    assert sum(bool(moments) for _, moments in edges) >= 2


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_costs_of_real_data_at_its_own_prices_are_the_recorded_ones(
    name: str, data_set: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a real client recorded is what its prices make of its tokens."""
    truth = expected(DATA_SETS[name][0])
    _configure(monkeypatch, tmp_path, truth["prices_usd_per_million"], truth["prices_over_200k"])

    con = _indexed(tmp_path, data_set(name))

    # 1.1 counts reasoning inside its output, and charges for it a second time
    differing = con.execute(
        """
        SELECT message_id, cost_recorded_usd - cost_list_usd FROM messages m
        WHERE has_usage AND cost_list_usd IS NOT NULL AND cost_recorded_usd <> 0
          AND cost_recorded_usd <> cost_list_usd AND reasoning_in_output_tokens = 0
        """
    ).fetchall()
    priced = con.execute("SELECT count(*) FROM messages WHERE cost_list_usd > 0").fetchone()
    assert priced is not None
    assert priced[0] > 400
    assert differing == []


def _configure(
    monkeypatch: pytest.MonkeyPatch, folder: Path, costs: dict[str, Json], long: dict[str, Json] | None = None
) -> None:
    """Write OpenCode's configuration with some prices, by `provider/model`."""
    providers: Json = {}
    for name, cost in costs.items():
        provider, _, model_id = name.partition("/")
        models = providers.setdefault(provider, {"options": {"apiKey": "secret"}, "models": {}})["models"]
        models[model_id] = {"cost": {**cost, **({"context_over_200k": long[name]} if long and name in long else {})}}
    (folder / "opencode").mkdir(exist_ok=True)
    (folder / "opencode" / "opencode.jsonc").write_text(f"// mine\n{json.dumps({'provider': providers})}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))


def _settings(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Write the settings file."""
    (folder / "settings.toml").write_text(text)
    monkeypatch.setenv("ANALYTICS_CONFIG", str(folder / "settings.toml"))


def _indexed(tmp_path: Path, *data_dirs: Path) -> duckdb.DuckDBPyConnection:
    """Make a full pass and read the index."""
    path = tmp_path / "index.duckdb"
    with Database.open(path) as database:
        publisher = Publisher(database)
        bulk_loader.load(database, publisher, bulk_loader.find_sources(data_dirs))
        publisher.close()
    return IndexReader(path).connection()


USAGE = {"total": 1_500, "input": 1_000, "output": 500, "reasoning": 0, "cache": {"read": 0, "write": 0}}


def test_list_price_of_an_unknown_model_is_unknown(open_index: OpenIndex) -> None:
    """Tokens without a price are counted as such, never as 0."""
    con = open_index(session(), user(), assistant(usage=USAGE))

    slices = con.execute(
        "SELECT cost_list_usd, unpriced_messages, unpriced_tokens FROM usage_slices WHERE kind = 'counted'"
    ).fetchall()

    assert list_costs(con) == {"msg_2a": None}
    assert slices == [(None, 1, 1_500)]


def test_list_price_of_no_tokens_is_known_only_with_a_price(
    open_index: OpenIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed request to an unpriced model would turn a sum of unknowns into 0."""
    _configure(monkeypatch, tmp_path, {"acme/nova": {"input": 3, "output": 15}})
    other: Json = {"providerID": "acme", "modelID": "other"}
    empty: Json = {"usage": tokens(total=0), "cost": 0, "error": {"name": "APIError", "data": {}}, "finish": None}

    con = open_index(
        session(),
        user(),
        assistant("msg_2a", **empty),
        assistant("msg_2b", **empty, **other),
        assistant("msg_2c", usage=USAGE, **other),
        assistant("msg_2d", **empty, **other),
        step_finish("prt_1", tokens(total=0), message_id="msg_2d", cost=0),
    )

    slices = con.execute(
        "SELECT model_id, cost_list_usd, free_list_usd, unpriced_messages, unpriced_tokens FROM usage_slices "
        "WHERE kind = 'counted' ORDER BY model_id"
    ).fetchall()
    assert list_costs(con) == {"msg_2a": Decimal(0), "msg_2b": None, "msg_2c": None, "msg_2d": None}
    assert slices == [("nova", Decimal(0), Decimal(0), 0, 0), ("other", None, None, 1, 1_500)]
    viewed = con.execute("SELECT message_id, cost_list_usd FROM priced_requests").fetchall()
    assert dict(viewed) == list_costs(con)


def test_list_price_of_a_request_without_usage_is_unknown(
    open_index: OpenIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what it used."""
    _configure(monkeypatch, tmp_path, {"acme/nova": {"input": 3, "output": 15}})

    con = open_index(session(), user(), assistant(usage=None, cost=0))

    assert list_costs(con) == {"msg_2a": None}


def test_list_price_of_steps_is_their_sum(
    open_index: OpenIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is a request of its own: only the long one costs more."""
    over = {"input": 10, "output": 20}
    _configure(monkeypatch, tmp_path, {"acme/nova": {"input": 1, "output": 2}}, {"acme/nova": over})
    long = {"input": 200_001, "output": 10, "reasoning": 0, "cache": {"read": 0, "write": 0}}

    con = open_index(session(), user(), assistant(usage=long), step_finish("prt_1", USAGE), step_finish("prt_2", long))

    assert list_costs(con) == {"msg_2a": Decimal("0.002") + Decimal("2.000210")}


def test_list_price_of_long_contexts_has_the_sizes_of_its_tiers(
    open_index: OpenIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of models repeat the price of the tier under the older name, as if it held from 200,000 tokens on."""
    longer = {"input": 10, "output": 20}
    tiers = [
        {"input": 100, "output": 200, "tier": {"type": "context", "size": 500_000}},
        {**longer, "tier": {"type": "context", "size": 272_000}},
        {"input": 7, "output": 7, "tier": {"type": "weather", "size": 1}},
        {"input": 7, "output": 7},
    ]
    cost: Json = {"input": 1, "output": 2, "tiers": tiers}
    _configure(monkeypatch, tmp_path, {"acme/nova": cost}, {"acme/nova": longer})
    sent = (200_001, 272_000, 272_001, 500_001)

    con = open_index(session(), user(), *(assistant(f"msg_{n}", usage=tokens(n, 0, total=n)) for n in sent))

    expected = (Decimal("0.200001"), Decimal("0.272"), Decimal("2.72001"), Decimal("50.0001"))
    assert list_costs(con) == {f"msg_{n}": cost for n, cost in zip(sent, expected, strict=True)}


def test_list_price_free_in_the_record_is_told_apart(
    open_index: OpenIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a subscription would have cost."""
    _configure(monkeypatch, tmp_path, {"acme/nova": {"input": 3, "output": 15}})

    con = open_index(
        session(), user(), assistant(usage=USAGE, cost=0), assistant("msg_3a", created=START_MS + 9, usage=USAGE)
    )

    found = con.execute("SELECT sum(cost_list_usd), sum(free_list_usd) FROM usage_slices").fetchall()
    assert found == [(Decimal("0.021"), Decimal("0.0105"))]


def test_prices_of_settings_come_before_those_of_opencode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And OpenCode's before the public list; what it does not name costs nothing there."""
    _configure(monkeypatch, tmp_path, {"anthropic/claude-sonnet-4-5": {"input": 1, "output": 1}})
    _settings(
        monkeypatch, tmp_path, '[[prices.models]]\nprovider = "anthropic"\nmodel = "claude-sonnet-4-5"\ninput = 7\n'
        "output = 8\n",
    )  # fmt: skip

    own = price_sources.load().prices_of(("anthropic", "claude-sonnet-4-5"))
    _settings(monkeypatch, tmp_path, "")
    configured = price_sources.load().prices_of(("anthropic", "claude-sonnet-4-5"))

    assert [(price.source, price.input_usd, price.cache_read_usd) for price in own] == [
        ("settings", Decimal("0.000007"), Decimal("0.000007"))
    ]
    assert [(price.source, price.input_usd, price.cache_read_usd) for price in configured] == [
        ("OpenCode's configuration", Decimal("0.000001"), Decimal(0))
    ]


Held = tuple[datetime | None, datetime | None, int | None, int | None, Decimal | None]


def spans_of(found: Iterable[Price]) -> list[Held]:
    """Return when, for requests of which size, and at what price of input each row holds."""
    return [(each.from_at, each.until_at, each.over_tokens, each.upto_tokens, each.input_usd) for each in found]


def test_prices_of_settings_change_on_a_day_and_over_a_number_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry holds until the next one."""
    entry = '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\n'
    _settings(
        monkeypatch,
        tmp_path,
        f"{entry}input = 1\noutput = 2\n{entry}from = 2026-01-02\ninput = 3\noutput = 4\n"
        f"{entry}from = 2026-01-02\nover = 1000\ninput = 5\noutput = 6\n",
    )

    found = price_sources.load().prices_of(("acme", "nova"))

    day = datetime(2026, 1, 2)
    assert spans_of(found) == [
        (None, day, None, None, Decimal("0.000001")),
        (day, None, None, 1_000, Decimal("0.000003")),
        (day, None, 1_000, None, Decimal("0.000005")),
    ]


def test_prices_of_settings_each_hold_until_the_next_of_as_long_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price for long requests that begins later does not end the one of the others."""
    entry = '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\n'
    _settings(
        monkeypatch,
        tmp_path,
        f"{entry}input = 1\noutput = 2\n{entry}from = 2026-01-02\nover = 1000\ninput = 5\noutput = 6\n"
        f"{entry}from = 2026-01-03\ninput = 3\noutput = 4\n",
    )

    found = price_sources.load().prices_of(("acme", "nova"))

    second, third = datetime(2026, 1, 2), datetime(2026, 1, 3)
    assert spans_of(found) == [
        (None, second, None, None, Decimal("0.000001")),
        (second, third, None, 1_000, Decimal("0.000001")),
        (second, third, 1_000, None, Decimal("0.000005")),
        (third, None, None, 1_000, Decimal("0.000003")),
        (third, None, 1_000, None, Decimal("0.000005")),
    ]


def test_prices_as_another_model_from_a_day_on_are_the_users_own_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both prices of a model count in their time, and what the user pays for the other one is what it costs."""
    entry = '[[prices.models]]\nprovider = "proxy"\nmodel = "nova"\n'
    other = '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\n'
    _settings(
        monkeypatch,
        tmp_path,
        f'{entry}input = 1\noutput = 2\n{entry}from = 2026-01-02\nsame_as = "acme/nova"\n'
        f"{other}input = 7\noutput = 8\n{other}from = 2026-01-03\ninput = 9\noutput = 9\n",
    )

    found = price_sources.load().prices_of(("proxy", "nova"))

    second, third = datetime(2026, 1, 2), datetime(2026, 1, 3)
    assert [(each.from_at, each.until_at, each.input_usd) for each in found] == [
        (None, second, Decimal("0.000001")),
        (second, third, Decimal("0.000007")),
        (third, None, Decimal("0.000009")),
    ]


def test_prices_of_configuration_are_completed_by_the_list_of_models() -> None:
    """OpenCode takes what a configuration leaves out from its list, but for the sizes of contexts."""
    listed = {"input": 3, "output": 15, "cache_read": 1, "cache_write": 4, "context_over_200k": {"input": 6}}
    sources = PriceSources(configured={("acme", "nova"): {"input": 2}}, listed={("acme", "nova"): listed})

    found = sources.prices_of(("acme", "nova"))

    assert [
        (each.source, each.over_tokens, each.input_usd, each.output_usd, each.cache_read_usd) for each in found
    ] == [("OpenCode's configuration", None, Decimal("0.000002"), Decimal("0.000015"), Decimal("0.000001"))]


def test_prices_as_another_model_are_those_of_that_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For models that a subscription sells under names of its own."""
    _settings(
        monkeypatch,
        tmp_path,
        '[[prices.models]]\nprovider = "github-copilot"\nmodel = "claude-sonnet-4.5"\n'
        'same_as = "anthropic/claude-sonnet-4-5"\n',
    )

    found = price_sources.load().prices_of(("github-copilot", "claude-sonnet-4.5"))

    others = genai_prices(("anthropic", "claude-sonnet-4-5"))
    assert [each.input_usd for each in found] == [each.input_usd for each in others]
    assert {(each.vendor, each.model_id) for each in found} == {("github-copilot", "claude-sonnet-4.5")}


def test_prices_of_zero_count_only_where_nothing_else_is_known() -> None:
    """A subscription's list of models says 0, which is no list price."""
    free = {("anthropic", "claude-sonnet-4-5"): {"input": 0, "output": 0}, ("acme", "nova"): {"input": 0, "output": 0}}
    sources = PriceSources(listed=free)
    flat = PriceSources(listed=free, subscriptions=frozenset({"acme"}))

    known = sources.prices_of(("anthropic", "claude-sonnet-4-5"))
    unknown = sources.prices_of(("acme", "nova"))
    by_subscription = flat.prices_of(("acme", "nova"))

    assert all(not price.is_free for price in known)
    assert [price.input_usd for price in unknown] == [Decimal(0)]
    assert [price.input_usd for price in by_subscription] == [None]


def test_load_configuration_with_a_byte_order_mark_has_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Editors on Windows write one."""
    _configure(monkeypatch, tmp_path, {"acme/nova": {"input": 3, "output": 15}})
    file = tmp_path / "opencode" / "opencode.jsonc"
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")

    found = price_sources.load().prices_of(("acme", "nova"))

    assert [price.input_usd for price in found] == [Decimal("0.000003")]


def test_load_reads_nothing_but_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A configuration may hold keys: they are neither kept nor logged."""
    _configure(monkeypatch, tmp_path, {"acme/nova": {"input": 3, "output": 15}})
    broken = tmp_path / "broken.json"
    broken.write_text('{"provider": {"acme": {"options": {"apiKey": "sk-secret"}')
    monkeypatch.setenv("OPENCODE_CONFIG", str(broken))

    found = price_sources.load()

    assert "secret" not in repr(found)
    assert "broken.json cannot be read for prices" in caplog.text
    assert "sk-secret" not in caplog.text


def test_bring_up_to_date_changed_settings_price_everything_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages, slices and sessions."""
    folder = write_json_tree(tmp_path / "data", [session(), user(), assistant(usage=USAGE), session("ses_2")])
    before = list_costs(_indexed(tmp_path, folder))
    _settings(monkeypatch, tmp_path, '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 3\noutput = 15\n')

    con = _indexed(tmp_path, folder)

    assert before == {"msg_2a": None}
    assert list_costs(con) == {"msg_2a": Decimal("0.0105")}
    assert con.execute("SELECT sum(cost_list_usd), sum(unpriced_messages) FROM usage_slices").fetchall() == [
        (Decimal("0.0105"), 0)
    ]
    assert con.execute("SELECT session_id, cost_list_usd FROM session_stats ORDER BY 1").fetchall() == [
        ("ses_1", Decimal("0.0105")),
        ("ses_2", None),
    ]


def test_bring_up_to_date_undone_answer_gets_its_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo leaves the steps without their message: what they used was asked for, and is priced as all else."""
    folder = _with_undone_answer(tmp_path, "prt_1", "prt_2")
    before = list_costs(_indexed(tmp_path, folder))
    _settings(monkeypatch, tmp_path, '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 3\noutput = 15\n')

    con = _indexed(tmp_path, folder)

    assert before == {"msg_2a": None}
    assert list_costs(con) == {"msg_2a": Decimal("0.021")}
    assert con.execute("SELECT sum(cost_list_usd) FROM usage_slices").fetchall() == [(Decimal("0.021"),)]


def test_requests_undone_answer_keeps_its_steps(tmp_path: Path) -> None:
    """With the part files and without them; the answer itself is no request beside them."""
    folder = _with_undone_answer(tmp_path, "prt_1", "prt_2")

    undone = requests_of(_indexed(tmp_path, folder))
    (folder / "storage" / "part" / "msg_2a" / "prt_2.json").unlink()
    one_left = requests_of(_indexed(tmp_path, folder))
    shutil.rmtree(folder / "storage" / "part" / "msg_2a")
    none_left = requests_of(_indexed(tmp_path, folder))

    assert undone == one_left == none_left == [("prt_1", "msg_2a", 1_000), ("prt_2", "msg_2a", 1_000)]


def test_requests_step_lost_before_its_answer_was_undone_is_none(tmp_path: Path) -> None:
    """The numbers of the answer, as they were when it was undone, are without it."""
    docs = [session(), user(), assistant(usage=USAGE), step_finish("prt_1", USAGE), step_finish("prt_2", USAGE)]
    folder = write_json_tree(tmp_path / "data", docs)
    _indexed(tmp_path, folder)
    (folder / "storage" / "part" / "msg_2a" / "prt_2.json").unlink()
    _indexed(tmp_path, folder)
    (folder / "storage" / "message" / "ses_1" / "msg_2a.json").unlink()

    con = _indexed(tmp_path, folder)

    assert requests_of(con) == [("prt_1", "msg_2a", 1_000)]
    assert con.execute("SELECT input_tokens FROM spend").fetchall() == [(1_000,)]


def test_requests_steps_whose_message_was_never_there_are_none(tmp_path: Path) -> None:
    """Undone before it was indexed: nothing else counts it, either."""
    docs = [session(), user(), step_finish("prt_1", USAGE, "msg_unknown")]

    con = _indexed(tmp_path, write_json_tree(tmp_path / "data", docs))

    assert con.execute("SELECT part_id, is_orphan FROM parts").fetchall() == [("prt_1", True)]
    assert requests_of(con) == []


def test_requests_step_of_an_undone_answer_that_another_has_now_counts_once(tmp_path: Path) -> None:
    """A part belongs to one message: to the one that is there."""
    folder = _with_undone_answer(tmp_path, "prt_1", "prt_2")
    _indexed(tmp_path, folder)
    (folder / "storage" / "part" / "msg_2a" / "prt_2.json").unlink()
    write_json_tree(
        folder, [assistant("msg_3a", usage=USAGE, created=START_MS + 9_000), step_finish("prt_2", USAGE, "msg_3a")]
    )

    con = _indexed(tmp_path, folder)

    assert requests_of(con) == [("prt_1", "msg_2a", 1_000), ("prt_2", "msg_3a", 1_000)]


def _with_undone_answer(tmp_path: Path, *step_ids: str) -> Path:
    """Index an answer with some steps in a JSON tree, then undo it as OpenCode 1.1 does. Returns the data folder."""
    steps = [step_finish(step_id, USAGE) for step_id in step_ids]
    folder = write_json_tree(tmp_path / "data", [session(), user(), assistant(usage=USAGE), *steps])
    _indexed(tmp_path, folder)
    (folder / "storage" / "message" / "ses_1" / "msg_2a.json").unlink()
    return folder


def test_bring_up_to_date_killed_before_the_sums_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices are changed, and the sums are not yet."""
    folder = write_json_tree(tmp_path / "data", [session(), user(), assistant(usage=USAGE)])
    _indexed(tmp_path, folder)
    _settings(monkeypatch, tmp_path, '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 3\noutput = 15\n')
    with Database.open(tmp_path / "index.duckdb") as database, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "fill", _killed)
        with pytest.raises(KeyboardInterrupt):
            price_changes.bring_up_to_date(database)

    con = _indexed(tmp_path, folder)

    assert con.execute("SELECT sum(cost_list_usd) FROM usage_slices").fetchall() == [(Decimal("0.0105"),)]


def _killed(database: Database) -> None:
    """Stand for a kill."""
    raise KeyboardInterrupt


def test_bring_up_to_date_same_prices_write_nothing(build_index: BuildIndex, tmp_path: Path) -> None:
    """An idle indexer publishes nothing."""
    folder = write_sqlite(tmp_path / "data", [session(), user(), assistant(usage=USAGE)])
    path = build_index(folder)

    with Database.open(path) as database:
        revision = database.revision
        is_changed = price_changes.bring_up_to_date(database)

        assert not is_changed
        assert database.revision == revision


@pytest.mark.parametrize("model", [("anthropic", "claude-sonnet-4-5"), ("deepseek", "deepseek-chat")])
def test_genai_prices_rows_cover_everything_once(model: tuple[str, str]) -> None:
    """For every request exactly one row holds."""
    rows = genai_prices(model)

    tokens = {0, *(each.over_tokens or 0 for each in rows), *((each.over_tokens or 0) + 1 for each in rows)}
    minutes = {0, *(each.from_minute or 0 for each in rows), *((each.until_minute or 1) - 1 for each in rows)}
    days = {datetime(2020, 1, 1), *(each.from_at for each in rows if each.from_at)}
    matches = [
        sum(_holds(row, day + timedelta(minutes=minute), count) for row in rows)
        for day in days
        for minute in minutes
        for count in tokens
    ]
    assert set(matches) == {1}


def _holds(price: Price, at: datetime, sent: int) -> bool:
    """Tell whether a price holds for a request."""
    minute = at.hour * 60 + at.minute
    return (
        (price.from_at is None or at >= price.from_at)
        and (price.until_at is None or at < price.until_at)
        and (price.from_minute is None or minute >= price.from_minute)
        and (price.until_minute is None or minute < price.until_minute)
        and (price.over_tokens is None or sent > price.over_tokens)
        and (price.upto_tokens is None or sent <= price.upto_tokens)
    )


def test_settings_name_the_files_of_opencode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that count more come last."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OPENCODE_CONFIG", str(tmp_path / "mine.json"))

    files = settings.opencode_configurations()

    assert [file.name for file in files] == ["config.json", "opencode.json", "opencode.jsonc", "mine.json"]
    assert settings.opencode_models() == tmp_path / "opencode" / "models.json"

"""Where list prices come from: the user's settings, OpenCode's configuration, its list of models, and `genai-prices`.

Pure but for `load`. The first source that knows a model by its exact provider and id counts; nothing is guessed.
"""

import functools
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from indexer import sample, settings
from indexer.json_values import mapping

if TYPE_CHECKING:
    from genai_prices import types as genai

    from indexer.settings_model import ModelPrice

log = logging.getLogger(__name__)

ModelKey = tuple[str, str]  # provider and model, as OpenCode names them

_End = TypeVar("_End", datetime, int)

_MILLION = Decimal(1_000_000)
_LONG_CONTEXT = 200_000  # of `context_over_200k`
_EXACT = Decimal("1e-15")
_CONFIGURABLE = ("input", "output", "cache_read", "cache_write")  # without sizes of contexts, as OpenCode takes it
# OpenCode's provider ids (those of models.dev) where genai-prices has another name for the same price list.
_GENAI_IDS = {
    "amazon-bedrock": "aws",
    "azure-cognitive-services": "azure",
    "cloudflare-workers-ai": "cloudflare",
    "fireworks-ai": "fireworks",
    "google-vertex": "google",
    "google-vertex-anthropic": "google",
    "novita-ai": "novita",
    "togetherai": "together",
    "xai": "x-ai",
}


@dataclass(frozen=True, slots=True)
class Price:
    """A row of `prices`: what holds for some requests to a model. USD a token; open ends are None.

    Attributes:
        input_usd: None, as all prices then: looked for, and none is known.
        request_usd: For each request, whatever its tokens.
    """

    vendor: str
    model_id: str
    source: str
    from_at: datetime | None = None
    until_at: datetime | None = None
    from_minute: int | None = None
    until_minute: int | None = None
    over_tokens: int | None = None
    upto_tokens: int | None = None
    input_usd: Decimal | None = None
    output_usd: Decimal | None = None
    reasoning_usd: Decimal | None = None
    cache_read_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None
    request_usd: Decimal | None = None

    @property
    def is_free(self) -> bool:
        """Tell whether nothing costs anything."""
        return not any((self.input_usd, self.output_usd, self.cache_read_usd, self.cache_write_usd, self.request_usd))


@dataclass(frozen=True, slots=True)
class PriceSources:
    """What is known of prices, but for `genai-prices`, which is part of the program.

    Attributes:
        settings: The user's own prices, in the order of the file.
        subscriptions: Providers that are paid by a flat fee: a price of 0 is no list price.
        configured: `cost` objects of OpenCode's configuration.
        listed: Those of its list of models.
    """

    settings: "tuple[ModelPrice, ...]" = ()
    subscriptions: frozenset[str] = frozenset()
    configured: Mapping[ModelKey, Mapping[str, Any]] | None = None
    listed: Mapping[ModelKey, Mapping[str, Any]] | None = None

    def prices_of(self, model: ModelKey) -> list[Price]:
        """Return the prices of a model; one row without prices if none is known."""
        found = self._own(model) or self._priced(model) or self._free(model)
        return found or [Price(*model, source=_genai_source())]

    def is_settled(self, model: ModelKey, prices: Collection[Price]) -> bool:
        """Tell whether prices that were found before are those of today, without a look: of this very price list."""
        is_named = any(self._files(model)) or any((entry.provider, entry.model) == model for entry in self.settings)
        return not is_named and all(price.source == _genai_source() for price in prices)

    def _own(self, model: ModelKey) -> list[Price]:
        """Return the user's own prices: each holds from its day on, until the next one of as long requests."""
        entries = [entry for entry in self.settings if (entry.provider, entry.model) == model]
        return [
            held
            for start, end, over, upto, entry in _stretches(entries)
            for price in self._of_entry(model, entry)
            if (held := _within(price, start, end, over, upto))
        ]

    def _of_entry(self, model: ModelKey, entry: "ModelPrice") -> list[Price]:
        """Return the prices of one entry of the settings, or those of the model that it names instead."""
        if entry.same_as is None:
            return [_price(model, "settings", _settings_rates(entry))]
        provider, _, model_id = entry.same_as.partition("/")
        priced = tuple(other for other in self.settings if other.same_as is None)  # no circle
        others = replace(self, settings=priced).prices_of((provider, model_id))
        source = f"settings: as {entry.same_as}"
        return [replace(price, vendor=model[0], model_id=model[1], source=source) for price in others]

    def _priced(self, model: ModelKey) -> list[Price]:
        """Return the prices of the first public source that has any above 0."""
        for source, cost in self._files(model):
            found = _opencode_prices(model, source, cost)
            if any(not price.is_free for price in found):
                return found
        return genai_prices(model)

    def _free(self, model: ModelKey) -> list[Price]:
        """Return prices of 0, of a model that is free for everybody."""
        if model[0] in self.subscriptions:
            return []
        every = (_opencode_prices(model, source, cost) for source, cost in self._files(model))
        return next((found for found in every if found), [])

    def _files(self, model: ModelKey) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """List what OpenCode's own files say of a model. What its configuration leaves out is as in its list."""
        listed = (self.listed or {}).get(model, {})
        if configured := (self.configured or {}).get(model):
            yield "OpenCode's configuration", {**{name: listed.get(name) for name in _CONFIGURABLE}, **configured}
        if listed:
            yield "OpenCode's list of models", listed


def load(*, is_sample: bool = False) -> PriceSources:
    """Read the user's settings and OpenCode's own files.

    Args:
        is_sample: For the bundled sample data, whose models are made up: only the prices that lie beside it.

    Raises:
        SettingsInvalid: The settings file cannot be used.
    """
    if is_sample:
        return PriceSources(configured=_costs([sample.CONFIGURATION]))
    return PriceSources(
        *settings.own_prices(),
        _costs(settings.opencode_configurations()),
        _costs([settings.opencode_models()]),
    )


def stamp(*, is_sample: bool = False) -> tuple[object, ...]:
    """Return what changes with every change of the files that `load` reads. Cheap."""
    if is_sample:
        return ()
    files = (*settings.opencode_configurations(), settings.opencode_models())
    return settings.file_stamp(), *map(settings.stamp_of, files)


def _costs(files: Iterable[Path]) -> dict[ModelKey, Mapping[str, Any]]:
    """Read the prices of OpenCode's own files, and nothing else: a configuration may hold keys.

    Args:
        files: Configurations (`provider.<id>.models.<id>.cost`) or lists of models (`<id>.models.<id>.cost`); of two
            that name a price the later counts. One that is not there, or is no JSON, has no prices.
    """
    found: dict[ModelKey, Mapping[str, Any]] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
            document = _read(text) if text.strip() else {}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:  # not its text: it may hold keys
            log.warning("%s cannot be read for prices (%s)", file, type(error).__name__)
            continue
        providers = mapping(document, "provider") or document
        for provider_id in providers:
            models = mapping(mapping(providers, provider_id), "models")
            for model_id in models:
                if cost := _cost(models, model_id):
                    key = (provider_id, model_id)
                    found[key] = {**found.get(key, {}), **cost}
    return found


def _read(text: str) -> dict[str, Any]:
    """Read a JSON object with exact numbers; comments and trailing commas, as OpenCode takes them, cost more time."""
    try:
        document = json.loads(text, parse_float=Decimal)
    except ValueError:
        import json5  # hardly any file needs it

        document = json5.loads(text, parse_float=Decimal)
    return document if isinstance(document, dict) else {}


def _cost(models: Mapping[str, Any], model_id: str) -> Mapping[str, Any]:
    """Return the prices of one model."""
    return mapping(mapping(models, model_id), "cost")


def _opencode_prices(model: ModelKey, source: str, cost: Mapping[str, Any]) -> list[Price]:
    """Read a `cost` object as OpenCode does: USD a million tokens, what is not named costs nothing.

    Reasoning costs as much as output. Long contexts may have prices of their own, from one token above a size on.
    """
    if _number(cost, "input") is None and _number(cost, "output") is None:
        return []
    longer = _long_contexts(cost)
    return [
        replace(_price(model, source, _rates_of({**cost, **longer.get(over, {})})), over_tokens=over, upto_tokens=upto)
        for over, upto in _spans(sorted(longer))
    ]


def _long_contexts(cost: Mapping[str, Any]) -> dict[int | None, Mapping[str, Any]]:
    """Return the prices of long contexts by the size above which they hold.

    `context_over_200k` is the older way to say so: lists that have `tiers` repeat their prices there, whatever size
    they begin at.
    """
    tiers = cost.get("tiers")
    found: dict[int | None, Mapping[str, Any]] = {}
    for tier in tiers if isinstance(tiers, list) else ():
        match tier:
            case {"tier": {"type": "context", "size": int(size)}} if size > 0:
                found[size] = tier
    over_200k = mapping(cost, "context_over_200k")
    return found or ({_LONG_CONTEXT: over_200k} if over_200k else {})


def _rates_of(cost: Mapping[str, Any]) -> "_Rates":
    """Return the prices that a `cost` object names."""
    output = _number(cost, "output")
    rates = (_number(cost, "input"), output, _number(cost, "reasoning") or output)
    return _Rates(*(rate or Decimal() for rate in (*rates, _number(cost, "cache_read"), _number(cost, "cache_write"))))


def _number(cost: Mapping[str, Any], name: str) -> Decimal | None:
    """Return a price of a `cost` object; None if it is none."""
    value = cost.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value < 1_000_000:
        return None
    return Decimal(value)


class _Rates(NamedTuple):
    """Prices, USD: of a million tokens, and of a request."""

    input: Decimal
    output: Decimal
    reasoning: Decimal
    cache_read: Decimal
    cache_write: Decimal
    request: Decimal = Decimal()


def _price(model: ModelKey, source: str, rates: _Rates) -> Price:
    """Make a price that holds for all requests to a model."""
    return Price(
        *model,
        source=source,
        input_usd=_a_token(rates.input),
        output_usd=_a_token(rates.output),
        reasoning_usd=_a_token(rates.reasoning),
        cache_read_usd=_a_token(rates.cache_read),
        cache_write_usd=_a_token(rates.cache_write),
        request_usd=rates.request,
    )


def _a_token(usd_a_million: Decimal) -> Decimal:
    """Turn a price of a million tokens into that of one."""
    return (usd_a_million / _MILLION).quantize(_EXACT)


def _stretches(
    entries: "Sequence[ModelPrice]",
) -> "Iterator[tuple[datetime | None, datetime | None, int | None, int | None, ModelPrice]]":
    """Cut time at the days, and requests at the sizes, that entries of one model begin at.

    Yields:
        First moment, first moment after, size above which it holds, size up to which it does, and the entry.
    """
    dated = sorted(entries, key=lambda entry: entry.begins or date.min)
    starts = list(dict.fromkeys(entry.begins for entry in dated))
    for start, end in pairwise([*starts, None]):
        held = {entry.over: entry for entry in dated if entry.begins is None or (start and entry.begins <= start)}
        sizes = sorted(held, key=lambda over: over or 0)
        for over, upto in pairwise([*sizes, None]):
            yield _midnight(start), _midnight(end), over, upto, held[over]


def _within(
    price: Price, start: datetime | None, end: datetime | None, over: int | None, upto: int | None
) -> Price | None:
    """Return a price where it holds inside a span of time and of sizes. None: nowhere."""
    from_at, until_at = max(price.from_at or datetime.min, start or datetime.min), _least(price.until_at, end)
    over_tokens, upto_tokens = max(price.over_tokens or 0, over or 0), _least(price.upto_tokens, upto)
    if (until_at and from_at >= until_at) or (upto_tokens and over_tokens >= upto_tokens):
        return None
    return replace(
        price,
        from_at=None if from_at == datetime.min else from_at,
        until_at=until_at,
        over_tokens=over_tokens or None,
        upto_tokens=upto_tokens,
    )


def _least(one: _End | None, other: _End | None) -> _End | None:
    """Return the lower of two ends; None is open."""
    return other if one is None else one if other is None else min(one, other)


def _settings_rates(entry: "ModelPrice") -> "_Rates":
    """Return the prices of one entry of the settings; cached input costs as input unless it says otherwise."""
    sent, answered = entry.input or Decimal(), entry.output or Decimal()
    return _Rates(
        sent, answered, _or(entry.reasoning, answered), _or(entry.cache_read, sent), _or(entry.cache_write, sent)
    )


def _midnight(day: date | None) -> datetime | None:
    """Return the begin of a day of UTC."""
    return None if day is None else datetime.combine(day, time())


# --- genai-prices


def genai_prices(model: ModelKey) -> list[Price]:
    """Expand what `genai-prices` knows of a model: one row for each span of time, hours of the day and tier.

    Its rules decide which price list an id belongs to, but only inside the one provider.

    Args:
        model: Provider and model, as OpenCode names them.

    Returns:
        Rows that never overlap; none if it has no prices.
    """
    found = _genai_model(model)
    if found is None:
        return []
    return [
        replace(
            tier,
            from_at=_midnight(start),
            until_at=_midnight(end),
            from_minute=first,
            until_minute=last,
        )
        for start, end in _spans(sorted(_days(found)))
        for first, last in _spans(sorted(_minutes(found)))
        for tier in _tiers(model, found.get_prices(_moment(start, end, first)))
    ]


def catalogue() -> list[ModelKey]:
    """List the models that `genai-prices` has token prices of, as OpenCode would name them, in order."""
    from genai_prices.data import providers

    names = {theirs: ours for ours, theirs in _GENAI_IDS.items() if not ours.startswith("google-")}
    keys = {(names.get(provider.id, provider.id), model.id) for provider in providers for model in provider.models}
    return sorted(key for key in keys if any(price.input_usd for price in genai_prices(key)))


@functools.cache
def _genai_source() -> str:
    """Name the price list and its version."""
    return f"genai-prices {metadata.version('genai-prices')}"


def _genai_model(model: ModelKey) -> "genai.ModelInfo | None":
    """Find a model of one provider. The price list takes a third of a second to load: only where it is needed."""
    from genai_prices.data import providers

    wanted = _GENAI_IDS.get(model[0], model[0])
    provider = next((each for each in providers if each.id == wanted), None)
    return None if provider is None else provider.find_model(model[1], all_providers=providers)


def _days(model: "genai.ModelInfo") -> set[date]:
    """Return the days on which prices change."""
    from genai_prices.types import StartDateConstraint

    return {rule.start_date for rule in _rules(model) if isinstance(rule, StartDateConstraint)}


def _minutes(model: "genai.ModelInfo") -> set[int]:
    """Return the minutes of the day, UTC, at which prices change."""
    from genai_prices.types import TimeOfDateConstraint

    ends = [
        end
        for rule in _rules(model)
        if isinstance(rule, TimeOfDateConstraint)
        for end in (rule.start_time, rule.end_time)
    ]
    return {minute for minute in map(_minute, ends) if minute}


def _rules(model: "genai.ModelInfo") -> list[object]:
    """Return the conditions of the prices of a model."""
    return [price.constraint for price in model.prices] if isinstance(model.prices, list) else []


def _minute(at: time) -> int:
    """Return the minute of the day, UTC. A time without a zone is UTC."""
    moment = datetime.combine(date(2000, 1, 1), at)
    utc = moment if at.tzinfo is None else moment.astimezone(UTC)
    return utc.hour * 60 + utc.minute


def _spans(ends: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Cut something open at both ends into spans."""
    return list(zip([None, *ends], [*ends, None], strict=True))


def _moment(start: date | None, end: date | None, minute: int | None) -> datetime:
    """Return a moment inside a span."""
    day = start or (end - timedelta(days=1) if end else date.today())
    return datetime.combine(day, time(), UTC) + timedelta(minutes=minute or 0)


def _tiers(model: ModelKey, prices: "genai.ModelPrice") -> list[Price]:
    """Return the prices of each tier. A tier holds for the whole request, from one token above its start on.

    What has no price of its own costs as much as what it is part of: cached input as input, reasoning as output.
    """
    sent, answered, a_request = prices.input_mtok, prices.output_mtok, prices.requests_kcount
    if sent is None and answered is None and a_request is None:
        return []
    others = (prices.output_reasoning_mtok, prices.cache_read_mtok, prices.cache_write_mtok)
    starts = sorted(
        {tier.start for each in (sent, answered, *others, a_request) for tier in getattr(each, "tiers", ())}
    )
    found = []
    for over, upto in _spans(starts):
        input_rate, output_rate = _rate(sent, over) or Decimal(), _rate(answered, over) or Decimal()
        reasoning, cache_read, cache_write = (_rate(each, over) for each in others)
        rates = _Rates(
            input_rate,
            output_rate,
            _or(reasoning, output_rate),
            _or(cache_read, input_rate),
            _or(cache_write, input_rate),
            (_rate(a_request, over) or Decimal()) / 1_000,
        )
        found.append(replace(_price(model, _genai_source(), rates), over_tokens=over, upto_tokens=upto))
    return found


def _or(price: Decimal | None, otherwise: Decimal) -> Decimal:
    """Return a price, or another one if there is none; 0 is a price."""
    return otherwise if price is None else price


def _rate(price: "Decimal | genai.TieredPrices | None", over: int | None) -> Decimal | None:
    """Return what holds for requests with more tokens than a number."""
    if price is None or isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if over is not None and tier.start <= over]
    return reached[-1] if reached else price.base

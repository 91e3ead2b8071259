"""Values of JSON documents that anybody may have damaged: what they are, or None; never an exception."""

import json
import math
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import blake2b
from typing import Any

import orjson

from indexer.rows import EpochMs

EPOCH_MS = range(253_402_300_800_000)  # 1970 to 9999: what a TIMESTAMP column and a datetime both hold
MAX_COST_USD = Decimal(1_000_000)  # DECIMAL(18, 12) holds less than this
MAX_TEXT_BYTES = 65_536
TEXT_HEAD_BYTES = 49_152

JsonObject = Mapping[str, Any]


def read_object(body: bytes) -> JsonObject | str:
    """Read a JSON object.

    Args:
        body: JSON text.

    Returns:
        The object without lone surrogates, which no column can hold, or the reason why there is none.
    """
    try:
        loaded: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        # the standard library also takes lone surrogates, NaN and huge numbers, which real documents contain
        try:
            loaded = _scrub(json.loads(body))
        except RecursionError:
            return "not JSON: nested too deeply"
        except ValueError as error:
            return f"not JSON: {clean(str(error))}" if body.strip() else "the document is empty"
    return loaded if isinstance(loaded, dict) else f"not a JSON object but {type(loaded).__name__}"


def _scrub(value: object) -> object:
    """Replace lone surrogates in every text of a JSON value: no column and no file can hold them."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(str(name)): _scrub(item) for name, item in value.items()}
        case list():
            return [_scrub(item) for item in value]
        case _:
            return value


def clean(text: str) -> str:
    """Replace lone surrogates by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def dump(value: object) -> str:
    """Write a JSON value as text.

    The standard library writes what orjson refuses: integers beyond 64 bits and more than 254 levels.
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        try:
            return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
        except RecursionError:
            return '"[nested too deeply to be kept]"'


def _finite(value: object) -> object:
    """Replace NaN and infinite numbers by null, as JSON has neither."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case _:
            return value


def mapping(value: JsonObject, name: str) -> JsonObject:
    """Read an object inside an object; empty if it is missing or something else."""
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def pick(value: JsonObject, *names: str) -> dict[str, object]:
    """Keep the named fields that are there."""
    return {name: value[name] for name in names if value.get(name) is not None}


def text_of(value: JsonObject, name: str) -> str | None:
    """Read a text; None if it is missing, empty or something else."""
    found = value.get(name)
    return found if isinstance(found, str) and found else None


def integer(value: object) -> int | None:
    """Read a number as an integer; None for anything else, bool and NaN included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and math.isfinite(value) else None


def bigint(value: object) -> int | None:
    """Read a number that fits a BIGINT column."""
    found = integer(value)
    return found if found is not None and abs(found) < 2**63 else None


def usd(value: object) -> Decimal | None:
    """Read an amount exactly as it is written, to 12 decimals; None if it is no amount that a row can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not abs(value) < MAX_COST_USD:  # NaN is in no order
        return None
    amount = Decimal(repr(value)).quantize(Decimal("1e-12"), ROUND_HALF_EVEN)
    return amount if abs(amount) < MAX_COST_USD else None


def epoch_ms(value: object) -> EpochMs | None:
    """Read a time; None outside 1970 to 9999."""
    found = integer(value)
    return EpochMs(found) if found is not None and found in EPOCH_MS else None


def time_of(value: JsonObject, name: str) -> EpochMs | None:
    """Read a time of the `time` object of a document."""
    return epoch_ms(mapping(value, "time").get(name))


def cut(text: str | None) -> tuple[str | None, int]:
    """Cut a text to 64 KB, keeping its head and its tail.

    Returns:
        The text, and its true size in bytes of UTF-8.
    """
    if text is None:
        return None, 0
    if len(text) * 4 <= MAX_TEXT_BYTES:
        return text, len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded.decode(), len(encoded)
    tail_bytes = MAX_TEXT_BYTES - TEXT_HEAD_BYTES
    head, tail = encoded[:TEXT_HEAD_BYTES].decode("utf-8", "ignore"), encoded[-tail_bytes:].decode("utf-8", "ignore")
    left_out = len(encoded) - MAX_TEXT_BYTES
    return f"{head}\n[… {left_out:,} bytes left out …]\n{tail}", len(encoded)


def fingerprint(bodies: Iterable[bytes], *context: object) -> int:
    """Fingerprint texts and their context in 64 bits, signed as a BIGINT is."""
    digest = blake2b(repr(context).encode("utf-8", "replace"), digest_size=8)
    for body in bodies:
        digest.update(len(body).to_bytes(8, "little"))
        digest.update(body)
    return int.from_bytes(digest.digest(), "little", signed=True)

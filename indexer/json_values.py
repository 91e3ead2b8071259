"""Values of JSON documents that anybody may have damaged: what they are, or None; never an exception."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import blake2b
from typing import Any

import orjson

from indexer.rows import EpochMs

EPOCH_MS = range(253_402_128_000_000)  # 1970 to 9999-12-29: what a TIMESTAMP and a datetime hold in every time zone
MAX_COST_USD = Decimal(1_000_000)  # DECIMAL(18, 12) holds less than this
MAX_INTEGER_DIGITS = 4_000  # Python refuses to read longer ones, and takes the whole document with it
MAX_TEXT_BYTES = 65_536
TEXT_HEAD_BYTES = 49_152
TEXT_MARKER_BYTES = 64  # kept free for the words on what was left out, which take fewer

JsonObject = Mapping[str, Any]

# a text such as "data: yes, please" is none
_DATA_URL = re.compile(r"\s*data:[^\s,]*(,|;base64$)", re.IGNORECASE)
_TOO_DEEP = "[nested too deeply to be kept]"


def read_object(body: bytes) -> JsonObject | str:
    """Read a JSON object.

    Args:
        body: JSON text.

    Returns:
        The object without lone surrogates, which no column can hold, or the reason why there is none: half a sentence
        about the document, without any of its text.
    """
    try:
        loaded: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        # the standard library also takes lone surrogates, NaN and huge numbers, which real documents contain
        if not body.strip(b"\0\t\n\r "):
            return "is empty" if not body.strip() else "holds nothing but NUL bytes"
        try:
            loaded = _scrub(json.loads(body.decode("utf-8-sig", "surrogatepass"), parse_int=_integer))
        except RecursionError:
            return "is nested too deeply to be read"
        except UnicodeDecodeError as error:
            return f"is not UTF-8 text (byte {error.start:,} of {len(body):,})"
        except json.JSONDecodeError as error:
            return f"is not JSON, or cut off (at character {error.pos:,} of {len(error.doc):,})"
    return loaded if isinstance(loaded, dict) else f"is JSON, but no object: {_JSON_TYPES[type(loaded)]}"


_JSON_TYPES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
}


def _integer(digits: str) -> int | float:
    """Read an integer of any length; one that nothing could hold is infinite, as 1e400 is."""
    return int(digits) if len(digits) < MAX_INTEGER_DIGITS else math.inf


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
            return f'"{_TOO_DEEP}"'


def dump_body(value: object) -> str:
    """Write a JSON value as text to be kept, without the contents of `data:` addresses."""
    text = dump(value)
    # a look at the text is all that most values cost
    return dump(without_data_urls(value)) if "data:" in text.lower() else text


def without_data_urls(value: object) -> object:
    """Replace every `data:` address inside a JSON value by its size: it is the content of a file."""
    try:
        return _without_data_urls(value)
    except RecursionError:
        return _TOO_DEEP


def _without_data_urls(value: object) -> object:
    """Replace the `data:` addresses of a JSON value, level by level."""
    match value:
        case str():
            return {"data_url_bytes": utf8_size(value)} if is_data_url(value) else value
        case dict():
            return {name: _without_data_urls(item) for name, item in value.items()}
        case list():
            return [_without_data_urls(item) for item in value]
        case _:
            return value


def is_data_url(text: str) -> bool:
    """Tell whether a text is a `data:` address that holds its content."""
    return _DATA_URL.match(text) is not None


def utf8_size(text: str) -> int:
    """Count the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


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


def printable(text: str) -> str:
    """Replace what would break a line of a log."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)


def brief(value: object) -> str:
    """Write a value in 100 characters at most."""
    return (clean(value) if isinstance(value, str) else dump(value))[:100]


def mapping(value: JsonObject, name: str) -> JsonObject:
    """Read an object inside an object; empty if it is missing or something else."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def pick(value: JsonObject, *names: str) -> dict[str, object]:
    """Keep the named fields that are there."""
    return {name: value[name] for name in names if value.get(name) is not None}


def text_of(value: JsonObject, name: str) -> str | None:
    """Read a text; None if it is missing, empty or something else."""
    found = value.get(name)
    return found if isinstance(found, str) and found else None


def integer(value: object) -> int | None:
    """Read a number as an integer; None for anything else, bool and NaN included."""
    if type(value) is int:  # not bool
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
    # a NaN must not meet a Decimal: to compare the two raises
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) >= MAX_COST_USD:
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
    """Cut a text to 64 KB, keeping its head and its tail and saying between them how much is left out.

    Returns:
        The text, and its true size in bytes of UTF-8.
    """
    if text is None:
        return None, 0
    if len(text) * 4 <= MAX_TEXT_BYTES:
        return text, utf8_size(text)
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded.decode(), len(encoded)
    tail_bytes = MAX_TEXT_BYTES - TEXT_HEAD_BYTES - TEXT_MARKER_BYTES
    head, tail = encoded[:TEXT_HEAD_BYTES].decode("utf-8", "ignore"), encoded[-tail_bytes:].decode("utf-8", "ignore")
    left_out = len(encoded) - utf8_size(head) - utf8_size(tail)
    return f"{head}\n[… {left_out:,} bytes left out …]\n{tail}", len(encoded)


def fingerprint(bodies: Iterable[bytes], *context: object) -> int:
    """Fingerprint texts and their context in 64 bits, signed as a BIGINT is."""
    digest = blake2b(repr(context).encode("utf-8", "replace"), digest_size=8)
    for body in bodies:
        digest.update(len(body).to_bytes(8, "little"))
        digest.update(body)
    return int.from_bytes(digest.digest(), "little", signed=True)

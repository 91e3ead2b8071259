"""What may stand in the settings file, and what is wrong with one that says something else."""

import difflib
import os
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

_LONGEST_VALUE = 60
# What pydantic says of these is about Python, not about TOML.
_IN_TOML = {
    "missing": "is missing",
    "tuple_type": 'must be a list, as in ["one", "two"]',
    "string_type": 'must be text in quotes, as in "one"',
    "model_type": "must be a table, with its keys below its name in brackets",
    "date_type": "must be a date, as in 2026-01-31",
    "date_from_datetime_inexact": "must be a date, as in 2026-01-31",
    "date_from_datetime_parsing": "must be a date, as in 2026-01-31",
    "string_too_short": "must not be empty",
}


def _number(value: object) -> object:
    """Refuse what pydantic would turn into a number: text, and true or false."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number without quotes")
    return value


def _folder(value: object) -> object:
    """Expand `~`; refuse a relative path, which indexer and dashboard may see from different folders."""
    if not isinstance(value, str):
        raise ValueError('must be a path in quotes, as in "~/folder"')
    if "\0" in value:
        raise ValueError("must not hold the character 0")
    path = Path(os.path.expanduser(value))
    if not path.is_absolute():
        raise ValueError("must be a whole path: it begins with / or ~/")
    return path


def _time_zone(name: str) -> str:
    """Refuse a name that is no time zone of this machine."""
    known = zoneinfo.available_timezones() - {"localtime"}  # some systems' name for their own, whichever it is
    if name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be the name of a time zone, as in Europe/Berlin{hint}")
    return name


Text = Annotated[str, Field(min_length=1)]
Folder = Annotated[Path, BeforeValidator(_folder)]
# twelve decimal places, as costs have: a share of much less would be no number
Budget = Annotated[Decimal, BeforeValidator(_number), Field(gt=0, le=1_000_000_000, decimal_places=12)]
# USD per million tokens: of a token these are twelve decimal places, as costs have
Price = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, le=1_000_000, decimal_places=6)]
Tokens = Annotated[int, Field(strict=True, gt=0)]


class _Table(BaseModel):
    """A table of the file: what it does not know is an error, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Exclude(_Table):
    """What is left out of the index.

    Attributes:
        projects: Each the id of a project, its name, or a path with or without wildcards.
    """

    projects: tuple[Text, ...] = ()


class Budgets(_Table):
    """What one means to spend at most, in USD; None: no limit."""

    month_usd: Budget | None = None
    week_usd: Budget | None = None
    five_hours_usd: Budget | None = None


class ModelPrice(_Table):
    """What a model costs from a day on, in USD per million tokens, or which model it costs the same as.

    Attributes:
        begins: UTC day of the first request at this price; `from` in the file. None: always.
        input: None with `same_as`; `output` too.
        cache_read: None: as input; `cache_write` too.
        reasoning: None: as output.
        over: Holds for requests with more input tokens than this, cached ones included. None: for all others.
        same_as: `provider/model`. None where prices are given.
    """

    provider: Text
    model: Text
    begins: date | None = Field(default=None, alias="from")
    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None
    reasoning: Price | None = None
    over: Tokens | None = None
    same_as: Annotated[str, Field(pattern=r"^[^/]+/.+$")] | None = None

    @model_validator(mode="after")
    def _has_one_price(self) -> Self:
        """Refuse prices beside `same_as`, and half a price."""
        prices = (self.input, self.output, self.cache_read, self.cache_write, self.reasoning, self.over)
        if self.same_as is not None and any(price is not None for price in prices):
            raise ValueError("has same_as, which stands instead of prices: leave out one or the other")
        if self.same_as is None and (self.input is None or self.output is None):
            raise ValueError("must have input and output, or same_as")
        if self.same_as == f"{self.provider}/{self.model}":
            raise ValueError("must name another model in same_as")
        return self


class Prices(_Table):
    """The user's own prices.

    Attributes:
        subscriptions: Ids of providers that are paid by a flat fee.
        models: In the order of the file.
    """

    subscriptions: tuple[Text, ...] = ()
    models: tuple[ModelPrice, ...] = ()

    @model_validator(mode="after")
    def _has_no_twins(self) -> Self:
        """Refuse two prices of one model for the same requests."""
        seen = set[tuple[str, str, date | None, int | None]]()
        for price in self.models:
            key = (price.provider, price.model, price.begins, price.over)
            if key in seen:
                raise ValueError(f"has two prices of {price.provider}/{price.model} with the same from and over")
            seen.add(key)
        return self


class Settings(_Table):
    """Everything that can be set; without a file everything has its default.

    Attributes:
        data: OpenCode data folders. Empty: the default one.
        index: The index file. None: the default place.
        time_zone: Days, weeks and months are cut in it. None: the browser's.
        first_weekday: Weeks begin on it.
    """

    data: tuple[Folder, ...] = ()
    index: Folder | None = None
    time_zone: Annotated[str, AfterValidator(_time_zone)] | None = None
    first_weekday: Weekday = "monday"
    exclude: Exclude = Exclude()
    budgets: Budgets = Budgets()
    prices: Prices = Prices()

    @property
    def first_weekday_number(self) -> int:
        """Return the day that weeks begin on as Python counts: Monday is 0."""
        return get_args(Weekday).index(self.first_weekday)


def problems(error: ValidationError, places: Mapping[str, str], file: str) -> list[str]:
    """Say what is wrong, one line a problem: where, which key, what is allowed.

    Args:
        error: What the models refused.
        places: Where a top-level key comes from, if not from the file.
        file: Where all others come from.
    """
    lines = []
    for each in error.errors(include_url=False):
        where = each["loc"]
        value = "" if each["type"] in ("missing", "extra_forbidden") else _shown(each["input"])
        place = places.get(str(where[0]), file) if where else file
        lines.append(f"{place}: {_path(where)}{value} {_reason(each['type'], each['msg'], each.get('ctx', {}), where)}")
    return lines


def _path(where: Sequence[int | str]) -> str:
    """Write a place in the file; entries of a list count from 1."""
    words = [f"entry {part + 1}" if isinstance(part, int) else part for part in where]
    path = words[:1]
    for before, part, word in zip(where, where[1:], words[1:], strict=False):
        path.append(word if isinstance(part, int) or isinstance(before, int) else f".{word}")
    return path[0] + "".join(word if word.startswith(".") else f", {word}" for word in path[1:])


def _shown(value: object) -> str:
    """Write a value after its key; a table or a list would be too long to read."""
    if isinstance(value, str):
        return f' = "{value[:_LONGEST_VALUE]}"'
    if isinstance(value, bool):
        return f" = {str(value).lower()}"
    return f" = {value}"[:_LONGEST_VALUE] if isinstance(value, int | Decimal | date) else ""


def _reason(kind: str, message: str, context: Mapping[str, Any], where: Sequence[int | str]) -> str:
    """Say what is wrong with a value, and what is allowed."""
    if kind == "extra_forbidden":
        return _unknown_key(where)
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return "must be provider/model"
    return _IN_TOML.get(kind) or message.replace("Input should be", "must be").replace("Decimal input should", "must")


def _unknown_key(where: Sequence[int | str]) -> str:
    """Name the keys that are known where one is not."""
    table: type[BaseModel] = Settings
    for part in where[:-1]:
        if isinstance(part, str):
            table = _table_of(table.model_fields[part].annotation)
    known = [field.alias or name for name, field in table.model_fields.items()]
    close = difflib.get_close_matches(str(where[-1]), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"is no setting; {hint}Known here: {', '.join(known)}"


def _table_of(annotation: Any) -> type[BaseModel]:
    """Find the table in the type of a key: itself, or what it is a list of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return _table_of(get_args(annotation)[0])

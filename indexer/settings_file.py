"""The settings file: TOML, every key optional, each checked before anything is done with it (docs/configuration.md)."""

import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from indexer.exceptions import SettingsInvalid

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
UsdAMillion = Annotated[Decimal, Field(ge=0, lt=1_000_000)]  # of tokens
Budget = Annotated[Decimal, Field(gt=0, lt=1_000_000_000)]


def _known_zone(name: str) -> str:
    """Refuse names that are no time zone."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError("no such time zone; an IANA name is needed, as Europe/Berlin") from error
    return name


class _Table(BaseModel):
    """A table of the file: nothing in it is ignored in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Exclusions(_Table):
    """What is left out of the index.

    Attributes:
        projects: Ids, names, or folders (`~` and `*` are expanded) of projects.
    """

    projects: tuple[str, ...] = ()


class Budgets(_Table):
    """What the user wants to spend at most, USD. None: no budget."""

    month_usd: Budget | None = None
    week_usd: Budget | None = None
    five_hours_usd: Budget | None = None


class ModelPrice(_Table):
    """A list price of the user's own, USD a million tokens.

    Attributes:
        provider: As OpenCode names it.
        model: Alike.
        from_day: First day, UTC, on which it holds. None: always, up to the next entry of the model.
        over: It holds for requests that send more tokens than this, cached ones included. None: for all others.
        cache_read: None: as `input`; so with `cache_write`.
        reasoning: None: as `output`.
        same_as: `provider/model` whose prices hold instead of numbers.
    """

    provider: str
    model: str
    from_day: date | None = Field(None, alias="from")
    over: Annotated[int, Field(gt=0)] | None = None
    input: UsdAMillion | None = None
    output: UsdAMillion | None = None
    reasoning: UsdAMillion | None = None
    cache_read: UsdAMillion | None = None
    cache_write: UsdAMillion | None = None
    same_as: Annotated[str, Field(pattern="^[^/]+/.+$")] | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        """Refuse an entry without a price, or with two kinds of them."""
        numbers = (self.input, self.output, self.reasoning, self.cache_read, self.cache_write)
        if self.same_as is not None and any(number is not None for number in numbers):
            raise ValueError("same_as stands for all prices: remove the others, or same_as")
        if self.same_as is None and (self.input is None or self.output is None):
            raise ValueError("input and output are needed, or same_as")
        return self


class Prices(_Table):
    """What the user knows of prices.

    Attributes:
        subscriptions: Ids of providers that are paid by a flat fee.
        models: Prices; several entries of a model are changes of its price, or tiers.
    """

    subscriptions: tuple[str, ...] = ()
    models: tuple[ModelPrice, ...] = ()

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        """Refuse two entries that hold for the same requests."""
        keys = [(entry.provider, entry.model, entry.from_day, entry.over) for entry in self.models]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"{twice[0]}/{twice[1]} has two entries with the same from and over")
        return self


class Settings(_Table):
    """All that the file may say.

    Attributes:
        data: OpenCode data folders. Empty: OpenCode's own.
        index: The index. None: the default place.
        time_zone: Cuts days. None: the browser's.
        first_weekday: Begins a week.
    """

    data: tuple[Path, ...] = ()
    index: Path | None = None
    time_zone: Annotated[str, AfterValidator(_known_zone)] | None = None
    first_weekday: Weekday = "monday"
    exclude: Exclusions = Exclusions()
    budgets: Budgets = Budgets()
    prices: Prices = Prices()


def read_settings(file: Path) -> Settings:
    """Read a settings file.

    Args:
        file: It need not exist.

    Returns:
        What it says; all defaults if there is none.

    Raises:
        SettingsInvalid: It cannot be read, is no TOML, or says something that is not allowed.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"The settings file {file} cannot be read: {error}") from error
    try:
        return Settings.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"The settings file {file} is no TOML: {error}") from error
    except ValidationError as error:
        lines = [f"  {_place(problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        raise SettingsInvalid("\n".join([f"The settings file {file} cannot be used:", *lines])) from error


def _place(keys: tuple[int | str, ...]) -> str:
    """Write where in the file something is; entries of a list count from 1."""
    return ".".join(f"entry {key + 1}" if isinstance(key, int) else key for key in keys) or "the file"

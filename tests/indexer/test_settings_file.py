"""The settings file: what may stand in it, and what is said about one that cannot be used."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from indexer import settings
from indexer.exceptions import SettingsInvalid
from indexer.settings_model import Budgets, Exclude, ModelPrice, Settings

EVERYTHING = """
data = ["~/opencode", "/srv/opencode"]
index = "/srv/index.duckdb"
time_zone = "Europe/Berlin"
first_weekday = "sunday"
[exclude]
projects = ["~/private/*", "abc123", "diary"]
[budgets]
month_usd = 200.10
week_usd = 50
[prices]
subscriptions = ["github-copilot"]
[[prices.models]]
provider = "acme"
model = "nova"
from = 2026-01-01
input = 0.1
output = 15
over = 200_000
[[prices.models]]
provider = "acme"
model = "nova"
same_as = "anthropic/claude-sonnet-4-5"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings are looked for; nothing is there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("OPENCODE_DATA_DIR", "ANALYTICS_DB"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config" / "opencode-analytics" / "settings.toml"
    path.parent.mkdir(parents=True)
    return path


def problems(file: Path, text: str) -> list[str]:
    """Write settings that cannot be used; return what is said, without the name of the file."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsInvalid) as raised:
        settings.load()
    heading, *lines = str(raised.value).splitlines()
    assert heading == "The settings cannot be used."
    return [line.removeprefix(f"{file}: ") for line in lines]


def test_load_no_file_is_all_defaults(file: Path) -> None:
    """Nothing needs to be configured."""
    assert settings.load() == Settings()
    assert settings.load().first_weekday_number == 0


def test_load_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    """Editors on Windows write one."""
    file.write_text('first_weekday = "sunday"', encoding="utf-8-sig")

    found = settings.load()

    assert found.first_weekday == "sunday"


def test_load_everything_is_read_exactly(file: Path, tmp_path: Path) -> None:
    """Money as it is written, `~` expanded."""
    file.write_text(EVERYTHING, encoding="utf-8")

    found = settings.load()

    assert found.data == (tmp_path / "home" / "opencode", Path("/srv/opencode"))
    assert found.index == Path("/srv/index.duckdb")
    assert (found.time_zone, found.first_weekday_number) == ("Europe/Berlin", 6)
    assert found.exclude == Exclude(projects=("~/private/*", "abc123", "diary"))
    assert found.budgets == Budgets(month_usd=Decimal("200.10"), week_usd=Decimal(50))
    assert found.prices.subscriptions == ("github-copilot",)
    dated, same = found.prices.models
    assert (dated.begins, dated.input, dated.output) == (date(2026, 1, 1), Decimal("0.1"), Decimal(15))
    assert (dated.over, dated.cache_read) == (200_000, None)
    assert same == ModelPrice(provider="acme", model="nova", same_as="anthropic/claude-sonnet-4-5")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("indx = 1", "indx is no setting; did you mean index? Known here: data, index, time_zone, first_weekday, "),
        ("[exclude]\nproject = []", "exclude.project is no setting; did you mean projects? Known here: projects"),
        ('exclude = "x"', 'exclude = "x" must be a table'),
        ('[exclude]\nprojects = "x"', 'exclude.projects = "x" must be a list, as in ["one", "two"]'),
        ('[exclude]\nprojects = [""]', 'exclude.projects, entry 1 = "" must not be empty'),
        ('data = ["here"]', 'data, entry 1 = "here" must be a whole path: it begins with / or ~/'),
        (
            'data = ["~nobody-at-all/x"]',
            'data, entry 1 = "~nobody-at-all/x" must be a whole path: it begins with / or ~/',
        ),
        (r'index = "/a\u0000"', 'index = "/a\x00" must not hold the character 0'),
        ("index = 3", 'index = 3 must be a path in quotes, as in "~/folder"'),
        ('time_zone = "Europe/Berln"', 'time_zone = "Europe/Berln" must be the name of a time zone, as in Europe/'),
        ('time_zone = "../../etc/passwd"', 'time_zone = "../../etc/passwd" must be the name of a time zone'),
        ('first_weekday = "mon"', "first_weekday = \"mon\" must be 'monday', 'tuesday', "),
        ("[budgets]\nmonth_usd = 0", "budgets.month_usd = 0 must be greater than 0"),
        ('[budgets]\nmonth_usd = "9"', 'budgets.month_usd = "9" must be a number without quotes'),
        ("[budgets]\nmonth_usd = true", "budgets.month_usd = true must be a number without quotes"),
        ("[budgets]\nmonth_usd = nan", "budgets.month_usd = NaN must be a finite number"),
        ("[budgets]\nmonth_usd = 1e-999999", "budgets.month_usd = 1E-999999 must have no more than 12 decimal places"),
        ("x = 1e99999999999999999999", "has a number that is too large"),
        ("a = 1\nb = = 2", "is no TOML: Invalid value (at line 2, column 5)"),
    ],
)
def test_load_what_cannot_be_used_is_named_with_what_is_allowed(text: str, line: str, file: Path) -> None:
    """File, key, value, and what would be right."""
    found = problems(file, text)

    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("input = -1\noutput = 1", "prices.models, entry 1, input = -1 must be greater than or equal to 0"),
        (
            "input = 0.1234567\noutput = 1",
            "prices.models, entry 1, input = 0.1234567 must have no more than 6 decimal ",
        ),
        ("input = 1", "prices.models, entry 1 must have input and output, or same_as"),
        ('same_as = "x/y"\ninput = 1', "prices.models, entry 1 has same_as, which stands instead of prices"),
        ('same_as = "nova"', 'prices.models, entry 1, same_as = "nova" must be provider/model'),
        ('same_as = "acme/nova"', "prices.models, entry 1 must name another model in same_as"),
        (
            "from = 2026-01-01T10:00:00\ninput = 1\noutput = 1",
            "prices.models, entry 1, from = 2026-01-01 10:00:00 must",
        ),
        (
            'from = "soon"\ninput = 1\noutput = 1',
            'prices.models, entry 1, from = "soon" must be a date, as in 2026-01-31',
        ),
        ("over = 1.5\ninput = 1\noutput = 1", "prices.models, entry 1, over = 1.5 must be a valid integer"),
    ],
)
def test_load_price_that_cannot_be_used_is_named(entry: str, line: str, file: Path) -> None:
    """Which of the entries, and why."""
    found = problems(file, f'[[prices.models]]\nprovider = "acme"\nmodel = "nova"\n{entry}')

    assert len(found) == 1
    assert found[0].startswith(line)


def test_load_two_prices_for_the_same_requests_are_refused(file: Path) -> None:
    """Which of them counts would be a guess; from another day on, or over a limit, is another price."""
    entry = '[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 1\noutput = 2\n'

    found = problems(file, entry + entry + "from = 2026-01-01\n" + entry + "over = 1000\n" + entry)

    assert found == ["prices has two prices of acme/nova with the same from and over"]


def test_load_several_problems_are_all_named(file: Path) -> None:
    """One look, not one start a problem."""
    found = problems(file, 'first_weekday = "x"\n[budgets]\nweek_usd = -1\n[[prices.models]]\nmodel = "m"\n')

    assert [line.split(" ")[0] for line in found] == ["first_weekday", "budgets.week_usd", "prices.models,"]


def test_load_file_that_is_no_text_or_no_file_is_named(file: Path) -> None:
    """Whatever lies there."""
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsInvalid, match="is not UTF-8 text"):
        settings.load()

    file.unlink()
    file.mkdir()
    with pytest.raises(SettingsInvalid, match="cannot be read: Is a directory"):
        settings.load()


def test_load_environment_wins_over_the_file_and_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its values are checked as those of the file are."""
    file.write_text('time_zone = "Europe/Berlin"\nfirst_weekday = "sunday"', encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_TIME_ZONE", "Asia/Tokyo")

    assert settings.load().time_zone == "Asia/Tokyo"
    assert settings.load().first_weekday == "sunday"

    monkeypatch.setenv("ANALYTICS_FIRST_WEEKDAY", "someday")
    with pytest.raises(SettingsInvalid, match='\nANALYTICS_FIRST_WEEKDAY: first_weekday = "someday" must be'):
        settings.load()


def test_load_named_file_is_read_and_must_exist(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in its name must not mean defaults."""
    monkeypatch.setenv("ANALYTICS_CONFIG", str(tmp_path / "mine.toml"))
    with pytest.raises(SettingsInvalid, match=r"mine\.toml, named by ANALYTICS_CONFIG: no file"):
        settings.load()

    (tmp_path / "mine.toml").write_text('first_weekday = "friday"', encoding="utf-8")

    assert settings.load().first_weekday == "friday"


def test_places_command_line_environment_file_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that order, for folders and index."""
    file.write_text('data = ["/file"]\nindex = "/file.duckdb"', encoding="utf-8")

    from_file = (settings.data_dirs(), settings.index_path())
    monkeypatch.setenv("OPENCODE_DATA_DIR", "/environment")
    monkeypatch.setenv("ANALYTICS_DB", "/environment.duckdb")

    assert from_file == ([Path("/file")], Path("/file.duckdb"))
    assert (settings.data_dirs(), settings.index_path()) == ([Path("/environment")], Path("/environment.duckdb"))
    assert settings.data_dirs([Path("/given")]) == [Path("/given")]


def test_file_stamp_differs_with_every_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, one, another one, another environment."""
    stamps = [settings.file_stamp(), settings.file_stamp()]
    file.write_text("", encoding="utf-8")
    stamps.append(settings.file_stamp())
    file.write_text("[budgets]", encoding="utf-8")
    stamps.append(settings.file_stamp())
    monkeypatch.setenv("ANALYTICS_TIME_ZONE", "UTC")
    stamps.append(settings.file_stamp())

    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 4

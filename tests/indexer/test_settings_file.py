"""The settings file: what it may say, and what is told of a wrong one."""

import re
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from indexer.exceptions import SettingsInvalid
from indexer.settings_file import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, text: str) -> Path:
    """Write a settings file."""
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_read_settings_no_file_is_all_defaults(tmp_path: Path) -> None:
    """Nothing needs to be configured."""
    assert read_settings(tmp_path / "none.toml") == Settings()


def test_read_settings_documented_example_is_valid(tmp_path: Path) -> None:
    """The example of the documentation names every key there is."""
    guide = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert example is not None

    found = read_settings(written(tmp_path, example[1]))

    assert found.model_dump(exclude_defaults=True).keys() | {"first_weekday"} == Settings.model_fields.keys()
    assert found.budgets.month_usd == Decimal(200)
    assert [entry.from_day for entry in found.prices.models] == [None, date(2026, 3, 1), date(2026, 3, 1), None]
    assert found.prices.models[0].cache_read == Decimal("0.3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time_zone = 'Europe/Nowhere'", "time_zone: Value error, no such time zone"),
        ("time_zone = '../etc/passwd'", "time_zone: Value error, no such time zone"),
        ("first_weekday = 'someday'", "first_weekday: Input should be 'monday', 'tuesday'"),
        ("colour = 'red'", "colour: Extra inputs are not permitted"),
        ("[budgets]\nmonth_usd = -1", "budgets.month_usd: Input should be greater than 0"),
        ("[budgets]\nmonth_usd = nan", "budgets.month_usd: Input should be a finite number"),
        ("[[prices.models]]\nprovider = 'a'\nmodel = 'b'", "entry 1: Value error, input and output are needed"),
        (
            "[[prices.models]]\nprovider = 'a'\nmodel = 'b'\nsame_as = 'c/d'\ninput = 1",
            "prices.models.entry 1: Value error, same_as stands for all prices",
        ),
        (
            "[[prices.models]]\nprovider = 'a'\nmodel = 'b'\ninput = 1\noutput = 1\n" * 2,
            "prices: Value error, a/b has two entries with the same from and over",
        ),
        ("data = [", "is no TOML: "),
        ("data = 1", "data: Input should be"),
    ],
)
def test_read_settings_wrong_says_what_is_wrong_where(text: str, said: str, tmp_path: Path) -> None:
    """The file, the key, and what is allowed."""
    file = written(tmp_path, text)

    with pytest.raises(SettingsInvalid) as error:
        read_settings(file)

    assert str(error.value).startswith(f"The settings file {file} ")
    assert said in str(error.value)


def test_read_settings_unreadable_says_why(tmp_path: Path) -> None:
    """A folder, say."""
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        read_settings(tmp_path)


@pytest.mark.parametrize("command", ["bulk", "run"])
def test_command_with_wrong_settings_ends_with_usage_and_does_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even an index is made."""
    monkeypatch.setenv("ANALYTICS_CONFIG", str(written(tmp_path, "colour = 1")))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))

    done = subprocess.run(
        [sys.executable, "-m", "indexer", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"The settings file {tmp_path}/settings.toml cannot be used:\n  colour: Extra inputs")
    assert not (tmp_path / "share").exists()

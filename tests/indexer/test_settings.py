"""Where things are: command line, environment, defaults, in that order."""

from pathlib import Path

import pytest

from indexer import settings
from indexer.exceptions import SettingsInvalid


@pytest.fixture(autouse=True)
def clean_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of its own, nothing configured."""
    for name in ("OPENCODE_DATA_DIR", "OPENCODE_DB", "ANALYTICS_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_data_dirs_nothing_configured_is_opencodes_own_folder(tmp_path: Path) -> None:
    """As OpenCode finds it."""
    assert settings.data_dirs() == [tmp_path / "share" / "opencode"]


def test_data_dirs_environment_names_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Separated like PATH, each once."""
    monkeypatch.setenv("OPENCODE_DATA_DIR", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/a")

    assert settings.data_dirs() == [tmp_path / "a", tmp_path / "b"]


def test_data_dirs_command_line_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is given is all that is read."""
    monkeypatch.setenv("OPENCODE_DATA_DIR", str(tmp_path / "a"))

    assert settings.data_dirs([tmp_path / "b"]) == [tmp_path / "b"]


def test_data_dirs_file_says_to_name_its_folder(tmp_path: Path) -> None:
    """As of who names the database itself."""
    (tmp_path / "opencode.db").touch()

    with pytest.raises(SettingsInvalid) as raised:
        settings.data_dirs([tmp_path / "opencode.db"])

    assert str(raised.value) == (
        f"{tmp_path / 'opencode.db'} is a file. Name the folder that holds OpenCode's data: {tmp_path}"
    )


def test_data_dirs_loop_of_links_is_no_error(tmp_path: Path) -> None:
    """It is named as it is; reading it says what is wrong."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    assert settings.data_dirs([loop]) == [loop]


def test_index_path_command_line_environment_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In that order."""
    default = settings.index_path()
    monkeypatch.setenv("ANALYTICS_DB", str(tmp_path / "env.duckdb"))

    assert default == tmp_path / "share" / "opencode-analytics" / "analytics.duckdb"
    assert settings.index_path() == tmp_path / "env.duckdb"
    assert settings.index_path(tmp_path / "given.duckdb") == tmp_path / "given.duckdb"


def test_index_path_link_is_not_followed(tmp_path: Path) -> None:
    """The index is a link that moves with every revision."""
    (tmp_path / "index.duckdb").symlink_to(tmp_path / "elsewhere")

    assert settings.index_path(tmp_path / "index.duckdb") == tmp_path / "index.duckdb"


def test_sample_index_path_is_a_cache(tmp_path: Path) -> None:
    """Apart from the user's own index."""
    assert settings.sample_index_path() == tmp_path / "cache" / "opencode-analytics" / "sample.duckdb"


def test_database_files_release_channels_and_configured_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`OPENCODE_DB` may name one by a relative path."""
    for name in ("opencode.db", "opencode-beta.db", "mine.db", "opencode.db-wal"):
        (tmp_path / name).touch()
    monkeypatch.setenv("OPENCODE_DB", "mine.db")

    assert [path.name for path in settings.database_files(tmp_path)] == ["mine.db", "opencode-beta.db", "opencode.db"]


def test_database_files_absolute_one_belongs_to_the_default_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is OpenCode's own, wherever it lies, and no other folder's."""
    (tmp_path / "moved.db").touch()
    monkeypatch.setenv("OPENCODE_DB", str(tmp_path / "moved.db"))

    assert settings.database_files(settings.data_dirs()[0]) == [tmp_path / "moved.db"]
    assert settings.database_files(tmp_path / "other") == []


def test_no_source_names_what_is_there_and_too_old(tmp_path: Path) -> None:
    """The layout of OpenCode 0.5; an empty folder is only named."""
    (tmp_path / "old" / "project" / "global" / "storage" / "session" / "info").mkdir(parents=True)
    folders = [tmp_path / "old", tmp_path / "missing"]

    said = settings.no_source(folders)

    assert said == (
        f"No OpenCode data in {folders[0]}, {folders[1]}. What is in {folders[0] / 'project'} was written by OpenCode "
        "0.5 or older, whose layout is not known here. Name OpenCode's data folder with --data or OPENCODE_DATA_DIR."
    )


def test_has_source_tells_any_storage_even_one_that_cannot_be_read(tmp_path: Path) -> None:
    """A broken link has an error worth more than "no data"."""
    for name in ("tree", "rows", "broken", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "tree" / "storage").mkdir()
    (tmp_path / "rows" / "opencode.db").touch()
    (tmp_path / "broken" / "opencode-dev.db").symlink_to(tmp_path / "gone")

    found = {name: settings.has_source(tmp_path / name) for name in ("tree", "rows", "broken", "empty", "missing")}

    assert found == {"tree": True, "rows": True, "broken": True, "empty": False, "missing": False}

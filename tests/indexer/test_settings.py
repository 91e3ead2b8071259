"""Where things are: command line, environment, defaults, in that order."""

import re
from pathlib import Path
from unittest.mock import Mock

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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/", "The index / is a folder. Choose another file with --db."),
        ("~nobody-at-all/a.duckdb", "~nobody-at-all/a.duckdb: no user nobody-at-all is known"),
        ("/tmp/caf\udce9.duckdb", "is not UTF-8 text. Choose another file with --db."),
        (f"/tmp/{'a' * 201}", "has a name of more than 200 bytes. Choose another file with --db."),
    ],
)
def test_index_path_name_that_no_index_can_have_is_refused(name: str, said: str) -> None:
    """Before anything is made there."""
    with pytest.raises(SettingsInvalid, match=re.escape(said)):
        settings.index_path(Path(name))


def test_index_path_longest_name_has_room_for_the_files_beside_it(tmp_path: Path) -> None:
    """They are named as the index, and more."""
    longest = settings.index_path(tmp_path / ("a" * 200))

    longest.with_name(f"{longest.name}.kept-spend.unusable-2026-01-31T120000").touch()


def test_data_dirs_unknown_home_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's in a path, or one's own in a container whose user has no name."""
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError))

    with pytest.raises(SettingsInvalid, match="no user nobody-at-all is known"):
        settings.data_dirs([Path("~nobody-at-all/opencode")])
    with pytest.raises(SettingsInvalid, match=r"No home folder is known\. Set HOME"):
        settings.data_dirs()


def test_opencode_configurations_unknown_home_folder_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCode's own variable: prices are looked for where there is nothing, and everything else goes on."""
    monkeypatch.setenv("OPENCODE_CONFIG", "~nobody-at-all/opencode.json")

    assert settings.opencode_configurations()[-1] == Path("~nobody-at-all/opencode.json")


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


def test_database_files_absolute_one_belongs_to_the_folder_that_it_is_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where that folder is named, too: it was not found by either."""
    (tmp_path / "moved.db").touch()
    monkeypatch.setenv("OPENCODE_DB", str(tmp_path / "moved.db"))

    assert settings.database_files(tmp_path) == [tmp_path / "moved.db"]


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

    names = ("tree", "rows", "broken", "empty", "missing", "rows/opencode.db")

    found = {name: settings.has_source(tmp_path / name) for name in names}

    assert found == {**dict.fromkeys(names[:3], True), **dict.fromkeys(names[3:], False)}

"""Finds and reads the settings: command line first, then environment, then the settings file, then defaults."""

import os
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.exceptions import SettingsInvalid

if TYPE_CHECKING:
    from indexer.settings_model import ModelPrice, Settings

_HOME = "Set HOME, or write whole paths."
_LONGEST_NAME = 200  # of an index; most systems allow 255 bytes, which `.kept-spend.unusable-<date>` is to fit in
# Keys of the file that an environment variable overrides; folders and index have theirs below.
_VARIABLES = {"time_zone": "ANALYTICS_TIME_ZONE", "first_weekday": "ANALYTICS_FIRST_WEEKDAY"}


def load() -> "Settings":
    """Read the settings file and the environment.

    Returns:
        What they say; defaults for all else, also without a file.

    Raises:
        SettingsInvalid: The file cannot be read, or says something that cannot be used.
    """
    from indexer.settings_model import Settings

    return _chosen() or Settings()


def calendar() -> tuple[str | None, int]:
    """Return the time zone that cuts days, None if it is not set, and the day that weeks begin on: Monday is 0.

    Raises:
        SettingsInvalid: See `load`.
    """
    chosen = _chosen()
    return (chosen.time_zone, chosen.first_weekday_number) if chosen else (None, 0)


def excluded_projects() -> tuple[str, ...]:
    """Return what is left out of the index.

    Raises:
        SettingsInvalid: See `load`.
    """
    chosen = _chosen()
    return chosen.exclude.projects if chosen else ()


def own_prices() -> "tuple[tuple[ModelPrice, ...], frozenset[str]]":
    """Return the user's own prices, in the order of the file, and the providers that are paid by a flat fee.

    Raises:
        SettingsInvalid: See `load`.
    """
    chosen = _chosen()
    return (chosen.prices.models, frozenset(chosen.prices.subscriptions)) if chosen else ((), frozenset())


def _chosen() -> "Settings | None":
    """Read the settings file and the environment; None if they say nothing, and all defaults count.

    Most people set nothing, and what checks settings takes 0.1 s to load: a third of the start of a command.

    Raises:
        SettingsInvalid: See `load`.
    """
    from_environment = {key: name for key, name in _VARIABLES.items() if os.environ.get(name)}
    document = _read_file() | {key: os.environ[name] for key, name in from_environment.items()}
    if not document:
        return None
    from pydantic import ValidationError

    from indexer.settings_model import Settings, problems

    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        found = "\n".join(problems(error, from_environment, str(file_path())))
        raise SettingsInvalid(f"The settings cannot be used.\n{found}") from error


def file_path() -> Path:
    """Name the settings file; it need not exist.

    Returns:
        `ANALYTICS_CONFIG`, else `opencode-analytics/settings.toml` in the folder for settings. Absolute.
    """
    configured = os.environ.get("ANALYTICS_CONFIG", "")
    return _expanded(Path(configured)).absolute() if configured else _default_file()


def file_stamp() -> str:
    """Return what differs whenever the settings may have changed, without reading the file."""
    return repr((stamp_of(file_path()), [os.environ.get(name, "") for name in _VARIABLES.values()]))


def stamp_of(path: Path) -> str:
    """Return what differs whenever a file may have changed, comes or goes, without reading it."""
    try:
        stat = path.stat()
    except OSError as error:
        return repr((str(path), error.errno))
    return repr((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))


def data_dirs(given: Sequence[Path] = ()) -> list[Path]:
    """Name the OpenCode data folders to read.

    Args:
        given: Folders from the command line; they win.

    Returns:
        The given folders, else `OPENCODE_DATA_DIR` (several separated like PATH), else those of the settings file, else
        OpenCode's own default. Absolute, each once, in the order given. They may not exist.

    Raises:
        SettingsInvalid: The settings file is needed and cannot be used, or a file is named in the place of its folder.
    """
    configured = os.environ.get("OPENCODE_DATA_DIR", "")
    folders = list(given) or [Path(name) for name in configured.split(os.pathsep) if name]
    chosen = None if folders else _chosen()
    folders = folders or (list(chosen.data) if chosen else []) or [_data_home() / "opencode"]
    found = list(dict.fromkeys(_absolute(folder) for folder in folders))
    for each in found:
        if os.path.isfile(each):
            raise SettingsInvalid(f"{each} is a file. Name the folder that holds OpenCode's data: {each.parent}")
    return found


def index_path(given: Path | None = None) -> Path:
    """Name the index file that readers open.

    Args:
        given: Path from the command line; it wins.

    Returns:
        The given path, else `ANALYTICS_DB`, else that of the settings file, else `opencode-analytics/analytics.duckdb`
        in the data home. Absolute, and not resolved: the file itself is a symbolic link that moves with every revision.

    Raises:
        SettingsInvalid: The settings file is needed and cannot be used, or no index can have that name.
    """
    configured = os.environ.get("ANALYTICS_DB", "")
    path = given or (Path(configured) if configured else None)
    chosen = None if path else _chosen()
    path = path or (chosen.index if chosen else None)
    path = _expanded(path or _data_home() / "opencode-analytics" / "analytics.duckdb")
    _refuse_name(path)
    return _absolute(path.parent) / path.name


def sample_index_path() -> Path:
    """Name the index of the bundled sample data: a cache, apart from the user's own index."""
    return _cache_home() / "opencode-analytics" / "sample.duckdb"


def database_files(data_dir: Path) -> list[Path]:
    """List OpenCode's databases of a data folder.

    `OPENCODE_DB` names one more, as it does for OpenCode itself: relative to the data folder, or absolute, which then
    belongs to the folder that it is in, and to the default one.

    Args:
        data_dir: An OpenCode data folder, absolute.

    Returns:
        `opencode.db`, `opencode-<channel>.db` and the configured one where they exist, sorted.
    """
    found = {path for pattern in ("opencode.db", "opencode-*.db") for path in data_dir.glob(pattern)}
    configured = Path(os.environ.get("OPENCODE_DB", ""))
    is_owner = data_dir in (_absolute(_data_home() / "opencode"), _absolute(configured.parent))
    is_here = configured.name != "" and (not configured.is_absolute() or is_owner)
    if is_here and (data_dir / configured).is_file():
        found.add(data_dir / configured)
    return sorted(found)


def opencode_configurations() -> list[Path]:
    """Name OpenCode's global configuration files, those that count more last. They may not exist.

    Those inside projects are not looked for. Source: OpenCode's documentation, "Config", precedence order.
    """
    folder = _config_home() / "opencode"
    files = [folder / name for name in ("config.json", "opencode.json", "opencode.jsonc")]
    if configured := os.environ.get("OPENCODE_CONFIG"):
        files.append(Path(os.path.expanduser(configured)))  # which is nobody's home stays as it is
    return files


def opencode_models() -> Path:
    """Name the list of models that OpenCode keeps in its cache. It may not exist."""
    return _cache_home() / "opencode" / "models.json"


def no_source(data_dirs: Sequence[Path]) -> str:
    """Say that folders hold no OpenCode storage, what is there instead, and what to do.

    Args:
        data_dirs: OpenCode data folders for each of which `has_source` is false; they need not exist.
    """
    old = filter(None, map(old_layout, data_dirs))
    advice = "Name OpenCode's data folder with --data or OPENCODE_DATA_DIR."
    return " ".join([f"No OpenCode data in {', '.join(map(str, data_dirs))}.", *old, advice])


def old_layout(data_dir: Path) -> str:
    """Name the storage of an OpenCode that is too old to be read; empty where there is none.

    Args:
        data_dir: An OpenCode data folder; it need not exist.
    """
    if not any(data_dir.glob("project/*/storage/session")):
        return ""
    return f"What is in {data_dir / 'project'} was written by OpenCode 0.5 or older, whose layout is not known here."


def has_source(data_dir: Path) -> bool:
    """Tell whether a folder holds any OpenCode storage, readable or not.

    Args:
        data_dir: An OpenCode data folder; it need not exist.
    """
    try:
        names = os.listdir(data_dir)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # something is there, and reading it will say why it cannot be read
    # a broken link counts, too: its error is worth more than "no data"
    is_any = any(name == "storage" or (name.startswith("opencode") and name.endswith(".db")) for name in names)
    return is_any or bool(database_files(data_dir))


def _read_file() -> dict[str, Any]:
    """Read the settings file as it is. Empty if there is none, unless the environment names it."""
    path = file_path()
    try:
        # some editors put a mark before the text (BOM)
        return tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except FileNotFoundError as error:
        if os.environ.get("ANALYTICS_CONFIG"):
            raise SettingsInvalid(
                f"The settings cannot be used.\n{path}, named by ANALYTICS_CONFIG: no file"
            ) from error
        return {}
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    except ArithmeticError:
        reason = "has a number that is too large"
    except (ValueError, RecursionError) as error:
        reason = f"is no TOML: {error}"
    raise SettingsInvalid(f"The settings cannot be used.\n{path}: {reason}")


def _default_file() -> Path:
    """Return the usual place of the settings file, by default below `~/.config`."""
    return _config_home() / "opencode-analytics" / "settings.toml"


def _absolute(path: Path) -> Path:
    """Follow links to the real path; unlike `Path.resolve`, a loop of links is no error."""
    return Path(os.path.realpath(_expanded(path)))


def _expanded(path: Path) -> Path:
    """Write out a home folder.

    Raises:
        SettingsInvalid: It is nobody's.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SettingsInvalid(f"{path}: no user {path.parts[0][1:]} is known, or no home folder. {_HOME}") from error


def _home() -> Path:
    """Return the home folder.

    Raises:
        SettingsInvalid: None is known, as in a container whose user has no name.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise SettingsInvalid(f"No home folder is known. {_HOME}") from error


def _refuse_name(path: Path) -> None:
    """Refuse a name that no index can have: files with longer names lie beside it, and DuckDB opens it.

    Raises:
        SettingsInvalid: It is such a name.
    """
    reason = None
    if not path.name:
        reason = "is a folder"
    elif len(os.fsencode(path.name)) > _LONGEST_NAME:
        reason = f"has a name of more than {_LONGEST_NAME} bytes"
    elif not _is_utf_8(path):
        reason = "is not UTF-8 text"
    if reason:
        raise SettingsInvalid(f"The index {path} {reason}. Choose another file with --db.")


def _is_utf_8(path: Path) -> bool:
    """Tell whether a path is text, which on most systems it need not be."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _data_home() -> Path:
    """Return `$XDG_DATA_HOME`, by default `~/.local/share`."""
    return Path(os.environ.get("XDG_DATA_HOME") or _home() / ".local" / "share")


def _config_home() -> Path:
    """Return `$XDG_CONFIG_HOME`, by default `~/.config`."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config")


def _cache_home() -> Path:
    """Return `$XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache")

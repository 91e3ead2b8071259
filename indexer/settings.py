"""Where everything is, and what the user chose: command line first, then environment, settings file, defaults."""

import os
from collections.abc import Sequence
from pathlib import Path

from indexer.settings_file import Settings, read_settings


def data_dirs(given: Sequence[Path] = ()) -> list[Path]:
    """Name the OpenCode data folders to read.

    Args:
        given: Folders from the command line; they win.

    Returns:
        The given folders, else `OPENCODE_DATA_DIR` (several separated like PATH), else `data` of the settings file,
        else OpenCode's own default. Absolute, each once, in the order given. They may not exist.

    Raises:
        SettingsInvalid: The settings file is needed, and cannot be used.
    """
    configured = os.environ.get("OPENCODE_DATA_DIR", "")
    folders = list(given) or [Path(name) for name in configured.split(os.pathsep) if name] or list(load().data)
    if not folders:
        folders = [_data_home() / "opencode"]
    return list(dict.fromkeys(_absolute(folder) for folder in folders))


def index_path(given: Path | None = None) -> Path:
    """Name the index file that readers open.

    Args:
        given: Path from the command line; it wins.

    Returns:
        The given path, else `ANALYTICS_DB`, else `index` of the settings file, else
        `opencode-analytics/analytics.duckdb` in the data home. Absolute, and not resolved: the file itself is a
        symbolic link that moves with every revision.

    Raises:
        SettingsInvalid: The settings file is needed, and cannot be used.
    """
    configured = os.environ.get("ANALYTICS_DB", "")
    default = _data_home() / "opencode-analytics" / "analytics.duckdb"
    path = given or (Path(configured) if configured else load().index or default)
    path = path.expanduser()
    return _absolute(path.parent) / path.name


def sample_index_path() -> Path:
    """Name the index of the bundled sample data: a cache, apart from the user's own index."""
    return _cache_home() / "opencode-analytics" / "sample.duckdb"


def database_files(data_dir: Path) -> list[Path]:
    """List OpenCode's databases of a data folder.

    `OPENCODE_DB` names one more, as it does for OpenCode itself: relative to the data folder, or absolute, which then
    belongs to the default folder.

    Args:
        data_dir: An OpenCode data folder, absolute.

    Returns:
        `opencode.db`, `opencode-<channel>.db` and the configured one where they exist, sorted.
    """
    found = {path for pattern in ("opencode.db", "opencode-*.db") for path in data_dir.glob(pattern)}
    configured = Path(os.environ.get("OPENCODE_DB", ""))
    is_default = data_dir == _absolute(_data_home() / "opencode")
    is_here = configured.name != "" and (not configured.is_absolute() or is_default)
    if is_here and (data_dir / configured).is_file():
        found.add(data_dir / configured)
    return sorted(found)


def settings_file() -> Path:
    """Name the settings file: `ANALYTICS_CONFIG`, else `opencode-analytics/settings.toml` in the configuration home."""
    configured = os.environ.get("ANALYTICS_CONFIG", "")
    path = Path(configured) if configured else _config_home() / "opencode-analytics" / "settings.toml"
    return path.expanduser()


def load() -> Settings:
    """Read the settings file.

    Returns:
        What it says; all defaults if there is no such file.

    Raises:
        SettingsInvalid: It cannot be used.
    """
    return read_settings(settings_file())


def opencode_configurations() -> list[Path]:
    """Name OpenCode's global configuration files, those that count more last. They may not exist.

    Those inside projects are not looked for. Source: OpenCode's documentation, "Config", precedence order.
    """
    folder = _config_home() / "opencode"
    files = [folder / name for name in ("config.json", "opencode.json", "opencode.jsonc")]
    if configured := os.environ.get("OPENCODE_CONFIG"):
        files.append(Path(configured).expanduser())
    return files


def opencode_models() -> Path:
    """Name the list of models that OpenCode keeps in its cache. It may not exist."""
    return _cache_home() / "opencode" / "models.json"


def has_source(data_dir: Path) -> bool:
    """Tell whether a folder holds any OpenCode storage, readable or not.

    Args:
        data_dir: An OpenCode data folder; it need not exist.
    """
    try:
        names = os.listdir(data_dir)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # something is there, and reading it will say why it cannot be read
    # a broken link counts, too: its error is worth more than "no data"
    is_any = any(name == "storage" or (name.startswith("opencode") and name.endswith(".db")) for name in names)
    return is_any or bool(database_files(data_dir))


def _absolute(path: Path) -> Path:
    """Follow links to the real path; unlike `Path.resolve`, a loop of links is no error."""
    return Path(os.path.realpath(path.expanduser()))


def _data_home() -> Path:
    """Return `$XDG_DATA_HOME`, by default `~/.local/share`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _config_home() -> Path:
    """Return `$XDG_CONFIG_HOME`, by default `~/.config`."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _cache_home() -> Path:
    """Return `$XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

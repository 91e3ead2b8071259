"""How each tool is run: in a scratch folder that is its home, without network, on storage that it cannot harm."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryFile
from typing import IO

ROOT = Path(__file__).parents[2]
PERIODS = {"day": "daily", "month": "monthly", "session": "session"}  # our name of a report -> that of ccusage
INSTALL = {
    "agentsview": "python -m venv TOOLS && TOOLS/bin/pip install agentsview, then --agentsview TOOLS/bin/agentsview",
    "ccusage": "npm install --prefix TOOLS ccusage, then --ccusage TOOLS/node_modules/.bin/ccusage",
}


class CommandFailed(Exception):
    """A tool ended with an error."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run to its end."""

    arguments: Sequence[str]
    environment: dict[str, str]

    def run(self, meanwhile: Callable[[Popen[bytes]], object] = lambda process: None) -> str:
        """Run it and return what it printed.

        Args:
            meanwhile: Called while it runs.

        Raises:
            CommandFailed: It ended with an error; with the end of what it said.
        """
        # files, as nobody empties pipes while `meanwhile` runs
        with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            with Popen(self.arguments, env=self.environment, cwd=ROOT, stdout=output, stderr=errors) as process:
                meanwhile(process)
            said = [_content(each) for each in (output, errors)]
        if process.returncode:
            raise CommandFailed(f"{' '.join(self.arguments)}: exit code {process.returncode}\n{said[1][-2_000:]}")
        return said[0]


def _content(file: IO[str]) -> str:
    """Read what a process wrote to a file."""
    file.seek(0)
    return file.read()


@dataclass(frozen=True, slots=True)
class Tools:
    """The commands of all three tools on one storage.

    Attributes:
        data_dir: The storage, staged by `stage`.
        folder: Home of all three; whatever they write is in it.
        agentsview: Its program.
        ccusage: Its program.
    """

    data_dir: Path
    folder: Path
    agentsview: Path
    ccusage: Path

    @property
    def index(self) -> Path:
        """Return what our indexer publishes."""
        return self.folder / "ours" / "analytics.duckdb"

    @property
    def agentsview_database(self) -> Path:
        """Return where agentsview keeps what it indexed."""
        return self.folder / "agentsview" / "sessions.db"

    @property
    def agentsview_log(self) -> Path:
        """Return where agentsview writes what it could not read."""
        return self.agentsview_database.with_name("debug.log")

    def our_load(self) -> Command:
        """Index everything, or what changed."""
        return self._ours("indexer", "bulk", "--data", str(self.data_dir), "--db", str(self.index))

    def our_report(self, by: str) -> Command:
        """Print costs by a period of `PERIODS`, all of them."""
        return self._ours("queries", "costs", "--by", by, "--tz", "UTC", "--json", "--db", str(self.index))

    def agentsview_load(self) -> Command:
        """Index everything, or what changed."""
        return self._agentsview("sync")

    def agentsview_report(self) -> Command:
        """Print its usage by day, from what is indexed."""
        return self._agentsview("usage", "daily", "--all", "--json", "--offline", "--no-sync", "--timezone", "UTC")

    def ccusage_report(self, by: str) -> Command:
        """Print its usage by a period of `PERIODS`; it has no index and reads the storage each time."""
        options = ("--json", "--offline", "--timezone", "UTC")
        environment = {"OPENCODE_DATA_DIR": str(self.data_dir)}
        return Command((str(self.ccusage), "opencode", PERIODS[by], *options), self._environment(environment))

    def versions(self) -> dict[str, str]:
        """Ask both for their version."""
        by_name = {"agentsview": self._agentsview("--version")}
        by_name["ccusage"] = Command((str(self.ccusage), "--version"), self._environment({}))
        return {name: command.run().strip().splitlines()[0] for name, command in by_name.items()}

    def _ours(self, *arguments: str) -> Command:
        """Make a command of ours."""
        return Command((sys.executable, "-m", *arguments), self._environment({}))

    def _agentsview(self, *arguments: str) -> Command:
        """Make a command of agentsview: no server, no other agent's data, no telemetry, no question about updates."""
        environment = {
            "OPENCODE_DIR": str(self.data_dir),
            "AGENTSVIEW_DATA_DIR": str(self.agentsview_database.parent),
            "AGENTSVIEW_NO_DAEMON": "1",
            "AGENTSVIEW_NO_BROWSER": "1",
            "AGENTSVIEW_DISABLE_UPDATE_CHECK": "1",
            "AGENTSVIEW_TELEMETRY_ENABLED": "0",
            "DO_NOT_TRACK": "1",
        }
        return Command((str(self.agentsview), *arguments), self._environment(environment))

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        """Make an environment that names nothing of the user's; a proxy that nobody runs is all of its network."""
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        home = {"HOME": str(self.folder), "TZ": "UTC", "PATH": os.environ["PATH"]}
        xdg = {f"XDG_{name}_HOME": str(self.folder / name.lower()) for name in ("CONFIG", "DATA", "CACHE", "STATE")}
        return {**home, **xdg, **proxies, **more}


def stage(data_dir: Path, folder: Path) -> Path:
    """Lay out storage for all tools: copies of the databases, which readers leave files beside, and the tree by a link.

    Args:
        data_dir: A data folder of OpenCode that nothing writes to. Of its files only these two kinds are handed on.
        folder: Does not exist.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    for path in data_dir.glob("opencode*.db*"):
        shutil.copy2(path, folder / path.name)
    if (data_dir / "storage").is_dir():
        (folder / "storage").symlink_to((data_dir / "storage").resolve(), target_is_directory=True)
    return folder

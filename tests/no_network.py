"""Python processes that reach nothing beyond this machine, and that tell what they tried."""

from pathlib import Path

# Runs in every Python process before anything else. An audit hook sees what any module asks the system for.
_HOOK = """
import ipaddress, sys

def _is_local(host):
    host = host.decode() if isinstance(host, bytes) else host
    try:
        return host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

def _watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None
    else:
        return
    if not _is_local(host):
        with open({attempts!r}, "a") as file:
            file.write(f"{{event}} {{host}}\\n")
        raise OSError("the network is blocked in this test")

sys.addaudithook(_watch)
"""


class Blocked:
    """A block, and what ran into it."""

    def __init__(self, folder: Path) -> None:
        """Prepare the block in an empty folder."""
        self._folder = folder
        self._attempts = folder / "attempts"
        (folder / "sitecustomize.py").write_text(_HOOK.format(attempts=str(self._attempts)), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which a process and its children are blocked."""
        return {"PYTHONPATH": str(self._folder), "COVERAGE_PROCESS_CONFIG": ""}

    @property
    def prefix(self) -> list[str]:
        """The same as the beginning of a command."""
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())]

    def attempts(self) -> list[str]:
        """Return what was tried, and what for, in order."""
        return self._attempts.read_text(encoding="utf-8").splitlines() if self._attempts.exists() else []

"""What `make lint` promises about dependencies: a known vulnerability fails, and what nobody knows is said."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pytest

from indexer.launcher import free_port
from tests.audit import main, pins

Service = tuple[str, ...]
SAFE: dict[str, object] = {}
VULNERABLE: dict[str, object] = {
    "vulns": [
        {
            "id": "PYSEC-0000-1",
            "affected": [
                {
                    "package": {"name": "orjson", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
                }
            ],
        }
    ]
}


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """One package that needs no other."""
    file = tmp_path / "requirements.txt"
    file.write_text("orjson>=3  # a comment\n\n")
    return file


@contextmanager
def _osv(status: int, answer: dict[str, object]) -> Iterator[Service]:
    """Run a service that always says the same, in the format of OSV; yields the options that choose it."""

    class Answers(BaseHTTPRequestHandler):
        """One question."""

        def do_POST(self) -> None:
            """Say it."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield _options(server.server_port)
        server.shutdown()
        thread.join()


def _options(port: int) -> Service:
    """Choose the service on a port of this machine."""
    return "--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{port}/"


def test_pins_requirement_lists_what_it_needs_itself() -> None:
    """Whatever an extra or another system would need is left out."""
    names = [pin.split("==")[0] for pin in pins(["# comment", "rich>=0.1"])]

    assert {"rich", "pygments", "markdown-it-py"} <= set(names)
    assert not {"pytest", "streamlit"} & set(names)
    assert names == sorted(names)


def test_main_known_vulnerability_fails(requirements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the package, its version, the problem and where it is fixed."""
    with _osv(200, VULNERABLE) as service:
        code = main(requirements, [service])

    assert code == 1
    assert f"VULNERABLE: orjson=={version('orjson')}: PYSEC-0000-1, fixed in 99.0" in capsys.readouterr().out


def test_main_nothing_known_passes(requirements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number of packages that were looked at is said."""
    with _osv(200, SAFE) as service:
        code = main(requirements, [service])

    assert code == 0
    assert capsys.readouterr().out == "Audit: 1 of 1 packages, 0 problems.\n"


def test_main_no_service_within_reach_says_so_and_passes(
    requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Machines without a network must be able to lint, but must not believe that all is well."""
    code = main(requirements, [_options(free_port(20_000))])

    out = capsys.readouterr().out
    assert code == 0
    assert "cannot be reached" in out and "*** NOT AUDITED" in out and "orjson==" in out


def test_main_first_service_out_of_reach_asks_the_second(
    requirements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them is enough to find a vulnerability."""
    with _osv(200, VULNERABLE) as service:
        code = main(requirements, [_options(free_port(20_000)), service])

    out = capsys.readouterr().out
    assert code == 1
    assert "cannot be reached" in out and "NOT AUDITED" not in out


@pytest.mark.parametrize(
    "service",
    [lambda: _osv(500, SAFE), lambda: _osv(200, {"vulns": "nonsense"})],
    ids=["error of the service", "strange answer"],
)
def test_main_other_failure_is_not_taken_for_no_network(
    requirements: Path, service: Callable[[], AbstractContextManager[Service]]
) -> None:
    """It ends the lint with what pip-audit printed."""
    with service() as options, pytest.raises(RuntimeError, match="pip-audit failed"):
        main(requirements, [options])

"""Fixtures of the browser tests: one browser for all, one index per data set, servers as each test needs them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import running
from tests.browser.visit import Visit, visiting
from tests.conftest import Once

REQUIRED = bool(os.environ.get("REQUIRE_BROWSER"))
ARTIFACTS = running.ROOT / "artifacts"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one the tests are skipped, unless REQUIRE_BROWSER is set.

    Only as long as this package's tests run: Playwright's event loop would disturb later tests.
    """
    executable = running.browser_path()
    if executable is None:
        reason = f"no browser on this machine: looked for {', '.join(running.BROWSERS)}"
        if REQUIRED:
            pytest.fail(f"REQUIRE_BROWSER is set, but there is {reason}")
        pytest.skip(reason)
    with running.browser(executable) as started:
        yield started


@pytest.fixture(scope="package")
def index_of(once: Once) -> Callable[[str], Path]:
    """Index a data set by the command line, once, whoever asks for it."""

    def index(name: str) -> Path:
        """Return the index of a data set."""
        return once(f"commanded-{name}", lambda folder: running.index_of(name, folder)) / "index.duckdb"

    return index


@pytest.fixture(scope="package")
def base(index_of: Callable[[str], Path]) -> Iterator[str]:
    """A dashboard on the JSON data set: one for all modules that only look at it."""
    with running.dashboard(index_of("json")) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, base: str) -> Iterator[Visit]:
    """A tab of its own for each test, on the `base` of its module, or on that of all.

    It must end without an error and without a request off this machine.
    """
    with visiting(browser, base) as tab:
        yield tab
        assert not tab.has_exception()
        assert tab.errors == []
        assert tab.foreign == []

"""One browser tab on the dashboard that notes everything a test must not miss."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Position, ViewportSize, WebSocket, expect

from tests.browser.received import Column, Received

WIDE = ViewportSize(width=1440, height=900)
PHONE = ViewportSize(width=390, height=844)
THEMES = ("light", "dark")
LOCAL = {"localhost", "127.0.0.1", "::1"}
SETTLED = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TIMEOUT_MS = 60_000  # a machine with other work to do may need long; only a failing test waits to the end
POLL_MS = 20
# Colours fade into each other for a moment, in which texts can be too faint to read.
_WEARS = """theme =>
    getComputedStyle(document.querySelector('[data-testid="stApp"]')).colorScheme === theme
    && document.getAnimations().every(each => each.playState !== 'running' || each.effect.getTiming().iterations > 99)
"""
_ROW_PX = 35 * 14 / 16  # of a table, in the font size of the theme
# One profile per time zone, which a profile cannot change: with an empty cache every tab would load Streamlit's
# scripts again, and most of the time of a short test would be theirs.
_profiles: WeakKeyDictionary[Browser, dict[str, BrowserContext]] = WeakKeyDictionary()
_REMEMBERED = "cookies,local_storage,indexeddb,cache_storage,service_workers"
expect.set_options(timeout=TIMEOUT_MS)


@dataclass
class Visit:
    """A tab.

    Attributes:
        errors: What the console reported as an error, and uncaught exceptions.
        foreign: Requests that would have left this machine.
        received: What the server sent.
    """

    page: Page
    base: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    received: Received = field(default_factory=Received)

    def open(self, path: str) -> None:
        """Follow a deep link and wait until the page has settled.

        Args:
            path: Beginning with a slash, filters included.
        """
        self.received.forget()
        self.page.goto(self.base + path)
        self.settle()

    def wear(self, theme: str) -> None:
        """Let the system prefer a theme, and wait until the page and its charts wear it.

        Args:
            theme: `light` or `dark`.
        """
        self.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        self.page.wait_for_function(_WEARS, arg=theme)
        self.settle()

    def settle(self) -> None:
        """Wait until the script has run and everything is drawn: no skeleton, nothing stale."""
        self.page.wait_for_selector(SETTLED, state="attached")
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=\"stHeading\"]')"
            ' && !document.querySelector(\'[data-testid="stSkeleton"], [data-stale="true"]\')'
        )

    def table(self, prefix: str) -> dict[str, Column]:
        """Return a table once it has been received since the last action, and the page has settled.

        Args:
            prefix: How its key begins.
        """
        for _ in range(TIMEOUT_MS // POLL_MS):
            if self.received.has(prefix):
                break
            self.page.wait_for_timeout(POLL_MS)  # lets messages come in
        self.settle()
        return self.received.newest(prefix)

    def group_by(self, by: str) -> dict[str, Column]:
        """Choose a grouping on Costs and return the table."""
        choice = self.page.get_by_role("radiogroup", name="Costs by").get_by_role("radio", name=by, exact=True)
        if not choice.is_checked():  # a click on the chosen one does nothing
            self.received.forget()
            choice.click()
        return self.table("costs_rows")

    def tick(self, key: str, row: int = 0) -> None:
        """Tick a row of a table, as a person does: the pointer comes first.

        The table then shows its tools, and a click while they appear may be lost.

        Args:
            key: How the key of the table begins, or of what it is in.
            row: From 0.
        """
        place = Position(x=16, y=round((1.5 + row) * _ROW_PX))
        around = self.page.locator(f'[class*="st-key-{key}"]')
        table = around.get_by_test_id("stDataFrame").first
        table.scroll_into_view_if_needed()
        table.hover(position=place)
        expect(around.get_by_test_id("stElementToolbar").first).to_have_css("opacity", "1")
        table.click(position=place)

    def violations(self) -> list[dict[str, Any]]:
        """Return what axe finds against levels A and AA of WCAG 2.

        Without the names of all elements in which it finds nothing: on a page with tables they take it twice as long.
        """
        options = {"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"]}
        found: list[dict[str, Any]] = Axe().run(self.page, options=options).response["violations"]
        return found

    def text(self) -> str:
        """Return what can be read on the page, charts and tables left out."""
        return self.page.locator('[data-testid="stMain"]').inner_text()

    def has_exception(self) -> bool:
        """Tell whether Streamlit shows an exception."""
        return self.page.locator('[data-testid="stException"]').count() > 0

    def download(self, button: str) -> bytes:
        """Click a download button and return the file."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name=button).click()
        return Path(waiting.value.path()).read_bytes()

    def export(self, what: str, label: str = "CSV") -> bytes:
        """Export a table and return the file.

        Args:
            what: The table, as its export is called.
            label: CSV, Parquet or JSON.
        """
        self.page.get_by_role("button", name=f"Export {what}", exact=True).click()
        content = self.page.get_by_test_id("stPopoverBody")
        with self.page.expect_download() as waiting:
            content.get_by_role("button", name=label).click()
        self.page.keyboard.press("Escape")
        expect(content).to_have_count(0)
        return Path(waiting.value.path()).read_bytes()

    def metric(self, label: str) -> str:
        """Return the value of a headline number."""
        metric = self.page.get_by_test_id("stMetric").filter(has_text=label).first
        return metric.get_by_test_id("stMetricValue").inner_text()

    def _note_console(self, message: ConsoleMessage) -> None:
        """Keep errors, but for the two answers 404 by which Streamlit learns that a deep link is no base path.

        Nothing can be set against them: its script asks below the address it was opened at first, then at the root.
        """
        address = message.location.get("url", "")
        if message.type == "error" and not ("status of 404" in message.text and self._is_known(address)):
            self.errors.append(f"{message.text} ({address})")

    def _is_known(self, address: str) -> bool:
        """Tell whether an address is one of the two below a page's own path that do not exist."""
        return re.fullmatch(re.escape(self.base) + r"/\w+/_stcore/(health|host-config)", address) is not None

    def _note_socket(self, socket: WebSocket) -> None:
        """Follow a websocket."""
        self._note_request(socket.url)
        socket.on("framereceived", self.received.note)

    def _note_request(self, address: str) -> None:
        """Keep what would leave this machine."""
        parts = urlsplit(address)
        if parts.scheme not in ("data", "blob") and parts.hostname not in LOCAL:
            self.foreign.append(address)


@contextmanager
def visiting(
    browser: Browser,
    base: str,
    *,
    size: ViewportSize = WIDE,
    theme: str = "light",
    zone: str = "UTC",
    is_stranger: bool = False,
    has_motion: bool = False,
) -> Iterator[Visit]:
    """Open a tab that remembers nothing of earlier ones: only the browser's cache is theirs.

    Args:
        browser: Running browser.
        base: Address of the dashboard.
        size: Of the window.
        theme: What the system prefers, `light` or `dark`.
        zone: Time zone of the browser.
        is_stranger: Give it a profile of its own, which knows nothing of tabs that are still open.
        has_motion: Let things fade and glide, as most people have it. To draw that takes an eighth of all of a page.
    """
    profile = _new_profile(browser, zone) if is_stranger else _profile(browser, zone, base)
    profile.clear_permissions()
    page = profile.new_page()
    page.set_viewport_size(size)
    motion: Literal["no-preference", "reduce"] = "no-preference" if has_motion else "reduce"
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion=motion)
    # Not by the context: what it can clear are cookies, and Streamlit remembers in the local storage.
    profile.new_cdp_session(page).send("Storage.clearDataForOrigin", {"origin": base, "storageTypes": _REMEMBERED})
    visit = Visit(page, base)
    page.on("console", visit._note_console)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("request", lambda request: visit._note_request(request.url))
    page.on("websocket", visit._note_socket)
    try:
        yield visit
    finally:
        page.close()
        if is_stranger:
            profile.close()


def in_every_look(browser: Browser, base: str, path: str) -> Iterator[tuple[Visit, str]]:
    """Open a page in two sizes, and show each in both themes.

    Args:
        browser: Running browser.
        base: Address of the dashboard.
        path: What to open, as `Visit.open` takes it.

    Yields:
        The tab, and what to call its look. It must not have failed, nor asked another machine, nor scroll sideways.
    """
    for size, themes in ((WIDE, THEMES), (PHONE, THEMES[::-1])):  # so that each theme is also the first one
        with visiting(browser, base, size=size, theme=themes[0], has_motion=True) as visit:
            visit.open(path)
            for theme in themes:
                visit.wear(theme)
                yield visit, f"{theme}-{size['width']}"

                assert not visit.has_exception(), visit.text()
                assert visit.errors == []
                assert visit.foreign == []
                assert visit.page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"), (
                    "scrolls sideways"
                )


def _profile(browser: Browser, zone: str, base: str) -> BrowserContext:
    """Return the profile of a time zone.

    It keeps a small tab open: while one is, the browser ends neither the process of its site nor forgets there what it
    compiled (see `running.BROWSER_ARGUMENTS`).
    """
    known = _profiles.setdefault(browser, {})
    if zone not in known:
        known[zone] = _new_profile(browser, zone)
        known[zone].new_page().goto(f"{base}/favicon.png")
    return known[zone]


def _new_profile(browser: Browser, zone: str) -> BrowserContext:
    """Make an empty profile."""
    made = browser.new_context(timezone_id=zone, locale="en-US")
    made.set_default_timeout(TIMEOUT_MS)
    return made

"""A server that others can reach: nothing is shown without a login, and with one only to who is logged in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import identity, running
from tests.browser.visit import visiting

OPEN_TO_ALL = ("--server.address", "0.0.0.0")


def test_dashboard_open_to_the_network_shows_and_logs_a_refusal(
    browser: Browser, index_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The page says what to do, and so does the server's log."""
    with running.dashboard(index_of("json"), options=OPEN_TO_ALL) as base, visiting(browser, base) as visit:
        visit.open("/costs?range=all")
        shown = visit.text()
        # The message has been sent when the page has it; the log line was written before.
        logged = capsys.readouterr().out

    assert "Not served" in shown and "listens on 0.0.0.0, and no login is configured" in shown
    assert "$" not in shown
    assert "Not served: The server listens on 0.0.0.0" in logged
    assert visit.errors == []


def test_dashboard_with_login_opens_after_it_and_closes_after_logout(
    browser: Browser, index_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """The whole way of OpenID Connect, with a provider on this machine."""
    secrets = tmp_path / "secrets.toml"
    with identity.provider() as provider:
        secrets.write_text(f"""
            [auth]
            redirect_uri = "http://localhost:{{port}}/oauth2callback"
            cookie_secret = "a random text of forty characters or more"
            client_id = "{identity.CLIENT_ID}"
            client_secret = "unused"
            server_metadata_url = "{provider.address}/.well-known/openid-configuration"
        """)
        options = (*OPEN_TO_ALL, "--secrets.files", str(secrets))
        with (
            running.dashboard(index_of("json"), options=options) as base,
            visiting(browser, base, is_stranger=True) as visit,
        ):
            visit.open("/costs?range=all")
            before = visit.text()

            visit.page.get_by_role("button", name="Log in", exact=True).click()
            visit.page.get_by_role("heading", name="Overview").wait_for()
            visit.open("/costs?range=all")
            inside = visit.text()
            visit.page.get_by_role("button", name="Log out").click()
            visit.page.get_by_role("heading", name="Log in").wait_for()
            after = visit.text()

    assert ("$" in before, "$" in inside, "$" in after) == (False, True, False)
    assert visit.foreign == []

"""Who may see the pages: nobody beyond this machine without a login, and nothing is read for whoever may not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from streamlit import config, secrets
from streamlit.testing.v1 import AppTest

from indexer.launcher import dashboard_command
from pages.ui import access
from tests.pages.conftest import ROOT, OpenApp, texts

HOSTS = ["localhost", "127.0.0.1"]
PROVIDER = {"client_id": "id", "client_secret": "secret", "server_metadata_url": "http://localhost/oidc"}
SHARED = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "a long random text"}
PAGES = sorted(path.stem for path in (ROOT / "pages").glob("[a-z]*.py"))
NETWORK = {"server.address": "0.0.0.0"}
Configure = Callable[[Mapping[str, object]], None]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Set options of a server that has just been started, until the test ends."""
    forget = access._address.cache_clear
    forget()

    def change(options: Mapping[str, object]) -> None:
        """Set them by name."""
        for name, value in options.items():
            config.set_option(name, value)
        secrets._reset()

    yield change
    config.get_config_options(force_reparse=True)
    secrets._reset()
    forget()


@pytest.mark.parametrize("address", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.1", "::1"])
def test_is_loopback_own_addresses_are(address: str) -> None:
    """Nothing but this machine reaches these."""
    assert access.is_loopback(address)


@pytest.mark.parametrize(
    "address", [None, "", "0.0.0.0", "::", "192.168.1.5", "8.8.8.8", "my-laptop", "localhost.example.com", "unix:///s"]
)
def test_is_loopback_any_other_address_is_not(address: str | None) -> None:
    """No address binds everywhere, and a name means what some server says."""
    assert not access.is_loopback(address)


@pytest.mark.parametrize(
    ("address", "hosts", "auth", "says"),
    [
        ("localhost", HOSTS, None, None),
        ("0.0.0.0", HOSTS, None, "listens on 0.0.0.0, and no login"),
        (None, HOSTS, None, "on every network address of this machine, and no login"),
        ("", HOSTS, None, "on every network address of this machine, and no login"),
        ("localhost", [], None, "DNS rebinding"),
        ("localhost", ["localhost", " *. "], None, "DNS rebinding"),
        ("0.0.0.0", ["a.example.com"], SHARED | PROVIDER, None),
        ("0.0.0.0", ["a.example.com"], SHARED | {"google": PROVIDER}, None),
        ("0.0.0.0", ["*"], SHARED | PROVIDER, "DNS rebinding"),
        ("0.0.0.0", HOSTS, {}, "lacks redirect_uri and cookie_secret"),
        ("localhost", HOSTS, PROVIDER | {"redirect_uri": "x", "cookie_secret": ""}, "lacks cookie_secret"),
        ("0.0.0.0", HOSTS, SHARED | {"google": {"client_id": "id"}}, "lacks a provider with client_id"),
    ],
)
def test_refusal_settings_that_show_the_data_to_others_are_named(
    address: str | None, hosts: Sequence[str], auth: Mapping[str, Any] | None, says: str | None
) -> None:
    """This machine needs no login; beyond it, and where one is begun, it has to be complete."""
    problem = access.refusal(address, hosts, auth)

    assert problem is None if says is None else says in str(problem)


def test_refusal_login_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authlib is not among what every user installs."""
    monkeypatch.setattr(access, "find_spec", lambda name: None)

    problem = access.refusal("0.0.0.0", HOSTS, SHARED | PROVIDER)

    assert problem is not None and 'pip install "streamlit[auth]"' in problem


def test_providers_default_and_named_ones_are_listed() -> None:
    """Settings of a provider that are sections, too, are no providers."""
    auth = SHARED | PROVIDER | {"google": PROVIDER, "half": {"client_id": "id"}, "client_kwargs": {"prompt": "login"}}

    assert access.providers(auth) == ["default", "google"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_address_of_the_network_are_not_served(
    page: str, open_app: OpenApp, configure: Configure, tmp_path: Path
) -> None:
    """No page asks for the index: that there is none would be its first words."""
    configure(NETWORK)

    app = open_app(tmp_path / "none.duckdb", page=page)

    assert not app.exception
    assert [title.value for title in app.title] == ["Not served"]
    assert "listens on 0.0.0.0" in texts(app) and "none.duckdb" not in texts(app)
    assert ['address = "localhost"' in code.value for code in app.code] == [True, False]
    assert "[auth]" in app.code[1].value


def test_pages_refusal_is_logged_once(
    open_app: OpenApp, configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever started the server learns it from its log, however many visits there are."""
    access._log_once.cache_clear()
    configure(NETWORK)

    open_app(tmp_path / "none.duckdb").run()

    said = [record for record in caplog.records if record.name == access.__name__]
    assert [(record.levelname, "listens on 0.0.0.0" in record.message) for record in said] == [("ERROR", True)]


def test_pages_address_edited_while_the_server_runs_are_not_served(
    open_app: OpenApp, configure: Configure, tmp_path: Path
) -> None:
    """Streamlit reads the edited file at once, but goes on listening everywhere."""
    configure(NETWORK)
    app = open_app(tmp_path / "none.duckdb")

    configure({"server.address": "localhost"})
    app.run()

    assert [title.value for title in app.title] == ["Not served"]


def test_pages_page_file_run_alone_is_not_served(configure: Configure) -> None:
    """A deep link before the first visit runs the page's own file."""
    configure(NETWORK)

    app = AppTest.from_file(str(ROOT / "pages" / "costs.py"), default_timeout=60).run()

    assert [title.value for title in app.title] == ["Not served"]


def test_pages_secrets_that_cannot_be_read_are_not_no_login(
    open_app: OpenApp, configure: Configure, tmp_path: Path
) -> None:
    """A typing error must not open what was protected, on this machine neither."""
    (tmp_path / "secrets.toml").write_text("[auth\n")
    configure({"secrets.files": [str(tmp_path / "secrets.toml")]})

    app = open_app(tmp_path / "none.duckdb")

    assert [title.value for title in app.title] == ["Not served"]
    assert "is not valid TOML" in texts(app)


@pytest.mark.parametrize(
    ("user", "titles"), [({}, ["Log in"]), ({"is_logged_in": False}, ["Log in"]), ({"is_logged_in": True}, [])]
)
def test_pages_login_configured_only_who_is_logged_in_sees_them(
    user: dict[str, Any], titles: list[str], configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everyone else sees a button for each provider, and no page asks for the index."""
    monkeypatch.setenv("ANALYTICS_DB", str(tmp_path / "none.duckdb"))
    configure(NETWORK)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.secrets["auth"] = SHARED | PROVIDER | {"google": PROVIDER}
    app.user.update(user)

    app.run()

    buttons = [button.label for button in app.button]
    assert [title.value for title in app.title] == (titles or ["No index yet"])
    assert buttons == (["Log in", "Log in with google"] if titles else ["Log out"])


def test_dashboard_command_any_configuration_serves_this_machine_only() -> None:
    """An option of the command line wins over files and environment."""
    command = dashboard_command(8501)

    assert command[command.index("--server.address") + 1] == "localhost"

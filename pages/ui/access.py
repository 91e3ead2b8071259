"""Who may see the pages: this machine alone, or whoever logs in by Streamlit's own OpenID Connect."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn

import streamlit as st

log = logging.getLogger(__name__)

_DEFAULT_PROVIDER = "default"
_SHARED_KEYS = ("redirect_uri", "cookie_secret")
_PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")
_LOCAL = """\
# .streamlit/config.toml
[server]
address = "localhost"
allowedHosts = ["localhost", "127.0.0.1"]"""
_WITH_LOGIN = """\
# .streamlit/config.toml
[server]
address = "0.0.0.0"
allowedHosts = ["analytics.example.com"]

# .streamlit/secrets.toml, after: .venv/bin/pip install "streamlit[auth]"
[auth]
redirect_uri = "https://analytics.example.com/oauth2callback"
cookie_secret = "a long random text"
client_id = "from your provider"
client_secret = "from your provider"
server_metadata_url = "https://login.example.com/.well-known/openid-configuration\""""

Auth = Mapping[str, Any]


def require() -> None:
    """End the run here unless whoever asks may see the data; call it before anything is read.

    Without a login only this machine is served. Where one is configured everyone has to log in, on this machine too: a
    proxy in front of a server on localhost looks like this machine.
    """
    try:
        auth = _auth()
    except ValueError as error:
        _refuse(str(error))
    problem = refusal(_address(), st.get_option("server.allowedHosts"), auth)
    if problem:
        _refuse(problem)
    if auth is not None and st.user.get("is_logged_in") is not True:
        _ask_to_log_in(providers(auth))
    if auth is not None:
        st.button("Log out", key="log_out", icon=":material/logout:", type="tertiary", on_click=st.logout)


def refusal(address: str | None, allowed_hosts: Sequence[str], auth: Auth | None) -> str | None:
    """Say why these settings would show the data to others.

    Args:
        address: What the server listens on; None or empty is every address that the machine has.
        allowed_hosts: Names by which a browser may ask for the server; empty is any name.
        auth: The section `auth` of the secrets; None if there is none.

    Returns:
        A sentence or two, or None if the pages may be served.
    """
    if auth is None and not is_loopback(address):
        where = f"on {address}" if address else "on every network address of this machine"
        return f"The server listens {where}, and no login is configured: others could read everything here."
    if not allowed_hosts or any(host.strip().rstrip(".") == "*" for host in allowed_hosts):
        return "server.allowedHosts accepts any name: a web page could read everything here by DNS rebinding."
    if auth is None:
        return None
    missing = [key for key in _SHARED_KEYS if not auth.get(key)]
    if missing or not providers(auth):
        lacks = " and ".join(missing) or f"a provider with {', '.join(_PROVIDER_KEYS)}"
        return f"The login is not complete: [auth] in secrets.toml lacks {lacks}."
    if find_spec("authlib") is None:
        return 'The login needs a package that is not installed: .venv/bin/pip install "streamlit[auth]"'
    return None


def is_loopback(address: str | None) -> bool:
    """Tell whether a server on this address can be reached from this machine only."""
    if not address:
        return False
    if address.lower() == "localhost":
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:  # any other name: what it means may change while the server runs
        return False


def providers(auth: Auth) -> list[str]:
    """List who can be asked for a login, by the names that `st.login` takes."""
    sections = {_DEFAULT_PROVIDER: auth, **{name: value for name, value in auth.items() if isinstance(value, Mapping)}}
    return [name for name, section in sections.items() if all(section.get(key) for key in _PROVIDER_KEYS)]


@cache
def _address() -> str | None:
    """Return what the server listens on: the setting at the first visit.

    Streamlit reads its settings again when their file changes, but listens where it did: whoever was refused and then
    only edits the file is still served to everyone.
    """
    address: str | None = st.get_option("server.address")
    return address


def _auth() -> Auth | None:
    """Return the section `auth` of the secrets, None if there is none.

    Raises:
        ValueError: There are secrets and they cannot be read. Whoever wrote them meant to protect something.
    """
    if not st.secrets.load_if_toml_exists():
        found = [path for path in st.get_option("secrets.files") if Path(path).exists()]
        if found:
            raise ValueError(f"The login cannot be read: {found[0]} is not valid TOML.")
        return None
    auth = st.secrets.get("auth")
    if auth is None or isinstance(auth, Mapping):
        return auth
    raise ValueError("The login cannot be read: auth in secrets.toml is not a section.")


def _refuse(problem: str) -> NoReturn:
    """Show why nothing is shown and what to do, and end the run."""
    _log_once(problem)
    with st.container(border=True, key="refused"):
        st.title("Not served", anchor=False)
        st.text(f"{problem} So no data was read. Change these settings, then start the dashboard again.")
        st.text("For this machine only, as it was delivered:")
        st.code(_LOCAL, language="toml")
        st.text("For others, with a login. Everyone whom your provider lets in then sees everything here:")
        st.code(_WITH_LOGIN, language="toml")
    st.stop()


@cache
def _log_once(problem: str) -> None:
    """Tell whoever started the server, once and not at every visit."""
    log.error("Not served: %s The page says how to change that.", problem)


def _ask_to_log_in(names: Sequence[str]) -> NoReturn:
    """Show a button for each provider and end the run."""
    with st.container(border=True, key="log_in"):
        st.title("Log in", anchor=False)
        st.text("This dashboard is protected: log in to see it.")
        for name in names:
            label, arguments = ("Log in", ()) if name == _DEFAULT_PROVIDER else (f"Log in with {name}", (name,))
            st.button(label, key=f"log_in_{name}", type="primary", on_click=st.login, args=arguments)
    st.stop()

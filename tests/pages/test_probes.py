"""Addresses that try something: no page fails, none takes them for more than text, and the index stays what it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pages.ui import export
from queries.period import Scope
from tests.builders import assistant, session, user
from tests.pages.conftest import ROOT, OpenApp, headline, texts

PAGES = sorted(path.stem for path in (ROOT / "pages").glob("[a-z]*.py"))
# Everything that any page reads from its address, but for `page`: fixtures use that name.
NAMES = (
    *("range", "from", "to", "agent", "model", "project", "q", "sort", "children", "by", "before", "basis"),
    *("costs_page", "tool", "bad", "aborted", "session", "part", "exchange"),
)
PROBES = {
    "sql": "'; DROP TABLE sessions; --",
    "wildcards": "%_%",
    "regex": "(a+)+$[",
    "path": "../../../../etc/passwd",
    "absolute path": "/etc/passwd",
    "script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "image": "![x](https://probe.invalid/a.png)",
    "formula": '=HYPERLINK("https://probe.invalid")',
    "nul": "a\x00b\x1b[31m",
    "replaced and astral": "\ufffd\U0001f600",
    "right to left": "\u202eexe.txt\u2066",
    "number": "-99999999999999999999",
    "long": "x" * 10_000,
    "empty": "",
}


@pytest.mark.parametrize("page", PAGES)
def test_pages_hostile_address_is_only_text(page: str, open_app: OpenApp, real_path: Callable[[str], Path]) -> None:
    """All parameters at once; Markdown of a probe comes out escaped, so that it loads and links nothing.

    One test for all probes of a page: what the page asks whatever the address says, it asks once.
    """
    for name, probe in PROBES.items():
        app = open_app(real_path("json"), page=page, **dict.fromkeys(NAMES, probe))

        markdown = [str(element.value) for element in (*app.markdown, *app.caption, *app.info, *app.warning)]
        assert not app.exception, name
        assert "root:x:0" not in texts(app), name
        assert not any("![x](" in text or "<script>" in text for text in markdown), name


def test_pages_after_all_probes_index_is_unchanged(open_app: OpenApp, real_path: Callable[[str], Path]) -> None:
    """The same numbers as before."""
    path = real_path("json")
    before = headline(open_app(path, range="all"))

    for probe in PROBES.values():
        open_app(path, range="all", agent=probe, model=probe, project=probe, q=probe)

    assert headline(open_app(path, range="all")) == before


@pytest.mark.parametrize(("text", "found"), [("%", "100% done"), ("_", "snake_case"), ("'", "it's"), ("\\", "a\\b")])
def test_sessions_search_takes_every_character_for_itself(text: str, found: str, open_app: OpenApp) -> None:
    """No character stands for others."""
    titles = ("100% done", "snake_case", "it's", "a\\b", "plain")
    docs = [
        doc
        for at, title in enumerate(titles)
        for doc in (
            session(f"ses-{at}", title=title, slug="none"),
            user(f"msg-{at}u", f"ses-{at}"),
            assistant(f"msg-{at}a", f"ses-{at}", parent=f"msg-{at}u"),
        )
    ]

    app = open_app(*docs, page="sessions", range="all", q=text)

    (table,) = app.dataframe
    assert list(table.value["Title"]) == [found]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\boot.ini", "C:/x", "a\x00b", "/", "\u202etxt.exe", "."])
def test_file_stem_hostile_filters_stay_in_the_folder(name: str) -> None:
    """Whatever an agent, a project or a search is called: one plain name, no path."""
    made = export.file_stem("costs_by-agent", Scope(agents=(name,), projects=(name,), text=name))

    assert made.isascii() and made.isprintable()
    assert not set("/\\:") & set(made)
    assert not made.startswith(".")

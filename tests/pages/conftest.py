"""The dashboard without a browser, on an index that the real indexer made."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import streamlit as st
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

from indexer.database import Database
from indexer.publish import Publisher
from indexer.published import IndexReader
from pages.ui import frame
from tests.builders import Doc, write_json_tree
from tests.indexing import index as index  # for the tests, too

ROOT = Path(__file__).parents[2]
OpenApp = Callable[..., AppTest]


@pytest.fixture(scope="session", autouse=True)
def no_installed_components() -> Iterator[None]:
    """Look for no components in installed packages: a quarter of a second a test, and the app uses only its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BidiComponentManager, "discover_and_register_components", lambda self, **options: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def settled_once() -> Iterator[None]:
    """Freeze objects once a process, as the dashboard does, though every test forgets the cache that sees to it.

    What a test had frozen would never be collected: indexes stay open, and memory grows by megabytes a test.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "settle", functools.cache(frame.settle))
        yield


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Give the process its main module back: Streamlit puts the page there, and a child process would run that."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def no_cache(no_retries: None) -> Iterator[None]:
    """Let no test see the answers of another, nor wait for files that nobody rewrites."""
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def open_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenApp:
    """Open the app on an index: a path, or documents to index first; the rest are parameters of the URL."""

    def app(*sources: Path | Doc, page: str = "costs", tz: str = "UTC", **url: str | list[str]) -> AppTest:
        """Follow a deep link to one page."""
        paths = [source for source in sources if isinstance(source, Path)]
        docs = [source for source in sources if isinstance(source, Doc)]
        path = paths[0] if paths else tmp_path / "index.duckdb"
        if docs:
            index(path, write_json_tree(tmp_path / "opencode", docs))
        monkeypatch.setenv("ANALYTICS_DB", str(path))
        found = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        found.context["timezone"] = str(ZoneInfo(tz))
        found.query_params.update(url)
        return found.switch_page(f"pages/{page}.py").run()

    return app


def change(path: Path, sql: str) -> Path:
    """Change the state of an index as another version, or an interruption, would have left it, and publish it."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        with database.transaction() as con:
            con.execute(sql)
        publisher.publish()
        publisher.close()
    return path


def headline(app: AppTest) -> dict[str, str]:
    """Return the headline numbers by label."""
    return {metric.label: str(metric.value) for metric in app.metric}


def texts(app: AppTest) -> str:
    """Return everything that can be read, charts and tables left out."""
    found = [element.value for element in (*app.title, *app.subheader, *app.text, *app.caption, *app.markdown)]
    return "\n".join(str(text) for text in [*found, *(box.value for box in (*app.info, *app.warning, *app.code))])


def has_filter_bar(app: AppTest) -> bool:
    """Tell whether the filter bar is there to be seen; its values are kept on every page."""
    return any(str(getattr(block.proto, "id", "")).endswith("-filters") for block in app.main)


def turn_page(app: AppTest, number: int) -> AppTest:
    """Go to another page of a table."""
    widget: Any = app.get("pagination")[0]
    return widget.set_value(number).run()


def read(path: Path) -> IndexReader:
    """Open an index for reading."""
    return IndexReader(path)

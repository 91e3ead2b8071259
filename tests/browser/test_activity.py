"""The Activity page with budgets, in a real browser; without them it is looked at with all other pages."""

import tomllib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import running
from tests.browser.conftest import ARTIFACTS
from tests.browser.visit import PHONE, THEMES, WIDE, visiting


def test_activity_budgets_are_sound_and_the_heat_map_has_the_themes_colours(
    browser: Browser, index_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both themes and sizes: nothing that cannot be read, nothing that does not fit, no colour of the server's."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[budgets]\nmonth_usd = 10\nweek_usd = 5\nfive_hours_usd = 1\n", encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(settings))
    themes = tomllib.loads((running.ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    with running.dashboard(index_of("json")) as base:
        for theme, size in product(THEMES, (WIDE, PHONE)):  # a theme that comes later leaves the map's colours
            with visiting(browser, base, size=size, theme=theme, has_motion=True) as visit:
                visit.open("/activity?range=all&of=cost")
                visit.page.wait_for_selector(".st-key-activity_week .heatmaplayer image", state="attached")
                colours = visit.page.evaluate(
                    "document.querySelector('.st-key-activity_week .js-plotly-plot')._fullData[0].colorscale"
                    ".map(([, colour]) => colour)"
                )
                visit.page.screenshot(path=ARTIFACTS / "screenshots" / f"activity-budgets-{theme}-{size['width']}.png")
                violations = visit.violations()

                assert not visit.has_exception(), visit.text()
                assert visit.page.get_by_role("progressbar").count() == 3
                assert colours == themes[theme]["chartSequentialColors"]
                assert visit.errors == []
                assert violations == []
                assert visit.page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")

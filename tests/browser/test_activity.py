"""The Activity page with budgets, in a real browser; without them it is looked at with all other pages."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import running
from tests.browser.conftest import ARTIFACTS
from tests.browser.visit import in_every_look


def test_activity_budgets_are_sound_and_the_heat_map_can_be_read_in_a_theme_that_comes_later(
    browser: Browser, index_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both themes and sizes: nothing that cannot be read; more is a stronger colour on the theme's own ground."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[budgets]\nmonth_usd = 10\nweek_usd = 5\nfive_hours_usd = 1\n", encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(settings))
    themes = tomllib.loads((running.ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    with running.dashboard(index_of("json")) as base:
        for visit, look in in_every_look(browser, base, "/activity?range=all&of=cost"):
            visit.page.wait_for_selector(".st-key-activity_week .heatmaplayer image", state="attached")
            ground, colours = visit.page.evaluate(
                "(chart => [chart._fullLayout.plot_bgcolor, chart._fullData[0].colorscale.map(([, colour]) => colour)])"
                "(document.querySelector('.st-key-activity_week .js-plotly-plot'))"
            )
            visit.page.screenshot(path=ARTIFACTS / "screenshots" / f"activity-budgets-{look}.png")
            violations = visit.violations()
            strengths = [int(colour[7:], 16) for colour in colours]

            assert visit.page.get_by_role("progressbar").count() == 3
            assert ground == themes[look.partition("-")[0]]["backgroundColor"]
            assert colours == themes["chartSequentialColors"]
            assert len({colour[:7] for colour in colours}) == 1
            assert strengths == sorted(set(strengths))
            assert violations == []

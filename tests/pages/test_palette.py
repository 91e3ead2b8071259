"""The colours of charts after a change of theme; what a browser makes of them is tested in tests/browser."""

import re

from pages.ui import palette
from pages.ui.charts import SLOTS


def test_style_every_slot_and_other_have_a_colour_of_each_theme() -> None:
    """As a fill and as a stroke, each pair once."""
    found = palette.style()

    pairs = re.findall(r"(fill|stroke): light-dark\((#\w{6}), (#\w{6})\) !important", found)
    assert len(pairs) == len(set(pairs)) == 2 * (SLOTS + 1)
    assert ("fill", "#203BBA", "#526DF1") in pairs
    assert '[style*="stroke: rgb(32, 59, 186)"], [style*="stroke: rgb(82, 109, 241)"]' in found

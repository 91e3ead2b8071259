"""The shortcut shows what pandas would show."""

from collections.abc import Callable

import pandas as pd
import pytest
from pandas.io.formats.style import Styler
from streamlit.elements.lib.pandas_styler_utils import marshall_styler
from streamlit.proto.ArrowData_pb2 import ArrowData

from pages.ui import cell_texts, display

FRAMES = {
    "no row": pd.DataFrame({"Name": [], "Tokens": pd.Series([], dtype="int64")}),
    "missing numbers": pd.DataFrame({"Name": ["a", None], "Tokens": [1_234.0, None], "Cost": [0.5, float("nan")]}),
    "times and lists": pd.DataFrame(
        {"At": pd.Series(["2026-01-02 03:04:05", None], dtype="datetime64[us]"), "Trend": [[1, 2], []]}
    ),
    "texts": pd.DataFrame({"Name": ["<b>&", "=1+1", "![x](http://x)"], "Count": [1, 2, 3]}),
}


def shown(styler: Styler) -> ArrowData:
    """Return what Streamlit sends of a table."""
    message = ArrowData()
    marshall_styler(message, styler.set_uuid("table"), "table")
    return message


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_shortcut_any_cells_read_as_pandas_writes_them(frame: pd.DataFrame) -> None:
    """Also where there is no format, and nothing to show."""
    formats: dict[str, Callable[..., str]] = {"Tokens": display.tokens, "Cost": display.usd, "At": display.moment}
    known = {column: how for column, how in formats.items() if column in frame}

    found = shown(cell_texts.shortcut(frame.style.format(known, na_rep=display.MISSING)))

    assert found == shown(frame.style.format(known, na_rep=display.MISSING))


def test_shortcut_formats_of_single_cells_may_come_later() -> None:
    """As marks on what a few calls decide do."""
    frame = FRAMES["texts"]
    styler = cell_texts.shortcut(frame.style)

    found = shown(styler.format(lambda count: f"~ {count}", subset=([1], ["Count"])))

    assert found == shown(frame.style.format(lambda count: f"~ {count}", subset=([1], ["Count"])))

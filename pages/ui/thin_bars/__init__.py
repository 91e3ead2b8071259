"""Thin bars of shares with their legend: where time and money went, on one line each."""

from pathlib import Path
from typing import TypedDict

import streamlit as st

_FOLDER = Path(__file__).parent
_draw = st.components.v2.component(
    "thin_bars",
    html='<div class="bars"></div>',
    css=(_FOLDER / "bars.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "bars.js").read_text(encoding="utf-8"),
)


class Share(TypedDict):
    """One piece of a bar.

    Attributes:
        name: What it is. Untrusted: shown as text.
        size: Its length, in any unit that all pieces of the bar share.
        text: Its value in words.
        colour: Which identity of the theme, 1 to 6; 7 is Other, 0 what is not known.
    """

    name: str
    size: float
    text: str
    colour: int


class Bar(TypedDict):
    """One bar.

    Attributes:
        title: What is shared out.
        shares: Pieces in order. Empty: nothing is known.
        empty: What to say then.
    """

    title: str
    shares: list[Share]
    empty: str


def draw(bars: list[Bar], *, key: str) -> None:
    """Draw bars below each other.

    Args:
        bars: What to draw.
        key: Streamlit's key.
    """
    _draw(data={"bars": bars}, key=key)

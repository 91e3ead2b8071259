"""The blocks that pages of many tables are made of: heads, ways to other pages, downloads, tables that open things."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from pandas.io.formats.style import Styler
from streamlit.delta_generator import DeltaGenerator

from pages.ui import charts, display

_LONG, _HEIGHT = 14, 500  # rows from which a table scrolls, and its height then


def headed(title: str, meaning: str | None = None) -> DeltaGenerator:
    """Head a block with its title; what is drawn in the result stands at the other end of the line."""
    line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    line.markdown(f"**{title}**", width="content", help=meaning)
    return line.container(horizontal=True, vertical_alignment="center", gap="small", width="content")


def choice(
    label: str, options: Sequence[str], key: str, *, wrap: bool | None = None, meaning: str | None = None
) -> str:
    """Let the user choose one of a few; the address keeps it.

    Args:
        label: What is chosen; for those who do not see the page.
        options: What there is; the first one counts until another is chosen.
        key: Its name in the address.
        wrap: Whether it may take several lines. None: as Streamlit thinks fit.
        meaning: What the options are.
    """
    chosen = st.segmented_control(
        label,
        options,
        default=options[0],
        required=True,
        key=key,
        bind="query-params",
        label_visibility="collapsed",
        wrap=wrap,
        help=meaning,
    )
    return str(chosen or options[0])


def link(page: Path, label: str, parameters: dict[str, str] | None = None) -> None:
    """Draw the way to all of a block. The filters come along by themselves."""
    st.page_link(page, label=label, icon=":material/arrow_forward:", icon_position="right", query_params=parameters)


def table(styled: Styler, config: Mapping[str, Any], key: str, alt: str) -> None:
    """Draw a table that is only read."""
    st.dataframe(
        styled,
        key=key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height=_height(styled),
        alt=alt,
    )


def openable(
    styled: Styler,
    config: Mapping[str, Any],
    key: str,
    alt: str,
    open_row: Callable[[], None],
    ticked: int | None = None,
) -> int | None:
    """Draw a table whose ticked row opens something.

    Args:
        styled: The table.
        config: How to show its columns.
        key: Its key; another one for other rows.
        alt: What it is.
        open_row: What a tick does.
        ticked: Number of the row that is ticked at first.

    Returns:
        Number of the ticked row. None: none is.
    """
    shown = st.dataframe(
        styled,
        key=key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height=_height(styled),
        alt=alt,
        selection_mode="single-row",
        on_select=open_row,
        selection_default=None if ticked is None else {"selection": {"rows": [ticked]}},
    )
    rows = shown["selection"]["rows"]
    return int(rows[0]) if rows else None


def chart(figure: go.Figure, key: str, alt: str) -> None:
    """Draw a chart of its own height."""
    st.plotly_chart(figure, key=key, config=charts.CONFIG, alt=alt, theme="streamlit", height="content")


def _height(styled: Styler) -> Any:
    """Return the height of a table: its own, or one in which it scrolls."""
    return "content" if len(styled.data) <= _LONG else _HEIGHT

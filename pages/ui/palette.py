"""The colours of charts after a change of theme.

Streamlit paints a chart in the colours of the theme it was drawn in, and a change of theme draws none anew: texts and
lines of the grid follow, series do not. What has the nth colour of either theme is painted in that of the one worn.
"""

import streamlit as st

_MARKS = ".js-plotly-plot :is(.barlayer, .scatterlayer, .legend)"
_PAINTED = ("fill", "stroke")


def style() -> str:
    """Write the style sheet from the colours that the configuration has of both themes."""
    light, dark = (st.get_option(f"theme.{theme}.chartCategoricalColors") or [] for theme in ("light", "dark"))
    pairs = dict.fromkeys(zip(light, dark, strict=True))  # Other is there more than once
    return f"<style>{''.join(_rule(part, *pair) for pair in pairs for part in _PAINTED)}</style>"


def _rule(part: str, light: str, dark: str) -> str:
    """Write the rule of one colour.

    Args:
        part: What is painted, `fill` or `stroke`.
        light: As `#203BBA`.
        dark: The one that has its place in the other theme.
    """
    drawn = ", ".join(f'[style*="{part}: {_as_drawn(colour)}"]' for colour in (light, dark))
    return f"{_MARKS} :is({drawn}) {{ {part}: light-dark({light}, {dark}) !important; }}\n"


def _as_drawn(colour: str) -> str:
    """Write a colour as a browser does in an element's own style: `rgb(32, 59, 186)`."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"

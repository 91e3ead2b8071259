"""What takes long comes once the rest of the page is there to be seen."""

import secrets

import streamlit as st

# Each wait ends once, however often the browser draws what stands for it.
_JS = """
const told = new Set();
export default function ({ data, setTriggerValue }) {
  if (told.has(data.token)) return;
  told.add(data.token);
  setTriggerValue("due", true);
}
"""
_ask = st.components.v2.component("later", js=_JS)


def is_due(name: str, of: str, height: int) -> bool:
    """Tell whether to draw something now. Call it in a fragment.

    Args:
        name: What waits; every place has its own.
        of: What it would be drawn of: something else waits again.
        height: Of what stands there meanwhile, in pixels.

    Returns:
        False at first: then the browser, once it has drawn the page, asks for the fragment again.
    """
    key = f"later_{name}"
    if st.session_state.get(key) == of:
        return True
    st.skeleton(height=height)
    _ask(
        data={"token": secrets.token_hex(8)},
        key=f"{key}_bridge",
        on_due_change=lambda: st.session_state.update({key: of}),
    )
    return False

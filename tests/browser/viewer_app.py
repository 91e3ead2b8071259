"""The trace viewer alone, on made-up sessions: `streamlit run tests/browser/viewer_app.py`, then `/?show=story`."""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pages.ui import frame, trace_viewer
from tests.browser import traces

st.set_page_config(page_title="Trace viewer", page_icon="📊", layout="wide")

SHOW = st.query_params.get("show", "story")


@st.cache_resource
def made(show: str, grown: int) -> tuple[traces.Traces, trace_viewer.Growth | None]:
    """Make what is shown, and what it has gained since."""
    match show.split("-"):
        case ["large", exchanges, events]:
            return traces.large(int(exchanges), int(events)), None
        case ["deep" | "long" as shape, size]:
            return (traces.deep if shape == "deep" else traces.long)(int(size)), None
        case ["hostile" | "empty" | "partial" as shape]:
            return {"hostile": traces.hostile, "empty": traces.empty, "partial": traces.partial}[shape](), None
        case ["running"]:
            found = traces.running()
            return found, traces.grow(found, grown) if grown else None
    return traces.story(), None


def begin() -> trace_viewer.Opened:
    """Return what the address asks for: an exchange of the whole tree by its place, from 1, and an event."""
    found, _ = made(SHOW, 0)
    number = int(st.query_params.get("exchange", "1"))
    return {"exchange": found.exchanges[number - 1]["id"], "part": st.query_params.get("part"), "show_all": []}


@st.fragment
def detail() -> None:
    """Draw the transcript, and let the session grow at a click."""
    grown = st.session_state.setdefault("grown", 0)
    opened = trace_viewer.opened("detail", begin())
    found, growth = made(SHOW, grown)
    trace_viewer.trace_detail(found.detail(SHOW, opened, growth), key="detail")
    st.text(f"Open: {opened['exchange']} {opened['part']} {len(opened['show_all'])}")
    st.button("Grow", on_click=lambda: st.session_state.update(grown=grown + 1))


runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
version = st.session_state.setdefault("version", 1)

st.title("Trace viewer")
left, right = trace_viewer.panes()
with left:
    trace_viewer.trace_viewer(made(SHOW, 0)[0].viewer(SHOW, begin(), str(version)), key="viewer")
with right:
    detail()
st.text(f"Run {runs}, version {version}")
st.button("Rerun")
st.button("Newer", on_click=lambda: st.session_state.update(version=version + 1))
frame.settle()

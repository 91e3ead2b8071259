"""Timeline: what happened in a session, step by step?"""

import streamlit as st

from pages.ui import frame, timeline

frame.ensure()

session_id = timeline.chosen()
if session_id is None:
    timeline.pick()
    st.stop()

found = timeline.preview(session_id)
if found is None:
    timeline.unknown(session_id)
    st.stop()

timeline.draw(found)

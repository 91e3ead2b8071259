"""Sessions: which session do I want?"""

import streamlit as st

from pages.ui import display, export, filters, frame, links, listing

frame.ensure()
links.go()

scope = filters.scope()
frame.heading("Sessions", filters.range_words(scope))
frame.tell_partial()

tools = st.container(
    horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="medium", key="sessions_tools"
)
with tools.container(horizontal=True, vertical_alignment="center", gap="medium", width="content"):
    sort, fold = listing.order(), listing.folding()
with tools:
    found = listing.listed(scope, fold, sort)
    export.offer(
        listing.exported(scope, fold, sort), export.file_stem("sessions", scope), "sessions_export", "Sessions"
    )

if not found.rows:
    filters.nothing_matches("sessions")
    st.stop()

filters.warn_unknown()
st.text(listing.summary(found.total, scope), width="stretch")
links.why()
with st.container(key="sessions_table"):
    listing.table(scope, fold, sort, found)
st.caption("Tick a row to open its timeline. " + display.md(listing.explanation(scope, fold)))

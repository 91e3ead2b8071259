"""SQL: ask the index anything, read-only."""

import streamlit as st

from pages.ui import data, frame, sql_console

frame.ensure()

frame.heading("SQL", "Read-only, over the index")
if not data.status().is_empty:
    frame.tell_partial(is_of_spend=False)
left, right = st.columns([5, 3], gap="large")
with left:
    query = sql_console.editor()
    if outcome := sql_console.outcome(query):
        sql_console.show(outcome)
with right:
    sql_console.tables()

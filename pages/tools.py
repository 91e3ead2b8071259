"""Tools: which tools are slow or failing, and what do they work on?"""

import streamlit as st

from pages.ui import calling, filters, frame, links

frame.ensure()
links.go()

scope = filters.scope()
frame.heading("Tools", filters.range_words(scope))
frame.tell_partial(is_of_spend=False)

totals = calling.load(scope)
if not totals.calls + totals.unfinished_calls:
    filters.nothing_matches("tool calls")
    st.stop()

filters.warn_unknown()
calling.figures(totals)
links.why()
with st.container(border=True, key="tools_table"):
    calling.tools(scope)
chosen = calling.choose(scope)
calling.calls(scope, chosen)
with st.container(border=True, key="tools_files"):
    calling.files(scope, chosen)

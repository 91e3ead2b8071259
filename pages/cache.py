"""Cache: what did the providers' caches save, where was it lost, and what do old tool outputs cost?"""

import streamlit as st

from pages.ui import caching, filters, frame, links

frame.ensure()
links.go()

scope = filters.scope()
frame.heading("Cache", filters.range_words(scope))
frame.await_requests()

found = caching.load(scope)
if not found.totals.requests:
    filters.nothing_matches("requests")
    st.stop()

filters.warn_unknown()
caching.figures(found)
caching.left_out(found)
links.why()
by = caching.grouping()
with st.container(border=True, key="cache_over_time"):
    caching.over_time(by, scope, found.totals)
with st.container(border=True, key="cache_rows"):
    caching.broken_down(by, scope, found.rows[by])
with st.container(border=True, key="cache_collapses"):
    caching.collapsed(scope, found.collapses)
with st.container(border=True, key="cache_rent"):
    caching.rents(scope, found.rent)

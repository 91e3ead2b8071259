"""What if: what would the same tokens have cost on other models?"""

import streamlit as st

from pages.ui import comparing, data, filters, frame, links
from queries import costs

frame.ensure()

scope = filters.scope()
totals = data.load(costs.cost_totals, scope)

frame.heading("What if", filters.range_words(scope))
frame.await_requests()
if not totals.messages:
    filters.nothing_matches("requests")
    st.stop()

filters.warn_unknown()
comparing.caveat()
chosen = comparing.choose(scope)
if not chosen:
    st.info("Choose models to compare with.", icon=":material/compare_arrows:")
    st.stop()
found = comparing.compare(chosen, scope)
comparing.figures(totals, found)
links.why()
comparing.chart(found, totals)
comparing.table(found, totals, scope)

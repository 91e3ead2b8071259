"""Why this number: what every total is made of, and whether the sources that know it agree."""

import streamlit as st

from pages.ui import data, filters, frame, ledger, links, states

frame.ensure()
links.go()

scope = ledger.scope()
if not ledger.heading(scope):
    st.stop()
frame.tell_partial(is_of_spend=False)
if data.status().is_partial:
    states.requests_not_read()  # what OpenCode summed up is whole by now: all would seem to differ
    st.stop()

lines = ledger.load(scope)
if ledger.is_empty(lines):
    filters.nothing_matches("answers")
    st.stop()

filters.warn_unknown()
ledger.figures(lines)
ledger.checks(lines, scope)
ledger.rows(lines, scope)
ledger.bridge(lines, scope)
ledger.left_out(lines)
ledger.quality(scope)

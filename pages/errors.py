"""Errors: what fails most, is it getting worse, and what does it cost?"""

import streamlit as st

from pages.ui import failing, filters, frame, links

frame.ensure()
links.go()

scope = filters.scope()
frame.heading("Errors", filters.range_words(scope))
frame.tell_partial(is_of_spend=False)

failed, unread = st.tabs(failing.TABS, key="errors_tabs", on_change="rerun")
if failed.open:
    with failed:
        failing.draw(scope)
if unread.open:
    with unread:
        failing.unreadable(scope.tz)

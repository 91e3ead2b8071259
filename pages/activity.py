"""Activity: when is the work done, how fast do models answer, what changes in the code, and is it within budget?"""

import streamlit as st

from pages.ui import budgeting, filters, frame, links, working

frame.ensure()

scope = filters.scope()
frame.heading("Activity", filters.range_words(scope))
frame.tell_partial()

basis = budgeting.basis()
with st.container(border=True, key="activity_budgets"):
    budgeting.budgets(basis, scope)

hours = working.load(scope)
if not hours:
    filters.nothing_matches("activity")
    st.stop()

filters.warn_unknown()
links.why()
with st.container(border=True, key="activity_hours"):
    working.hours(hours, basis, scope)
with st.container(border=True, key="activity_speeds"):
    working.speeds(scope)
with st.container(border=True, key="activity_projects"):
    working.projects(scope)
with st.container(border=True, key="activity_directories"):
    working.directories(scope)

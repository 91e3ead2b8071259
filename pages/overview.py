"""Overview: what happened lately, and is anything wrong?"""

import streamlit as st

from pages.ui import data, filters, frame, glance, links

frame.ensure()
links.go()

scope = filters.scope()
frame.heading("Overview", filters.range_words(scope), follows=True)
frame.tell_partial()
glance.trouble(data.status())

found = glance.load(scope)
if not found.now.sessions:
    filters.nothing_matches("activity")
    st.stop()

filters.warn_unknown()
glance.figures(found, scope)
links.why()

left, right = st.columns([4, 3], gap="medium")
with left.container(border=True, height="stretch", key="overview_cost"):
    glance.cost_over_time(scope, found)
with right.container(border=True, height="stretch", key="overview_sessions"):
    glance.last_sessions(scope)

agents, tools = st.columns([4, 3], gap="medium")
with agents.container(border=True, height="stretch", key="overview_agents"):
    glance.agents(found, scope)
with tools.container(border=True, height="stretch", key="overview_tools"):
    glance.slowest_tools(scope)
with st.container(border=True, key="overview_errors"):
    glance.newest_errors(scope)

"""Costs: what did it cost, and what drives it?"""

import streamlit as st

from pages.ui import data, export, filters, frame, links, spend
from queries import costs

frame.ensure()

scope = filters.scope()
totals = data.load(costs.cost_totals, scope)

frame.heading("Costs", filters.range_words(scope))
frame.tell_partial()
if not totals.messages:
    filters.nothing_matches("costs")
    st.stop()

filters.warn_unknown()
by, basis = spend.chosen()
spend.figures(totals, basis)
spend.left_out(totals, data.load(costs.unpriced_models, scope))
links.why()

spend.choices()
view = spend.view(by, basis, scope, totals)

left, right = st.columns([3, 2], gap="medium")
with left.container(border=True, height="stretch", key="costs_over_time"):
    st.markdown(f"**{view.series_title}**")
    spend.chart(view.over_time, "over_time", view.series_alt, basis, is_empty=not view.axis, height="stretch")
with right.container(border=True, height="stretch", key="costs_ranking"):
    st.markdown(f"**{view.ranking_title}**")
    spend.chart(view.ranking, "ranking", view.ranking_alt, basis, is_empty=not totals.cost_usd(basis), height="content")

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="costs_tools"):
    st.markdown(f"**{view.table_title}**", width="content")
    export.offer(view.exported, view.file_stem, "costs_export", f"Costs by {by}")
with st.container(key="costs_table"):
    spend.table(view)
st.caption(spend.NEVER_RECORDED)

"""Indexer: is the index up to date?"""

import streamlit as st

from pages.ui import data, frame, indexing

frame.ensure()

indexing.heading()
is_bulk = data.status().phase == "bulk"
st.fragment(run_every=2 if is_bulk else 30)(indexing.state)()
indexing.sources()
indexing.problems()
indexing.history()

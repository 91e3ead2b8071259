"""Benchmarks: does the index help, and by how much?"""

import streamlit as st

from pages.ui import benchmarks, data, frame

frame.ensure()

runs = benchmarks.load_runs()
frame.heading("Benchmarks", "How fast the queries of these pages are")
if not runs:
    benchmarks.none_yet()
    st.stop()

run, before, page = benchmarks.choose(runs, data.zone())
rows = benchmarks.load(run, before, page)
benchmarks.about(run, data.zone())
benchmarks.figures(rows, before)
with st.container(border=True, key="benchmark_chart"):
    benchmarks.chart(rows, before)
with st.container(border=True, key="benchmark_table"):
    query = benchmarks.table(rows, run, before)
if query:
    with st.container(border=True, key="benchmark_query"):
        benchmarks.plans(run, query, before)
    with st.container(border=True, key="benchmark_history"):
        benchmarks.history(query, data.zone())

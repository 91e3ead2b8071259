"""The dashboard: `streamlit run app.py`. Page config, navigation, who may see it, filter bar; nothing else."""

import streamlit as st

from pages.ui import access, data, filters, frame

st.set_page_config(page_title=frame.APP, page_icon="📊", layout="wide")

with frame.around():
    page = frame.navigate()
    frame.style()
    access.require()
    data.check(may_be_empty=frame.is_about_index(page))
    filters.bar(page, is_shown=frame.has_filters(page))
    page.run()

frame.settle()

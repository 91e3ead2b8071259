"""What one can take along from a session: its ids, and the session as a file."""

import streamlit as st

from queries.traced_sessions import SessionHead


def draw(head: SessionHead) -> None:
    """Draw the buttons."""
    _ids(head)


def _ids(head: SessionHead) -> None:
    """Draw what one may want to copy."""
    with st.popover("Ids", icon=":material/tag:", key="timeline_ids"):
        for label, value in (
            ("Session id", head.session_id),
            ("Title", head.title),
            ("Parent session id", head.parent_session_id),
            ("Folder", head.directory),
            ("OpenCode version", head.client_version),
        ):
            if value:
                st.caption(label)
                st.code(value, language=None, wrap_lines=True)

"""What one can take along from a session: its ids, and the session as a file."""

from collections.abc import Callable

import streamlit as st

from pages.ui import data, export, session_export
from queries.session_dump import SessionDump, session_dump
from queries.traced_sessions import SessionHead

GONE = "The session is not in the index any more."


@st.fragment
def draw(head: SessionHead) -> None:
    """Draw the buttons. A fragment: what is switched in them is nothing to the rest of the page."""
    with st.container(horizontal=True, gap="small", width="content"):
        _files(head)
        _ids(head)


def files(session_id: str, tz: str, is_masked: bool) -> tuple[Callable[[], bytes], Callable[[], bytes]]:
    """Prepare a session as JSON and as Markdown, as it is when it is downloaded.

    Args:
        session_id: The session.
        tz: Zone of the times in the Markdown.
        is_masked: Leave out home folders and what looks like a secret.
    """
    ask = data.newest_source(session_dump, session_id)

    def dump() -> SessionDump:
        """Read the session."""
        found = ask()
        if found is None:
            raise LookupError(GONE)
        return found

    return (
        lambda: session_export.session_json(dump(), is_masked),
        lambda: session_export.session_markdown(dump(), tz, is_masked),
    )


def _files(head: SessionHead) -> None:
    """Draw the downloads."""
    with st.popover("Export", icon=":material/download:", key="timeline_export"):
        is_masked = st.toggle(
            "Mask secrets and home paths",
            value=True,
            key="timeline_mask",
            help="Leaves out home folders and what looks like a key, token or password. A guess: read the file before "
            "you share it.",
        )
        as_json, as_markdown = files(head.session_id, data.zone(), is_masked)
        for label, make, extension, mime in (
            ("Markdown, to read", as_markdown, "md", "text/markdown"),
            ("JSON, everything", as_json, "json", "application/json"),
        ):
            st.download_button(
                label,
                data=export.safely(make),
                file_name=session_export.file_name(head, extension, is_masked),
                mime=mime,
                key=f"timeline_{extension}",
                icon=":material/description:" if extension == "md" else ":material/data_object:",
                on_click="ignore",
                width="stretch",
            )
        told = "" if is_masked else " Nothing is left out: keys, tokens and home paths are in it as recorded."
        st.caption(f"This session alone, without the sessions it delegated to.{told}")


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

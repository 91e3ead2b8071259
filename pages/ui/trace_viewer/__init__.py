"""The two components of the timeline page: a waterfall of a whole session tree, and what one exchange says.

Two components, not one: `trace_viewer` gets every event once and is not sent again; `trace_detail` is small, sits in a
fragment, and tells Python what is open. In the browser they talk by events on `window`, told apart by `view`.

How a page uses them::

    left, right = trace_viewer.panes()
    with left:                                       # outside the fragment: drawn once per session and pinned revision
        trace_viewer.trace_viewer(payload, key="trace_viewer")

    @st.fragment(run_every=1 if is_running else None)
    def detail():
        opened = trace_viewer.opened("trace_detail", default)      # what is open now, before anything is drawn
        trace_viewer.trace_detail(detail_payload, key="trace_detail")
    with right:
        detail()

The right side draws the tabs Transcript and Delegations itself; below 800 px the viewer shows three tabs (Timeline,
Transcript, Delegations) instead. What it shows of delegations comes with the viewer's payload and costs no rerun.
Clicks on sessions in Delegations jump inside the viewer.

`ViewerPayload`, `Growth` and `DetailPayload` below are the exact shapes. All numbers are raw: the components write
costs, tokens, counts and durations as `pages.ui.display` does. Lists may be empty, keys may not be missing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

_FOLDER = Path(__file__).parent


class SessionRow(TypedDict):
    """One session of the tree, parents before children; the first is the session that was picked.

    A delegation that leads nowhere is a row too: `link` says why, `event` is the call. A session that a second call
    resumed has one row `ok` with its events, and one row `resumed` per further call, with the same `session_id`.
    """

    session_id: str
    parent: int  # index in this list, -1 for the first
    depth: int
    title: str | None
    agent: str | None
    model: str | None
    event: str | None  # id of the delegating trace; None where none is recorded
    link: str  # ok missing resumed cycle elsewhere
    status: str  # running ok failed aborted unfinished unknown
    started_ms: float | None  # since the origin, as all times below
    ended_ms: float | None
    own_tokens: int | None
    own_cost_usd: float | None
    subtree_tokens: int | None
    subtree_cost_usd: float | None
    is_deleted: bool


class MarkRow(TypedDict):
    """Waste that was found: a loop, edit-fail-edit, an exchange that ended in an error or abort."""

    kind: str  # loop edit ended
    exchange_id: str
    events: list[str]  # ids of the traces; empty: the exchange as a whole
    text: str  # one sentence, plain text: "bash with the same arguments 4 times"
    tokens: int | None
    cost_usd: float | None  # what it cost, None: not known


class Head(TypedDict):
    """What the viewer shows of the session beside the events."""

    session_id: str
    title: str | None
    origin_ms: float | None  # Unix epoch of the time that all others count from; None: no time is known at all
    tz: str  # IANA name, what clock times are written in
    is_running: bool
    is_partial: bool  # a very large session: there are no events yet, those of what is opened come as growth


class Opened(TypedDict):
    """What is open: kept by Streamlit as the state `opened` of trace_detail.

    Attributes:
        exchange: Id of the exchange whose transcript is shown; None: none yet.
        part: Id of the selected trace; None: the exchange itself.
        show_all: Ids of the traces whose text is wanted whole; only of this exchange.
    """

    exchange: str | None
    part: str | None
    show_all: list[str]


class ViewerPayload(TypedDict):
    """What trace_viewer gets.

    Attributes:
        view: Names the pair of components, e.g. the session id; the same in the detail's payload.
        version: Changes whenever anything below does, e.g. the revision; the same version is not drawn again. Another
            version of the same view keeps scroll, zoom, selection and focus.
        link: Path and query of this page for copied links, without exchange and part: `/timeline?session=ses_1`.
            The viewer adds `&exchange=<number>` (of the outermost exchange) and `&part=<trace id>`.
        opened: What to select and show at first, from the URL; ignored when the view is already drawn.
        events: As `events_frame` makes them from `Timeline.events`.
        exchanges: As `exchanges_frame` makes them: id string, session int32, number int32, kind string, status string
            (answered failed aborted unfinished unanswered), start_ms float64, end_ms float64 (NaN: unknown),
            tools int32, delegations int32, steps int32, errors int32, tokens float64, cost_usd float64 (NaN: not
            recorded), is_fork_copy bool, label string. Their order is the display order of the exchanges of a session.
    """

    view: str
    version: str
    link: str
    head: Head
    opened: Opened
    sessions: list[SessionRow]
    marks: list[MarkRow]
    events: pa.Table
    exchanges: pa.Table


class GrowthEvent(TypedDict):
    """A new or changed event: the columns of `Timeline.events`, but with ids instead of indexes."""

    id: str
    exchange_id: str
    parent_id: str | None  # trace it hangs below inside its exchange; None: directly in its exchange
    kind: str
    name: str
    label: str
    start_ms: float | None
    end_ms: float | None
    status: str
    tokens: int | None
    cost_usd: float | None
    flags: int


class GrowthExchange(TypedDict):
    """A new or changed exchange."""

    id: str
    session_id: str
    number: int
    kind: str
    status: str
    start_ms: float | None
    end_ms: float | None
    tools: int
    delegations: int
    steps: int
    errors: int
    tokens: int | None
    cost_usd: float | None
    is_fork_copy: bool
    label: NotRequired[str]  # first line of what was asked; without it, that of the first prompt


class Growth(TypedDict):
    """What a running session has gained since the viewer's payload was made.

    Always everything since then, not since the last growth: Streamlit may drop one of two quick messages. The viewer
    updates by id, so what it already has does no harm: the events of an exchange that were left out of the payload of
    a very large session can come this way, too, once it is opened. New rows come in display order and are put last
    below their parent. `serial` counts up; an equal one is ignored, and so is growth of another `version` of the
    viewer's payload.
    """

    serial: int
    version: NotRequired[str]  # of the viewer's payload that it adds to; without it, whatever is drawn
    events: list[GrowthEvent]
    exchanges: list[GrowthExchange]
    sessions: list[SessionRow]  # the whole list again if any session is new or changed, else empty
    marks: list[MarkRow] | None  # the whole list again, None: as before
    is_running: bool


class Attachment(TypedDict):
    """A file that came with a prompt, named only."""

    name: str
    mime: str | None
    size_bytes: int | None


class Ids(TypedDict):
    """An id to copy."""

    label: str  # "Part", "Message", "Call", "Session"
    value: str


class PieceRow(TypedDict):
    """One thing that was said or done in the open exchange. Text is what was recorded, cut or whole."""

    id: str  # trace id, as in the events
    kind: str
    name: str
    title: str | None
    status: str  # ok failed unfinished restarted unknown
    text: str | None  # prompt, reasoning, answer, error message, ...
    text_bytes: int  # true size
    input: str | None  # a tool's arguments, JSON
    input_bytes: int
    output: str | None
    output_bytes: int
    is_cut: bool  # something above is shorter than recorded, and "Show all" brings the rest
    is_lost: bool  # something above is shorter than recorded, and the index has no more of it
    diff: str | None  # unified diff, of edit, write and patch; a line "Index: PATH" begins each file
    is_diff_cut: bool  # there is more than that
    attachments: list[Attachment]
    tokens: dict[str, int | None] | None  # input output reasoning cache_read cache_write total; None: not recorded
    cost_usd: float | None
    start_ms: float | None
    end_ms: float | None
    child_session_id: str | None
    flags: int
    ids: list[Ids]


class DetailPayload(TypedDict):
    """What trace_detail gets.

    Attributes:
        view: As in the viewer's payload.
        exchange_id: Whose transcript this is; None: none is open.
        pieces: In order, steps left in: they separate the answers.
        shown: Ids of `opened.show_all` that are whole here.
        opened: What Python believes is open; the component takes it only at first, and when the page was reloaded.
        growth: New events for the viewer; None: nothing has grown.
    """

    view: str
    exchange_id: str | None
    pieces: list[PieceRow]
    shown: list[str]
    opened: Opened
    growth: Growth | None


# Side by side where there is room for both; below 800 px the viewer's tabs show one at a time.
_PANES_STYLE = """
<style>
@media (max-width: 799.98px) {
  .st-key-trace_panes [data-testid="stHorizontalBlock"] { flex-direction: column; gap: .5rem; }
  .st-key-trace_panes [data-testid="stColumn"] { width: 100%; min-width: 100%; flex: 1 1 auto; }
}
</style>
"""
_WIDTHS = (58, 42)
_VIEWER_PARTS = ("model", "axis", "outline", "timescale", "ruler", "rows", "toolbar", "minimap", "mouse", "keyboard")

_MISSING = float("nan")
_REPEATED = ("kind", "name", "status")
_EXCHANGE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("session", pa.int32()),
        ("number", pa.int32()),
        ("kind", pa.dictionary(pa.int32(), pa.string())),
        ("status", pa.dictionary(pa.int32(), pa.string())),
        ("start_ms", pa.float64()),
        ("end_ms", pa.float64()),
        ("tools", pa.int32()),
        ("delegations", pa.int32()),
        ("steps", pa.int32()),
        ("errors", pa.int32()),
        ("tokens", pa.float64()),
        ("cost_usd", pa.float64()),
        ("is_fork_copy", pa.bool_()),
        ("label", pa.string()),
    ]
)


def _text(*names: str) -> str:
    """Join files of this folder; each component is one script and one style sheet."""
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


_draw_viewer = st.components.v2.component(
    "trace_viewer",
    js=_text("shared.js", *(f"{name}.js" for name in _VIEWER_PARTS), "viewer.js"),
    css=_text("shared.css", "viewer.css"),
)
_draw_detail = st.components.v2.component(
    "trace_detail",
    js=_text("shared.js", "prose.js", "pieces.js", "detail.js"),
    css=_text("shared.css", "detail.css"),
)


def panes() -> tuple[DeltaGenerator, DeltaGenerator]:
    """Make the two places side by side, one above the other below 800 px; call once, then fill left and right."""
    st.html(_PANES_STYLE)
    with st.container(key="trace_panes"):
        left, right = st.columns(_WIDTHS, gap="small")
    return left, right


def trace_viewer(payload: ViewerPayload, *, key: str) -> None:
    """Draw the waterfall. Call it outside fragments.

    Args:
        payload: See `ViewerPayload`.
        key: Streamlit's key, constant on the page.
    """
    _draw_viewer(key=key, data=payload)


def trace_detail(payload: DetailPayload, *, key: str, on_open: Callable[[], None] | None = None) -> Opened:
    """Draw the transcript of the open exchange. Call it in a fragment.

    Args:
        payload: See `DetailPayload`.
        key: Streamlit's key, constant on the page.
        on_open: Called before the rerun when something else is opened.

    Returns:
        What is open now: what the payload said until something is clicked.
    """
    result = _draw_detail(key=key, data=payload, on_opened_change=on_open or _nothing)
    return _as_opened(result.get("opened"), payload["opened"])


def opened(key: str, default: Opened) -> Opened:
    """Return what is open, before trace_detail is drawn in this run: what to load the payload for.

    Args:
        key: The key of trace_detail.
        default: What the URL says; taken until something is clicked.
    """
    state = st.session_state.get(key)
    return _as_opened(state.get("opened") if isinstance(state, Mapping) else None, default)


def events_frame(events: pa.Table) -> pa.Table:
    """Narrow the events for sending: repeated words by number, missing numbers as NaN, integers small.

    Args:
        events: `Timeline.events`.
    """
    frame = pa.table(
        {
            "id": events["id"],
            "exchange": events["exchange"].cast(pa.int32()),
            "parent": events["parent"].cast(pa.int32()),
            **{name: _repeated(events[name]) for name in _REPEATED},
            "label": events["label"],
            **{name: _numbers(events[name]) for name in ("start_ms", "end_ms", "tokens", "cost_usd")},
            "flags": events["flags"].cast(pa.int32()),
        }
    )
    return frame.combine_chunks()


def exchanges_frame(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Turn exchanges into the frame that the viewer reads.

    Args:
        rows: Dicts shaped like `GrowthExchange`, but `session` (index in the list of sessions) for `session_id`.
    """
    missing = ("start_ms", "end_ms", "tokens", "cost_usd")
    filled = [
        {"label": "", **row, **{name: _MISSING if row[name] is None else row[name] for name in missing}} for row in rows
    ]
    return pa.Table.from_pylist(filled, schema=_EXCHANGE_SCHEMA)


def _repeated(words: pa.ChunkedArray) -> pa.ChunkedArray:
    """Send each different word once."""
    return words if pa.types.is_dictionary(words.type) else words.dictionary_encode()


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Send missing numbers as NaN: the browser then reads a plain array."""
    return pc.fill_null(values.cast(pa.float64()), _MISSING)


def _as_opened(state: Any, default: Opened) -> Opened:
    """Read what the browser says is open. It is untrusted: anything of another shape is as if nothing was said."""
    match state:
        case {"exchange": str() | None as exchange, "part": str() | None as part, "show_all": list(show_all)}:
            return {"exchange": exchange, "part": part, "show_all": [one for one in show_all if isinstance(one, str)]}
    return default


def _nothing() -> None:
    """Stand in for a callback: Streamlit keeps a state only if something listens for it."""

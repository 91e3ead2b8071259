"""One session as a file: JSON for programs, Markdown for people.

Text in the Markdown file is inert: nothing in it becomes an image, a named link, a heading or HTML. Tool input and
output stand in code blocks with fences longer than any inside them; answers keep their own code blocks, the rest of
them is escaped.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from pages.ui import display, export
from pages.ui.masking import Json, masked, masked_values
from queries.session_dump import SessionDump
from queries.timeline import SessionHead, TracedExchange, TracedSession
from queries.transcript import Piece

FORMAT, VERSION = "opencode-session", 1
NO_BREAK_SPACE, MAX_INDENT = "\u00a0", 40

# What means something to Markdown wherever it stands, and what does so at the start of a line.
_SPECIAL = re.compile(r"[\\`*\[\]<|&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=\S)~|~(?!/)")
_LINE_START = re.compile(r"^([#>=+-]|\d{1,9}[.)])")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*([A-Za-z0-9+#.-]{0,20})[^`]*$")
_ENVIRONMENT_FILE = re.compile(r"""(?:^|[\s/\\"'=])\.env(?:\.[\w-]+)*(?=[\s"'\\;|&)]|$)""")
_ABOUT_ARGUMENTS = ("tool", "delegation", "file", "retry", "other")
_OPENERS = {"shell": ("tool",), "command": ("prompt", "delegation")}  # of exchanges: prompts are those of all others
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HEADINGS = {
    "prompt": "Prompt",
    "text": "Answer",
    "reasoning": "Reasoning",
    "error": "Error",
    "retry": "Retry",
    "compaction": "Summary of the conversation",
    "file": "Attached file",
    "patch": "Files changed",
    "other": "Other",
}


@dataclass(frozen=True, slots=True)
class _Mask:
    """Leaves out what is not to be seen, or nothing."""

    is_masked: bool

    def text(self, text: str, is_environment: bool = False) -> str:
        """Mask a text; see `masking.masked`."""
        return masked(text, is_environment) if self.is_masked else text

    def values(self, value: Json, is_environment: bool = False) -> Json:
        """Mask all texts inside a JSON value."""
        return masked_values(value, is_environment) if self.is_masked else value


def session_json(dump: SessionDump, is_masked: bool = True) -> bytes:
    """Write a session as JSON: numbers as they are, costs as exact decimal strings, times as ISO 8601 in UTC.

    Args:
        dump: The session.
        is_masked: Leave out home folders and what looks like a secret.

    Returns:
        UTF-8, indented by one blank. Arguments of calls are objects where they are JSON, else text.
    """
    mask, pieces = _Mask(is_masked), _by_exchange(dump.pieces)
    exchanges: list[Json] = []
    for exchange in dump.exchanges:
        own = _object(mask.values(_fields(exchange, ("index", "session", "depth", "first_event"))))
        events = [_piece_json(piece, mask) for piece in pieces[exchange.exchange_id]]
        if is_masked:
            own["label"] = _exchange_label(exchange, events)
        exchanges.append({**own, "events": [*events]})
    document: dict[str, Json] = {
        "format": FORMAT,
        "version": VERSION,
        "is_masked": is_masked,
        "session": mask.values(_plain(dump.head)),
        "tree": mask.values(_plain(dump.sessions)),
        "exchanges": exchanges,
    }
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def session_markdown(dump: SessionDump, tz: str, is_masked: bool = True) -> bytes:
    """Write a session as a readable Markdown file.

    Args:
        dump: The session.
        tz: Zone of the times.
        is_masked: Leave out home folders and what looks like a secret.

    Returns:
        UTF-8.
    """
    mask = _Mask(is_masked)
    lines = [*_head_lines(dump, tz, mask), ""]
    if is_masked:
        lines += ["> Home folders and what looks like a secret are left out.", ""]
    pieces = _by_exchange(dump.pieces)
    titles = {each.session_id: each.title for each in dump.sessions if each.title}
    for exchange in dump.exchanges:
        lines += _exchange_lines(exchange, tz)
        for piece in pieces[exchange.exchange_id]:
            lines += _piece_lines(piece, titles, mask)
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "replace")


def file_name(head: SessionHead, extension: str, is_masked: bool = True) -> str:
    """Name the file after the session: `opencode-session_Fix-the-tests_ses_1234.md`.

    Args:
        head: The session.
        extension: `json` or `md`.
        is_masked: Whether the title is masked.
    """
    title = (masked(head.title) if is_masked else head.title) if head.title else "untitled"
    stem = export.plain_stem(f"opencode-session_{title[:60]}_{head.session_id}")
    return f"{stem}.{extension}"


# --- labels


def _by_exchange(pieces: Sequence[Piece]) -> Mapping[str, list[Piece]]:
    """Group events by exchange, in order."""
    found = defaultdict[str, list[Piece]](list)
    for piece in pieces:
        found[piece.exchange_id].append(piece)
    return found


def _masked_label(kind: str, written: Mapping[str, Json]) -> str:
    """Write one line about an event, of what is masked already: in a line that was cut no secret is recognised.

    What says best what a call without a title was about is found in its arguments, which stand beside it.

    Args:
        kind: Of the event.
        written: Its fields, masked.
    """
    words = written["title"] if kind in _ABOUT_ARGUMENTS else written["text"] or written["label"]
    return display.one_line(words if isinstance(words, str) else "")


def _exchange_label(exchange: TracedExchange, events: Sequence[Mapping[str, Json]]) -> str:
    """Write one line about an exchange that has any: the label of its first event that says something, masked."""
    kinds = _OPENERS.get(exchange.kind, ("prompt",)) if exchange.label else ()
    labels = (event["label"] for kind in kinds for event in events if event["kind"] == kind)
    return next((label for label in labels if isinstance(label, str) and label), "")


# --- JSON


def _piece_json(piece: Piece, mask: _Mask) -> dict[str, Json]:
    """Write a piece; its arguments become an object where they are JSON."""
    whole = {
        **_fields(piece, ("exchange_id", "session_id", "input_json")),
        "input": _arguments(piece.input_json),
    }
    written = _object(mask.values(whole, _is_environment(piece)))
    if mask.is_masked:
        written["label"] = _masked_label(piece.kind, written)
    return written


def _arguments(text: str | None) -> Json:
    """Read arguments; what is no JSON stays text."""
    if text is None:
        return None
    try:
        found: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found


def _fields(value: object, left_out: Sequence[str]) -> dict[str, Json]:
    """Write the fields of a dataclass."""
    names = [field.name for field in fields(value)] if is_dataclass(value) else []
    return {name: _plain(getattr(value, name)) for name in names if name not in left_out}


def _object(value: Json) -> dict[str, Json]:
    """Return an object as such."""
    return value if isinstance(value, dict) else {}


def _plain(value: object) -> Json:
    """Turn a value into what JSON has."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return f"{value:f}"
        case datetime():
            return f"{value.isoformat(timespec='milliseconds')}Z"
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return _fields(value, ())


# --- Markdown


def _head_lines(dump: SessionDump, tz: str, mask: _Mask) -> Iterator[str]:
    """Write the title, and what is known of the session in a list."""
    head = dump.head
    yield f"# {escaped(mask.text(head.title or 'Untitled session'))}"
    yield ""
    known = {
        "Session": _code(head.session_id),
        "Delegated by": _code(head.parent_session_id) if head.parent_session_id else None,
        "Project": escaped(mask.text(head.project)) if head.project else None,
        "Folder": _code(mask.text(head.directory)) if head.directory else None,
        "Agent": escaped(head.agent) if head.agent else None,
        "Model": escaped(head.model) if head.model else None,
        "Started": _time(head.started_at, tz),
        "Ended": _time(head.ended_at, tz),
        "Active time": display.active(head.active_ms),
        "Exchanges": display.count(head.exchanges),
        "Tool calls": f"{display.count(head.tool_calls)}, {display.count(head.failed_tool_calls)} failed",
        "Tokens": display.tokens(head.total_tokens),
        "Recorded cost": display.usd(head.cost_recorded_usd, 4),
        "Deleted in OpenCode": "yes, its texts are gone" if head.is_deleted else None,
    }
    if head.subtree_sessions > 1:
        known["With delegated sessions"] = (
            f"{display.tokens(head.subtree_tokens)} tokens, {display.usd(head.subtree_cost_usd, 4)}"
        )
    yield from (f"- {name}: {value}" for name, value in known.items() if value is not None)
    yield from _tree_lines(dump.sessions, mask)


def _tree_lines(sessions: Sequence[TracedSession], mask: _Mask) -> Iterator[str]:
    """List the sessions below; nothing if there are none."""
    if len(sessions) < 2:
        return
    yield ""
    yield "## Delegated sessions"
    yield ""
    for each in sessions[1:]:
        title = escaped(mask.text(each.title or "untitled"))
        numbers = f"{display.tokens(each.own_tokens)} tokens, {display.usd(each.own_cost_usd, 4)}"
        told = numbers if each.link == "ok" else each.link
        yield f"{'  ' * (each.depth - 1)}- {title} ({_code(each.session_id)}): {told}"


def _exchange_lines(exchange: TracedExchange, tz: str) -> Iterator[str]:
    """Write the heading of an exchange."""
    facts = [
        _time(exchange.started_at, tz),
        exchange.status,
        *([] if exchange.kind == "prompt" else [exchange.kind if exchange.kind != "none" else "no prompt"]),
        f"{display.tokens(exchange.tokens)} tokens",
        display.usd(exchange.cost_usd, 4),
        *(["copied by a fork"] if exchange.is_fork_copy else []),
    ]
    yield f"## Exchange {exchange.number}"
    yield ""
    yield " · ".join(facts)
    yield ""


def _piece_lines(piece: Piece, titles: Mapping[str, str], mask: _Mask) -> Iterator[str]:
    """Write one event; the ends of steps are left out, their numbers stand at the exchange."""
    if piece.kind == "step":
        return
    yield f"### {_piece_title(piece, mask)}"
    yield ""
    if piece.is_deleted and piece.text is None and piece.input_json is None:
        yield from ("Deleted in OpenCode.", "")
    if piece.kind in ("tool", "delegation"):
        yield from _call_lines(piece, titles, mask)
    elif piece.kind == "file":
        yield from (f"- {_attachment(each.name, each.mime, each.size_bytes, mask)}" for each in piece.attachments)
        yield ""
    else:
        yield from prose(mask.text(piece.text)) if piece.text else ()
        yield from (f"- {_attachment(each.name, each.mime, each.size_bytes, mask)}" for each in piece.attachments)
        if piece.kind in ("patch", "other", "retry") and piece.input_json:
            yield from fenced(_pretty(piece, mask), "json")
        yield ""
    if piece.is_shortened:
        yield from ("The middle of a text is missing: the index keeps 64 KB of each.", "")


def _call_lines(piece: Piece, titles: Mapping[str, str], mask: _Mask) -> Iterator[str]:
    """Write what went into a call and what came out."""
    if piece.child_session_id:
        title = titles.get(piece.child_session_id)
        named = (
            f"{escaped(mask.text(title))} ({_code(piece.child_session_id)})" if title else _code(piece.child_session_id)
        )
        yield from (f"Delegated to {named}.", "")
    if piece.text:
        yield from (*prose(mask.text(piece.text)), "")
    is_environment = _is_environment(piece)
    diffs = [diff for diff in piece.diffs if diff.text]
    for diff in diffs:
        yield from (
            f"Changes to {_code(mask.text(diff.path))}:",
            "",
            *fenced(mask.text(diff.text, is_environment), "diff"),
            "",
        )
    if piece.input_json and piece.input_json != "{}" and not diffs:
        yield from ("Input:", "", *fenced(_pretty(piece, mask), "json"), "")
    if piece.output:
        yield from ("Output:", "", *fenced(mask.text(piece.output, is_environment), "text"), "")


def _piece_title(piece: Piece, mask: _Mask) -> str:
    """Write the heading of an event."""
    marks = [] if piece.status == "ok" else [piece.status]
    if piece.kind in ("tool", "delegation"):
        named = "Delegation" if piece.kind == "delegation" else f"Tool {_code(piece.name)}"
        # what was found in the arguments is cut, so no mask knows it; they stand below
        title = display.one_line(mask.text(piece.title or "", _is_environment(piece)))
        label = escaped(title if mask.is_masked else piece.label)
        facts = [*marks, *([f"exit {escaped(piece.exit_code)}"] if piece.exit_code else [])]
        facts += [display.duration(piece.duration_ms)] if piece.duration_ms is not None else []
        return f"{named}{': ' if label else ''}{label}{_brackets(facts)}"
    heading = _HEADINGS.get(piece.kind, "Other")
    if piece.kind in ("error", "other", "retry"):
        heading += f": {escaped(mask.text(piece.name))}"
    elif piece.kind == "prompt" and piece.is_synthetic:
        marks.append("not typed by a person")
    return heading + (_brackets(marks) if piece.kind != "error" else "")


def _brackets(facts: Sequence[str]) -> str:
    """Write facts behind a heading."""
    return f" ({', '.join(facts)})" if facts else ""


def _attachment(name: str, mime: str | None, size_bytes: int | None, mask: _Mask) -> str:
    """Write one attached file."""
    facts = [*([escaped(mime)] if mime else []), *([display.size(size_bytes)] if size_bytes is not None else [])]
    return f"{_code(mask.text(name))}{_brackets(facts)}"


def _pretty(piece: Piece, mask: _Mask) -> str:
    """Indent the JSON of a piece; what is none stays as it is."""
    found = mask.values(_arguments(piece.input_json), _is_environment(piece))
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, indent=2)


def _is_environment(piece: Piece) -> bool:
    """Tell whether a call was about an environment file: then all values in it may be secret."""
    return piece.input_json is not None and _ENVIRONMENT_FILE.search(piece.input_json) is not None


def _time(at: datetime | None, tz: str) -> str:
    """Write a time with its zone."""
    return display.MISSING if at is None else f"{at.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)):%Y-%m-%d %H:%M:%S %Z}"


def escaped(text: str) -> str:
    """Put untrusted text on one line of Markdown, as nothing but text."""
    words = " ".join(_CONTROL.sub(" ", text).split())
    return _LINE_START.sub(_backslash, _SPECIAL.sub(r"\\\g<0>", words))


def _backslash(start: re.Match[str]) -> str:
    """Escape the start of a line: a mark, or a number before its point."""
    return f"{start[0][:-1]}\\{start[0][-1]}"


def _code(text: str) -> str:
    """Write a name as code: in more backticks than it has in a row."""
    words = " ".join(_CONTROL.sub(" ", text).split())
    marks = "`" * (_longest(words, "`") + 1)
    edge = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{marks}{edge}{words}{edge}{marks}"


def prose(text: str) -> Iterator[str]:
    """Write untrusted text line by line, escaped; code blocks in it stay code blocks.

    Args:
        text: Perhaps Markdown.

    Yields:
        Lines; those inside a paragraph end in two blanks, so that they stay lines.
    """
    lines = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        end = _fence_end(lines, at, opened[1]) if opened else None
        if opened and end is not None:
            yield from fenced("\n".join(lines[at + 1 : end]), opened[2])
            at = end + 1
            continue
        line = escaped(lines[at])
        indent = len(lines[at]) - len(lines[at].lstrip())
        yield f"{NO_BREAK_SPACE * min(indent, MAX_INDENT)}{line}  " if line else ""
        at += 1


def _fence_end(lines: Sequence[str], start: int, fence: str) -> int | None:
    """Find the line that closes a code block. None if none does."""
    closing = re.compile(rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    return next((at for at in range(start + 1, len(lines)) if closing.match(lines[at])), None)


def fenced(text: str, language: str) -> Iterator[str]:
    """Write a code block that its content cannot end.

    Args:
        text: Any text.
        language: Of the block; plain.

    Yields:
        Its lines.
    """
    clean = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip("\n")
    fence = "`" * max(3, _longest(clean, "`") + 1)
    yield f"{fence}{language}"
    yield from clean.split("\n")
    yield fence


def _longest(text: str, char: str) -> int:
    """Measure the longest run of a character."""
    return max((len(run) for run in re.findall(f"{re.escape(char)}+", text)), default=0)

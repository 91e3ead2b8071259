"""Rows of `session_message` to rows of the index: the third generation has no parts, an answer holds its own.

Checked against the second API of 1.18; what only 2.0 writes is known from its source.
"""

from collections.abc import Sequence

from indexer.documents import MessageDocuments
from indexer.error_rules import UNKNOWN, classify
from indexer.json_values import (
    JsonObject,
    brief,
    clean,
    cut,
    dump,
    dump_body,
    epoch_ms,
    mapping,
    pick,
    text_of,
    time_of,
    usd,
    utf8_size,
    without_data_urls,
)
from indexer.parsers import (
    ERROR_TAIL_CHARACTERS,
    ParsedMessage,
    ParseFailure,
    Tokens,
    content_hash,
    extract_tokens,
    fork_key,
    load_document,
    partial,
    unreadable,
    wrong_ids,
    wrong_message,
)
from indexer.rows import EpochMs, MessageRow, PartBodyRow, PartRow
from indexer.tool_targets import target_of

OPEN_STATES = ("streaming", "pending", "running")
CUT_SHORT = "aborted"  # the type of 2.0; the second API of 1.18 writes `unknown` and "Provider turn interrupted"


def parse_session_message(documents: MessageDocuments, *, is_missing_in_newer: bool) -> ParsedMessage:
    """Read one row of `session_message`.

    Every row is a message, every item of an answer's content a part (id: message id, colon, position). Every row with
    tokens counts, whatever its type: 2.0 stores the usage of a compaction on the compaction's own row.

    Args:
        documents: The row.
        is_missing_in_newer: Always false for the newest generation; kept for one signature with the other parser.

    Returns:
        The rows and every failure.
    """
    if documents.message is None:
        return ParsedMessage(None, (), (), ())
    message = load_document(documents.message)
    if isinstance(message, ParseFailure):
        return ParsedMessage(None, (), (), (message,))
    if not documents.session_id:
        return ParsedMessage(None, (), (), (unreadable(documents.message, "names no session"),))
    content = message.get("content")
    items = [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    is_answer = documents.row_type == "assistant"
    rows = [_item_row(documents, item, position) for position, item in enumerate(items)] if is_answer else []
    bodies = [_item_body(row, item) for row, item in zip(rows, items, strict=False)] if is_answer else []
    row_body = None if is_answer else _row_body(documents, message)
    return ParsedMessage(
        message=_message_row(documents, message, items, is_missing_in_newer),
        parts=tuple(rows),
        bodies=tuple(body for body in (*bodies, row_body) if body is not None),
        failures=partial(documents.message, _wrong_row(documents, message)),
    )


def _wrong_row(documents: MessageDocuments, message: JsonObject) -> list[str]:
    """Name what is wrong with the values of a row."""
    found = wrong_ids(message, ("id", documents.message_id), ("sessionID", documents.session_id))
    if documents.row_type is None or not documents.row_type:
        found.append("its type is missing, taken as unknown")
    content = message.get("content")
    if documents.row_type == "assistant" and not isinstance(content, list):
        found.append("content is missing or no list: an answer without parts")
    elif documents.row_type == "assistant" and isinstance(content, list):
        strange = sum(not isinstance(item, dict) for item in content)
        found += [f"{strange:,} items of content are no objects, left out"] if strange else []
    return [*found, *wrong_message(message)]


def _message_row(
    documents: MessageDocuments, message: JsonObject, items: Sequence[JsonObject], is_missing_in_newer: bool
) -> MessageRow:
    """Build the row of one message."""
    role = documents.row_type or "unknown"
    tokens = extract_tokens(message, is_reasoning_included_by_default=False)
    cost = usd(message.get("cost"))
    finish = text_of(message, "finish")
    is_answer = role == "assistant"
    has_usage = is_answer or not tokens.is_zero or bool(cost)
    is_usage_missing = is_answer and finish is not None and tokens.is_zero
    model, error = mapping(message, "model"), message.get("error")
    return MessageRow(
        message_id=clean(documents.message_id),
        session_id=clean(documents.session_id or ""),
        role=role,
        user_message_id=None,
        seq=documents.seq,
        agent=text_of(message, "agent"),
        provider_id=text_of(model, "providerID"),
        model_id=text_of(model, "id"),
        created_at=time_of(message, "created"),
        completed_at=time_of(message, "completed"),
        finish=finish,
        is_summary=role == "compaction",
        error_name=None if error is None else _error_name(error),
        error_data=None if error is None else dump(error),
        error_category=None if error is None else classify(error),
        has_usage=has_usage,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        reasoning_tokens=tokens.reasoning,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        reasoning_in_output_tokens=tokens.reasoning_in_output,
        total_tokens=tokens.total,
        root_tokens=tokens.root,
        step_count=0,
        is_usage_missing=is_usage_missing,
        is_total_mismatch=tokens.is_mismatch,
        cost_recorded_usd=None if not has_usage or (is_usage_missing and cost == 0) else cost,
        cost_steps_usd=None,
        fork_key=fork_key(message, tokens, Tokens(), role, text_of(model, "providerID"), text_of(model, "id")),
        is_fork_copy=False,
        is_missing_in_newer=is_missing_in_newer,
        source_id=documents.source_id,
        generation=documents.generation,
        recorded_until=_recorded_until(message, items),
        content_hash=content_hash(documents, is_missing_in_newer=is_missing_in_newer),
    )


def _item_row(documents: MessageDocuments, item: JsonObject, position: int) -> PartRow:
    """Build the row of one item of an answer."""
    item_type = text_of(item, "type") or "unknown"
    is_tool = item_type == "tool"
    state = mapping(item, "state")
    status = text_of(state, "status") if is_tool else None
    tool_name = (text_of(item, "name") or "unknown") if is_tool else None
    failure = _tool_error(item, state) if is_tool else None
    output = _output(state) if is_tool else None
    time = mapping(item, "time")
    metadata = {**mapping(state, "structured"), **mapping(state, "metadata")}
    return PartRow(
        part_id=f"{clean(documents.message_id)}:{position}",
        message_id=clean(documents.message_id),
        session_id=clean(documents.session_id or ""),
        position=position,
        part_type=item_type,
        tool_name=tool_name,
        call_id=text_of(item, "id") if is_tool else None,
        tool_status=status,
        title=text_of(state, "title") if is_tool else None,
        started_at=next(
            (at for name in ("ran", "start", "created") if (at := epoch_ms(time.get(name))) is not None), None
        ),
        ended_at=next((at for name in ("completed", "end") if (at := epoch_ms(time.get(name))) is not None), None),
        child_session_id=text_of(metadata, "sessionId") or text_of(metadata, "sessionID"),
        error_data=None if failure is None else dump(failure),
        error_category=None if failure is None else classify(failure, tool_name),
        target=target_of(tool_name, state.get("input")),
        output_bytes=None if output is None else utf8_size(_as_text(output) or ""),
        is_failed=failure is not None,
        is_unfinished=is_tool and _is_open(status),
        is_synthetic=False,
        is_shell_notice=False,
        is_orphan=False,
        input_tokens=None,
        output_tokens=None,
        reasoning_tokens=None,
        cache_read_tokens=None,
        cache_write_tokens=None,
        reasoning_in_output_tokens=None,
        cost_recorded_usd=None,
        size_bytes=len(dump(item)),
    )


def _item_body(row: PartRow, item: JsonObject) -> PartBodyRow:
    """Collect the texts of one item of an answer."""
    state = mapping(item, "state")
    if row.part_type == "tool":
        return _body(row.part_id, row.message_id, row.session_id, None, state.get("input"), _output(state))
    return _body(row.part_id, row.message_id, row.session_id, item.get("text"), is_searched=row.is_searched)


def _row_body(documents: MessageDocuments, message: JsonObject) -> PartBodyRow | None:
    """Collect the texts of a row that is no answer; they are stored under the id of the message."""
    text, given, output = message.get("text"), None, None
    files = _files(message.get("files"))
    if documents.row_type == "compaction":
        text = message.get("summary")
    elif documents.row_type == "shell":
        given, output = pick(message, "command", "exit", "status"), message.get("output")
    elif documents.row_type == "user":
        given = pick(message, "agents", "skills") or None
        if files:
            given = {**(given or {}), "files": files}
    elif text is None:
        given = {name: value for name, value in message.items() if name not in ("time", "metadata", "files")}
        given = {**given, "files": files} if files else given or None
    if text is None and given is None and output is None:
        return None
    message_id, session_id = clean(documents.message_id), clean(documents.session_id or "")
    is_prompt = documents.row_type == "user"
    return _body(message_id, message_id, session_id, text, given, output, is_searched=is_prompt)


def _body(
    part_id: str,
    message_id: str,
    session_id: str | None,
    text: object,
    given: object = None,
    output: object = None,
    *,
    is_searched: bool = False,
) -> PartBodyRow:
    """Cut the texts of a part or row."""
    text_cut, text_bytes = cut(_as_text(text))
    input_cut, input_bytes = cut(None if given is None else dump_body(given))
    output_cut, output_bytes = cut(_as_text(output))
    return PartBodyRow(
        *(part_id, message_id, session_id, text_cut, input_cut, output_cut, text_bytes, input_bytes, output_bytes),
        searched_text=text_cut if is_searched else None,
    )


def _as_text(value: object) -> str | None:
    """Keep a text as it is and write anything else as JSON."""
    return value if value is None or isinstance(value, str) else dump_body(value)


def _files(files: object) -> list[object]:
    """Describe attached files; none if there are none."""
    return [_file(file) for file in files] if isinstance(files, list) else [_file(files)] if files else []


def _file(file: object) -> object:
    """Describe an attached file without its content, of which only the size is kept."""
    if not isinstance(file, dict):
        return None
    described = {name: value for name, value in file.items() if name != "content"}
    if (content := file.get("content")) is not None:
        described["content_bytes"] = utf8_size(content if isinstance(content, str) else dump(content))
    return described


def _output(state: JsonObject) -> object:
    """Read what a tool printed: the texts of its content, else its error."""
    content = state.get("content")
    if isinstance(content, list):
        texts = [text for item in content if isinstance(item, dict) and (text := text_of(item, "text"))]
        if texts:
            return "\n".join(texts)
    error = state.get("error")
    return error.get("message") if isinstance(error, dict) else error


def _tool_error(item: JsonObject, state: JsonObject) -> JsonObject | None:
    """Describe a failed tool call as {status, exit, message}; None if it did not fail.

    The exit code is in `structured` (second API of 1.18) or in `metadata` (2.0). A call that never finished did not
    fail.
    """
    status, error = state.get("status"), state.get("error")
    holder = next((found for name in ("structured", "metadata") if "exit" in (found := mapping(state, name))), {})
    exit_code = holder.get("exit")
    if status == "error":
        message: object = error.get("message") if isinstance(error, dict) else error
    elif item.get("name") == "invalid" and not _is_open(status):
        given = state.get("input")
        message = given.get("error") if isinstance(given, dict) else given
    elif status == "completed" and "exit" in holder and (exit_code is None or exit_code != 0):
        output = _output(state)
        message = output[-ERROR_TAIL_CHARACTERS:] if isinstance(output, str) else output
    else:
        return None
    message = message if isinstance(message, str) else without_data_urls(message)
    return {"status": status, "exit": exit_code, "message": message}


def _is_open(status: object) -> bool:
    """Tell whether a call with this status has not finished."""
    return not isinstance(status, str) or not status or status in OPEN_STATES


def _error_name(error: object) -> str:
    """Name the error of an answer: what the user cut short by the name for that, also where only the text tells."""
    if not isinstance(error, dict):
        return brief(error)
    name = text_of(error, "type") or text_of(error, "name") or UNKNOWN
    return CUT_SHORT if name == UNKNOWN and classify(error) == CUT_SHORT else name


def _recorded_until(message: JsonObject, items: Sequence[JsonObject]) -> EpochMs | None:
    """Find the latest time that a row and its items record."""
    times = [*mapping(message, "time").values(), *(at for item in items for at in mapping(item, "time").values())]
    return max((found for value in times if (found := epoch_ms(value)) is not None), default=None)

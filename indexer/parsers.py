"""Documents to rows: pure and total, errors as values. One parser serves every storage generation with these documents.

Field meanings are those of OpenCode's storage; what each number means is in docs/metrics.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from indexer.documents import Document, Generation, MessageDocuments
from indexer.error_rules import classify
from indexer.json_values import (
    MAX_COST_USD,
    JsonObject,
    bigint,
    brief,
    clean,
    cut,
    dump,
    dump_body,
    epoch_ms,
    fingerprint,
    integer,
    is_data_url,
    mapping,
    pick,
    read_object,
    text_of,
    time_of,
    usd,
    utf8_size,
    without_data_urls,
)
from indexer.rows import EpochMs, MessageRow, PartBodyRow, PartRow, ProjectRow, SessionRow
from indexer.tool_targets import target_of

# To be raised whenever the same document gives another row, or the same rows another exchange or event. The next full
# pass then writes every message, session and project anew from its source; rows whose source is gone stay as they are.
PARSER_VERSION = 6

ERROR_TAIL_CHARACTERS = 2_000  # of a failed command's output, kept as its message

SHELL_NOTICE = "The following tool was executed by the user"  # how OpenCode tells the model of a user's `!` command
MAX_TOKENS = 10**15  # a thousand times the largest context times a year of requests; sums of these still fit BIGINT


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """Why a document gave no row, or a row that lacks values.

    Attributes:
        reason: Half a sentence about the document, without any of its text: it is logged.
        is_partial: There is a row, without the values that the reason names.
    """

    key: str
    document_kind: str
    reason: str
    size_bytes: int | None
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """Usage of one request as recorded, or a sum of such.

    Attributes:
        output: As recorded: some clients count reasoning inside it.
        reasoning_in_output: The share of `reasoning` that `output` contains.
        is_missing: No usage was stored.
        is_mismatch: The recorded total fits neither way of counting reasoning.
    """

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning_in_output: int = 0
    root: int = 0
    is_missing: bool = False
    is_mismatch: bool = False

    @property
    def total(self) -> int:
        """Every token once: reasoning that is inside output is not added again."""
        apart = self.reasoning - self.reasoning_in_output
        return self.input + self.output + apart + self.cache_read + self.cache_write

    @property
    def is_zero(self) -> bool:
        """Tell whether every counter is 0."""
        return not (self.input or self.output or self.reasoning or self.cache_read or self.cache_write)


@dataclass(frozen=True, slots=True)
class ParsedProject:
    """Row of one project, None if it could not be read, and every failure."""

    row: ProjectRow | None
    failures: tuple[ParseFailure, ...]


@dataclass(frozen=True, slots=True)
class ParsedSession:
    """Row of one session, None if it could not be read, and every failure."""

    row: SessionRow | None
    failures: tuple[ParseFailure, ...]


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """Rows of one message. `message` is None for orphan parts and for a message that could not be read."""

    message: MessageRow | None
    parts: tuple[PartRow, ...]
    bodies: tuple[PartBodyRow, ...]
    failures: tuple[ParseFailure, ...]


# --- tokens


def extract_root_tokens(document: object) -> int:
    """Count the root tokens (input + output) that one document records.

    Reads `usage.input_tokens` and `usage.output_tokens`; where one of these is no number, `tokens.input` and
    `tokens.output`, OpenCode's own fields.

    Args:
        document: A message or step-finish document. Anything else has no tokens.

    Returns:
        Tokens. Missing, text, bool, NaN and infinite values count as 0, negative ones as recorded.
    """
    return (_counter(document, "input") or 0) + (_counter(document, "output") or 0)


def _counter(document: object, field: str) -> int | None:
    """Read the input or output tokens of a document, `usage` before `tokens`. None if neither has a number."""
    if not isinstance(document, dict):
        return None
    usage, tokens = document.get("usage"), document.get("tokens")
    found = integer(usage.get(f"{field}_tokens")) if isinstance(usage, dict) else None
    if found is None and isinstance(tokens, dict):
        found = integer(tokens.get(field))
    return found


def extract_tokens(document: JsonObject, *, is_reasoning_included_by_default: bool) -> Tokens:
    """Read every counter of one message or step-finish document.

    Whether `output` contains `reasoning` is decided by arithmetic where a total is recorded; clients differ (1.1
    includes it, 1.18 does not) and migrated rows keep the numbers of the client that wrote them.

    Args:
        document: A message or step-finish document.
        is_reasoning_included_by_default: What to assume without a recorded total, if reasoning is not above output.

    Returns:
        The counters; `is_missing` if there is no usage: no counter at all, or nothing but zeros without a total.
    """
    tokens = mapping(document, "tokens")
    cache = mapping(tokens, "cache")
    found = {
        "input": _counter(document, "input"),
        "output": _counter(document, "output"),
        "reasoning": integer(tokens.get("reasoning")),
        "cache_read": integer(cache.get("read")),
        "cache_write": integer(cache.get("write")),
    }
    total = integer(tokens.get("total"))
    counters = {name: value if value is not None and abs(value) < MAX_TOKENS else 0 for name, value in found.items()}
    reasoning = counters["reasoning"]
    without_reasoning = sum(counters.values()) - reasoning
    is_mismatch = False
    if total is None:
        is_included = is_reasoning_included_by_default and reasoning <= counters["output"]
    else:
        is_included = total == without_reasoning
        is_mismatch = not is_included and total != without_reasoning + reasoning
    # a counter that was left out above must not come back through the sum of two
    is_kept = all(counters[name] == (found[name] or 0) for name in ("input", "output"))
    return Tokens(
        **counters,
        reasoning_in_output=reasoning if is_included else 0,
        root=extract_root_tokens(document) if is_kept else counters["input"] + counters["output"],
        is_missing=total is None and not any(found.values()),
        is_mismatch=is_mismatch,
    )


def sum_tokens(steps: Sequence[Tokens]) -> Tokens:
    """Add the usage of the steps of a message; one missing step marks the sum."""
    return Tokens(
        input=sum(step.input for step in steps),
        output=sum(step.output for step in steps),
        reasoning=sum(step.reasoning for step in steps),
        cache_read=sum(step.cache_read for step in steps),
        cache_write=sum(step.cache_write for step in steps),
        reasoning_in_output=sum(step.reasoning_in_output for step in steps),
        root=sum(step.root for step in steps),
        is_missing=any(step.is_missing for step in steps),
        is_mismatch=any(step.is_mismatch for step in steps),
    )


# --- rows


def parse_project(document: Document, source_id: int, generation: Generation) -> ParsedProject:
    """Read one project document."""
    loaded = load_document(document)
    if isinstance(loaded, ParseFailure):
        return ParsedProject(None, (loaded,))
    doubts = [*wrong_ids(loaded, ("id", document.document_id)), *wrong_times(loaded, "created", "updated")]
    if not isinstance(loaded.get("sandboxes") or [], list):
        doubts.append("its sandboxes are no list, so its other checkouts are not known")
    worktrees, clones = _other_checkouts(loaded)
    row = ProjectRow(
        project_id=clean(document.document_id),
        name=text_of(loaded, "name"),
        worktree=text_of(loaded, "worktree"),
        vcs=text_of(loaded, "vcs"),
        worktrees=worktrees,
        clones=clones,
        created_at=time_of(loaded, "created"),
        updated_at=time_of(loaded, "updated"),
        source_id=source_id,
        generation=generation,
        content_hash=_stamped(fingerprint([document.body or b""], generation)),
    )
    return ParsedProject(row, partial(document, doubts))


def _other_checkouts(project: JsonObject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the git worktrees and the clones beside the folder of a project, each sorted.

    `sandboxes` names worktrees; since 1.18 clones, too. `directories` names every checkout that 1.18 was
    started in, and which of both it is.
    """
    opened = [each for each in _list(project, "directories") if isinstance(each, dict)]
    kinds = {folder: each.get("strategy") for each in opened if (folder := text_of(each, "directory"))}
    sandboxes = [each for each in _list(project, "sandboxes") if isinstance(each, str)]
    others = {*kinds, *sandboxes} - {text_of(project, "worktree")}
    clones = {each for each in others if each in kinds and kinds[each] != "git_worktree"}
    return tuple(sorted(others - clones)), tuple(sorted(clones))


def _list(value: JsonObject, name: str) -> list[object]:
    """Read a list inside an object; empty if it is missing or something else."""
    found = value.get(name)
    return found if isinstance(found, list) else []


def parse_session(
    document: Document, source_id: int, generation: Generation, *, is_missing_in_newer: bool
) -> ParsedSession:
    """Read one session document.

    Args:
        document: The document.
        source_id: The storage it comes from.
        generation: Of that storage.
        is_missing_in_newer: The session exists only here, beside a newer storage that lacks it.

    Returns:
        The row; unknown values are None.
    """
    loaded = load_document(document)
    if isinstance(loaded, ParseFailure):
        return ParsedSession(None, (loaded,))
    doubts = [
        *wrong_ids(loaded, ("id", document.document_id)),
        *missing(loaded, ("time", "created")),
        *wrong_times(loaded, "created", "updated", "archived"),
    ]
    summary, tokens = mapping(loaded, "summary"), mapping(loaded, "tokens")
    cache = mapping(tokens, "cache")
    folder = () if document.project_id is None else (document.project_id,)
    row = SessionRow(
        session_id=clean(document.document_id),
        # the folder, not the field: older releases moved session files between projects without rewriting them
        project_id=clean(document.project_id) if document.project_id else text_of(loaded, "projectID"),
        parent_id=text_of(loaded, "parentID"),
        fork_session_id=text_of(loaded, "forkSessionID"),
        title=text_of(loaded, "title"),
        slug=text_of(loaded, "slug"),
        directory=text_of(loaded, "directory"),
        client_version=text_of(loaded, "version"),
        created_at=time_of(loaded, "created"),
        updated_at=time_of(loaded, "updated"),
        archived_at=time_of(loaded, "archived"),
        additions=bigint(summary.get("additions")),
        deletions=bigint(summary.get("deletions")),
        files_changed=bigint(summary.get("files")),
        stored_cost_usd=usd(loaded.get("cost")),
        stored_input_tokens=bigint(tokens.get("input")),
        stored_output_tokens=bigint(tokens.get("output")),
        stored_reasoning_tokens=bigint(tokens.get("reasoning")),
        stored_cache_read_tokens=bigint(cache.get("read")),
        stored_cache_write_tokens=bigint(cache.get("write")),
        is_placeholder=False,
        is_missing_in_newer=is_missing_in_newer,
        source_id=source_id,
        generation=generation,
        # of a file also its folder, which is not in the content; a row has its project there
        content_hash=_stamped(fingerprint([document.body or b""], generation, is_missing_in_newer, *folder)),
    )
    return ParsedSession(row, partial(document, doubts))


def parse_message(documents: MessageDocuments, *, is_missing_in_newer: bool) -> ParsedMessage:
    """Read one message with its parts.

    Tokens are the sum of the step-finish parts where these record any (`message.tokens` holds only the last step),
    else the message's own. A cost that is not recorded is None, never 0.

    Args:
        documents: The message and its parts.
        is_missing_in_newer: The message exists only here, beside a newer storage that lacks it.

    Returns:
        The rows and every failure. Parts whose message is missing or unreadable are orphans.
    """
    failures: list[ParseFailure] = []
    message: JsonObject | None = None
    if documents.message is not None:
        loaded = load_document(documents.message)
        if isinstance(loaded, ParseFailure):
            failures.append(loaded)
        else:
            message = loaded
    parts: list[tuple[Document, JsonObject]] = []
    for document in documents.parts:
        part = load_document(document)
        if isinstance(part, ParseFailure):
            failures.append(part)
        else:
            parts.append((document, part))

    is_included = documents.generation == Generation.JSON_TREE or documents.is_restamped
    session_id = _session_of(documents, message, parts)
    is_orphan = message is None or session_id is None
    message_id = clean(documents.message_id)
    part_rows: list[PartRow] = []
    bodies: list[PartBodyRow] = []
    steps: list[tuple[Tokens, Decimal | None]] = []
    for position, (document, part) in enumerate(parts):
        step = None
        if part.get("type") == "step-finish":
            tokens = extract_tokens(part, is_reasoning_included_by_default=is_included)
            step = (tokens, usd(part.get("cost")))
            steps.append(step)
        part_row = _part_row(document, part, message_id, session_id, position, step, is_orphan=is_orphan)
        part_rows.append(part_row)
        doubts = _wrong_part(part, part_row)
        if doubts:
            failures.extend(partial(document, doubts))
        body = _part_body(part_row, part)
        if body is not None:
            bodies.append(body)
    row = None
    if message is not None and documents.message is not None and session_id is None:
        failures.append(unreadable(documents.message, "names no session"))
    if message is not None and documents.message is not None and session_id is not None:
        ids = wrong_ids(message, ("id", message_id), ("sessionID", session_id))
        role = () if text_of(message, "role") else ("role is missing or no text, taken as unknown",)
        failures.extend(partial(documents.message, [*ids, *role, *wrong_message(message)]))
        row = _message_row(
            documents, message, session_id, steps, [part for _, part in parts], is_included, is_missing_in_newer
        )
    return ParsedMessage(row, tuple(part_rows), tuple(bodies), tuple(failures))


def content_hash(documents: MessageDocuments, *, is_missing_in_newer: bool) -> int:
    """Fingerprint a message with its parts, so that unchanged ones cost a read and no write.

    Returns:
        64 bits, signed. Anything that changes a row changes it, a newer parser too.
    """
    bodies = [documents.message.body or b"" if documents.message else b""]
    for part in documents.parts:
        bodies += (part.document_id.encode("utf-8", "replace"), part.body or b"")
    digest = fingerprint(
        bodies,
        documents.generation,
        is_missing_in_newer,
        documents.is_restamped,
        documents.session_id,
        documents.row_type,
        documents.seq,
    )
    return _stamped(digest)


def _stamped(digest: int) -> int:
    """Put the parser's version into the lowest byte of a fingerprint.

    So of two copies with the same content, the one that a newer parser read comes first wherever fingerprints decide.
    """
    return digest & ~0xFF | PARSER_VERSION


def _message_row(
    documents: MessageDocuments,
    message: JsonObject,
    session_id: str,
    steps: Sequence[tuple[Tokens, Decimal | None]],
    parts: Sequence[JsonObject],
    is_included: bool,
    is_missing_in_newer: bool,
) -> MessageRow:
    """Build the row of a readable message from its document and its parts."""
    own = extract_tokens(message, is_reasoning_included_by_default=is_included)
    role = text_of(message, "role") or "unknown"
    step_tokens = [tokens for tokens, _ in steps]
    # step-finish parts without any counter tell nothing: then the message's own numbers are all there is
    is_from_steps = any(not tokens.is_missing for tokens in step_tokens) or (bool(steps) and own.is_zero)
    tokens = sum_tokens(step_tokens) if is_from_steps else own
    cost, cost_steps = usd(message.get("cost")), _step_cost(steps)
    # the client writes the end of a step first: killed before it wrote the message, only the step has its cost
    if cost is None or (cost == 0 and cost_steps is not None and cost_steps > 0):
        cost = cost_steps
    has_usage = role == "assistant" or not own.is_zero or not tokens.is_zero or (role != "user" and bool(cost))
    is_usage_missing = has_usage and (tokens.is_missing if is_from_steps else _lacks_usage(message, own, role))
    if is_usage_missing and cost == 0:
        cost = None  # the client priced tokens it never saw: unknown, not free
    error = message.get("error")
    model = mapping(message, "model")
    created_at, completed_at = time_of(message, "created"), time_of(message, "completed")
    additions, deletions, files_changed = _changed_lines(message)
    return MessageRow(
        message_id=clean(documents.message_id),
        session_id=session_id,
        role=role,
        user_message_id=text_of(message, "parentID"),
        seq=None,
        agent=text_of(message, "agent") or text_of(message, "mode"),
        provider_id=text_of(message, "providerID") or text_of(model, "providerID"),
        model_id=text_of(message, "modelID") or text_of(model, "modelID"),
        created_at=created_at,
        completed_at=completed_at,
        finish=text_of(message, "finish"),
        is_summary=message.get("summary") is True,
        error_name=_error_name(error),
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
        step_count=len(steps) if is_from_steps else 0,
        is_usage_missing=is_usage_missing,
        is_total_mismatch=has_usage and tokens.is_mismatch,
        cost_recorded_usd=cost if has_usage else None,
        cost_steps_usd=cost_steps,
        fork_key=fork_key(message, own, tokens, role, text_of(message, "providerID"), text_of(message, "modelID")),
        is_fork_copy=False,
        is_missing_in_newer=is_missing_in_newer,
        source_id=documents.source_id,
        generation=documents.generation,
        recorded_until=_recorded_until(message, parts),
        additions=additions,
        deletions=deletions,
        files_changed=files_changed,
        content_hash=content_hash(documents, is_missing_in_newer=is_missing_in_newer),
    )


def _changed_lines(message: JsonObject) -> tuple[int | None, int | None, int | None]:
    """Return the lines added and removed while a prompt was answered, and the number of files.

    OpenCode compares the folder before and after, and notes every file at the user message. None: it noted nothing, or
    not how many lines.
    """
    summary = mapping(message, "summary")
    if not isinstance(summary.get("diffs"), list):
        return None, None, None
    files = [each for each in _list(summary, "diffs") if isinstance(each, dict)]
    return _known_sum(files, "additions"), _known_sum(files, "deletions"), len(files)


def _known_sum(files: Sequence[JsonObject], name: str) -> int | None:
    """Add up a number of every file; None if one lacks it."""
    counts = [bigint(file.get(name)) for file in files]
    known = [count for count in counts if count is not None]
    return bigint(sum(known)) if len(known) == len(counts) else None


def _part_row(
    document: Document,
    part: JsonObject,
    message_id: str,
    session_id: str | None,
    position: int,
    step: tuple[Tokens, Decimal | None] | None,
    *,
    is_orphan: bool,
) -> PartRow:
    """Build the row of one readable part."""
    part_type = text_of(part, "type") or "unknown"
    state = mapping(part, "state")
    is_tool = part_type == "tool"
    status = text_of(state, "status") if is_tool else None
    timed = state if is_tool else part
    tool_name = text_of(part, "tool") if is_tool else None
    failure = _tool_error(part, state) if is_tool else None
    output = _tool_output(state) if is_tool else None
    tokens, cost = step or (None, None)
    return PartRow(
        part_id=clean(document.document_id),
        message_id=message_id,
        session_id=session_id,
        position=position,
        part_type=part_type,
        tool_name=tool_name,
        call_id=text_of(part, "callID") if is_tool else None,
        tool_status=status,
        title=_part_title(part, state, part_type),
        started_at=time_of(timed, "start"),
        ended_at=time_of(timed, "end"),
        child_session_id=text_of(mapping(state, "metadata"), "sessionId") if is_tool else None,
        error_data=None if failure is None else dump(failure),
        error_category=None if failure is None else classify(failure, tool_name),
        target=target_of(tool_name, state.get("input")) if is_tool else None,
        output_bytes=None if output is None else utf8_size(output),
        is_failed=failure is not None,
        is_unfinished=is_tool and status not in ("completed", "error"),
        is_synthetic=part.get("synthetic") is True,
        is_shell_notice=part.get("synthetic") is True and (text_of(part, "text") or "").startswith(SHELL_NOTICE),
        is_orphan=is_orphan,
        input_tokens=tokens.input if tokens else None,
        output_tokens=tokens.output if tokens else None,
        reasoning_tokens=tokens.reasoning if tokens else None,
        cache_read_tokens=tokens.cache_read if tokens else None,
        cache_write_tokens=tokens.cache_write if tokens else None,
        reasoning_in_output_tokens=tokens.reasoning_in_output if tokens else None,
        cost_recorded_usd=cost,
        size_bytes=len(document.body or b""),
    )


def _part_body(row: PartRow, part: JsonObject) -> PartBodyRow | None:
    """Collect the texts of a part; None if it has none. Attached data is never stored, only its type and size."""
    state = mapping(part, "state")
    text: object = None
    given: object = None
    output: str | None = None
    match row.part_type:
        case "text" | "reasoning":
            text = part.get("text")
        case "tool":
            given, output = state.get("input"), _tool_output(state)
        case "subtask":
            text, given = part.get("prompt"), pick(part, "agent", "description", "command", "model")
        case "file":
            given = _attachment(part)
        case "step-start" | "step-finish" | "snapshot":
            return None
        case _:
            given = {
                name: value for name, value in part.items() if name not in ("id", "sessionID", "messageID", "type")
            }
    text_cut, text_bytes = cut(text if isinstance(text, str) else None if text is None else dump_body(text))
    input_cut, input_bytes = cut(None if given is None else dump_body(given))
    output_cut, output_bytes = cut(output)
    return PartBodyRow(
        part_id=row.part_id,
        message_id=row.message_id,
        session_id=row.session_id,
        text=text_cut,
        input=input_cut,
        output=output_cut,
        text_bytes=text_bytes,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        searched_text=text_cut if row.is_searched else None,
    )


def _tool_output(state: JsonObject) -> str | None:
    """Read what a tool printed, else its error, as text. None if neither is recorded."""
    output = state.get("output", state.get("error"))
    return output if output is None or isinstance(output, str) else dump_body(output)


# --- rules on values


def _session_of(
    documents: MessageDocuments, message: JsonObject | None, parts: Sequence[tuple[Document, JsonObject]]
) -> str | None:
    """Name the session of a message: where it is stored, else what it or its parts say."""
    if documents.session_id:
        return clean(documents.session_id)
    candidates = [message or {}, *(part for _, part in parts)]
    return next((found for candidate in candidates if (found := text_of(candidate, "sessionID"))), None)


def _lacks_usage(message: JsonObject, own: Tokens, role: str) -> bool:
    """Tell whether a message without step parts says nothing about its usage.

    An answer that a model finished used tokens: zeros mean that the provider sent no usage. What asked no model, a
    user's shell command or the wrapper of a subtask, has no `finish` or "tool-calls" there: its zeros are true.
    """
    if not isinstance(message.get("tokens"), dict) and not isinstance(message.get("usage"), dict):
        return True
    is_finished = text_of(message, "finish") not in (None, "tool-calls")
    return role == "assistant" and own.is_missing and is_finished and not usd(message.get("cost"))


def _step_cost(steps: Sequence[tuple[Tokens, Decimal | None]]) -> Decimal | None:
    """Add the costs of the steps; None if there is no step or one does not record its cost, or the sum does not fit."""
    costs = [cost for _, cost in steps if cost is not None]
    if not steps or len(costs) < len(steps):
        return None
    total = sum(costs, Decimal(0))
    return total if abs(total) < MAX_COST_USD else None


def fork_key(
    message: JsonObject, own: Tokens, tokens: Tokens, role: str, provider_id: object, model_id: object
) -> int | None:
    """Fingerprint what a fork copies unchanged: times, model, tokens, cost.

    Forks copy messages under new ids without a link to the origin (all clients before 2.0).

    Args:
        message: The message document.
        own: What the message itself records.
        tokens: What counts for it, from its steps where it has any.
        role: Of the message.
        provider_id: Of the model that answered.
        model_id: The model that answered.

    Returns:
        64 bits; None if nothing was used or no time is known, so that nothing can be told to be a copy.
    """
    cost = usd(message.get("cost"))
    created = time_of(message, "created")
    if role == "user" or created is None or (own.is_zero and tokens.is_zero and not cost):
        return None
    identity = [created, time_of(message, "completed"), provider_id, model_id, str(cost)]
    identity += [own.input, own.output, own.reasoning, own.cache_read, own.cache_write]
    return fingerprint([dump(identity).encode()])


def _recorded_until(message: JsonObject, parts: Iterable[JsonObject]) -> EpochMs | None:
    """Find the latest time that a message and its parts record. File times never count: copies reset them."""
    times = list(mapping(message, "time").values())
    for part in parts:
        times += mapping(part, "time").values()
        times += mapping(mapping(part, "state"), "time").values()
    return max((found for value in times if (found := epoch_ms(value)) is not None), default=None)


def _tool_error(part: JsonObject, state: JsonObject) -> JsonObject | None:
    """Describe a failed tool call as {status, exit, message}; None if it did not fail.

    Failed: status error, the tool `invalid`, or a completed call whose `metadata.exit` is there and not 0 (null after a
    time limit, a signal or an abort). Without `exit` it did not fail: a user's own shell command has none. A call that
    never finished did not fail either.
    """
    status, metadata = state.get("status"), mapping(state, "metadata")
    exit_code = metadata.get("exit")
    is_bad_exit = status == "completed" and "exit" in metadata and (exit_code is None or exit_code != 0)
    if status == "error":
        message = state.get("error")
    elif part.get("tool") == "invalid" and status == "completed":
        message = mapping(state, "input").get("error")
    elif is_bad_exit:
        output = state.get("output")
        message = output[-ERROR_TAIL_CHARACTERS:] if isinstance(output, str) else output
    else:
        return None
    message = message if isinstance(message, str) else without_data_urls(message)
    return {"status": status, "exit": exit_code, "message": message}


def _error_name(error: object) -> str | None:
    """Name a message error; an error that is no object is named after its own text."""
    if error is None:
        return None
    if isinstance(error, dict):
        return text_of(error, "name") or text_of(error, "type") or "unknown"
    return brief(error)


def _part_title(part: JsonObject, state: JsonObject, part_type: str) -> str | None:
    """Name a part in one line where OpenCode does."""
    match part_type:
        case "tool":
            return text_of(state, "title")
        case "file":
            name = text_of(part, "filename")
            return None if name is None or is_data_url(name) else name
        case "agent":
            return text_of(part, "name")
        case "subtask":
            return text_of(part, "description")
        case _:
            return None


def _attachment(part: JsonObject) -> dict[str, object]:
    """Describe an attached file; a `data:` address is its content and is left out, but for its size."""
    described: dict[str, object] = {**pick(part, "mime", "filename")}
    url = part.get("url")
    if isinstance(url, str) and url.lstrip()[:5].lower() != "data:":
        described["url"] = url
    elif isinstance(url, str):
        described["data_url_bytes"] = utf8_size(url)
    if path := text_of(mapping(part, "source"), "path"):
        described["path"] = path
    return described


# --- what is wrong with a document


def wrong_ids(loaded: JsonObject, *expected: tuple[str, str | None]) -> list[str]:
    """Name the ids that a document states otherwise than its path or row does, which count.

    Args:
        loaded: What the document holds; an id that it lacks is not wrong.
        expected: Field and id.
    """
    return [
        f"its {name} is not that of its place, which counts"
        for name, value in expected
        if (found := loaded.get(name)) is not None and found != value and value is not None
    ]


def missing(loaded: JsonObject, *needed: tuple[str, str]) -> list[str]:
    """Name the fields that every document of its kind has, and this one has not."""
    return [f"{holder}.{name} is missing" for holder, name in needed if mapping(loaded, holder).get(name) is None]


def wrong_times(loaded: JsonObject, *names: str) -> list[str]:
    """Name the times of a document that no column can hold."""
    times = loaded.get("time")
    if times is not None and not isinstance(times, dict):
        return ["time is no object, left empty"]
    return [
        f"time.{name} is no plausible time, left empty"
        for name in names
        if (value := mapping(loaded, "time").get(name)) is not None and epoch_ms(value) is None
    ]


def wrong_usage(loaded: JsonObject) -> list[str]:
    """Name the counters and costs of a message or step that no column can hold, or that are no numbers."""
    found = []
    for holder, names in (("tokens", ("input", "output", "reasoning")), ("usage", ("input_tokens", "output_tokens"))):
        values = loaded.get(holder)
        if values is not None and not isinstance(values, dict):
            found.append(f"{holder} is no object, counted as 0")
        found += _wrong_counters(mapping(loaded, holder), holder, *names)
    found += _wrong_counters(mapping(mapping(loaded, "tokens"), "cache"), "tokens.cache", "read", "write")
    cost = loaded.get("cost")
    if cost is not None and usd(cost) is None:
        found.append("cost is no amount below 1,000,000 USD, taken as not recorded")
    return found


def _wrong_counters(values: JsonObject, holder: str, *names: str) -> list[str]:
    """Name the counters of an object that are no numbers, or out of range."""
    found = []
    for name in names:
        value = values.get(name)
        if value is None:
            continue
        number = integer(value)
        if number is None:
            found.append(f"{holder}.{name} is no number, counted as 0")
        elif abs(number) >= MAX_TOKENS:
            found.append(f"{holder}.{name} is out of range (10^15 or more), counted as 0")
    return found


def wrong_message(message: JsonObject) -> list[str]:
    """Name what is wrong with the values of a message."""
    return [
        *missing(message, ("time", "created")),
        *wrong_times(message, "created", "completed"),
        *wrong_usage(message),
    ]


def _wrong_part(part: JsonObject, row: PartRow) -> list[str]:
    """Name what is wrong with a part. Called for every part, so it looks no closer than it has to."""
    found: list[str] = []
    if (
        part.get("id", row.part_id) != row.part_id
        or part.get("messageID", row.message_id) != row.message_id
        or part.get("sessionID", row.session_id) != row.session_id
    ):
        found += wrong_ids(part, ("id", row.part_id), ("messageID", row.message_id), ("sessionID", row.session_id))
    if row.part_type == "unknown" and text_of(part, "type") is None:
        found.append("type is missing or no text, taken as unknown")
    if row.part_type == "tool":
        if row.tool_name is None:
            found.append("tool is missing or no text")
        if row.tool_status is None:
            found.append("state.status is missing or no text, taken as unfinished")
        if row.started_at is None or row.ended_at is None:
            found += wrong_times(mapping(part, "state"), "start", "end")
    elif (row.started_at is None or row.ended_at is None) and "time" in part:
        found += wrong_times(part, "start", "end")
    if row.input_tokens is not None:
        found += wrong_usage(part)
    return found


def partial(document: Document, doubts: Sequence[str]) -> tuple[ParseFailure, ...]:
    """Make the failure of a document whose row lacks values; none without doubts."""
    if not doubts:
        return ()
    size = None if document.body is None else len(document.body)
    return (ParseFailure(document.key, document.kind, "; ".join(doubts), size, is_partial=True),)


def unreadable(document: Document, reason: str) -> ParseFailure:
    """Make the failure of a document without a row."""
    return ParseFailure(document.key, document.kind, reason, None if document.body is None else len(document.body))


def load_document(document: Document) -> JsonObject | ParseFailure:
    """Read the JSON object of a document.

    Args:
        document: The document.

    Returns:
        The object, or why there is none.
    """
    if document.body is None:
        return unreadable(document, document.problem)
    loaded = read_object(document.body)
    return unreadable(document, loaded) if isinstance(loaded, str) else loaded

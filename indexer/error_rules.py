"""What caused an error: one of 18 categories, by rules over what was recorded of it. Pure and total.

The strongest evidence decides, in this order (docs/errors.md has the table):

1. How a shell command ended. It failed, whatever it printed, unless the client notes a time limit or an abort.
2. The name of the error, where it names a cause.
3. Codes that a provider gives beside its sentence (`insufficient_quota`).
4. Words that name a cause which a status code hides: too long a prompt and a blocked one both come as 400.
5. The status code.
6. Words of the message, from causes that are sure to those that are likely.

Addresses are taken out of a text before it is looked at: no rule reads a host, a port or a path of one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import orjson

TIMEOUT, AUTH, NETWORK, RATE_LIMIT = "timeout", "auth", "network", "rate_limit"
CONTEXT_OVERFLOW, OUTPUT_LENGTH, ABORTED = "context_overflow", "output_length", "aborted"
SERVER_ERROR, INVALID_REQUEST, CONTENT_FILTER = "server_error", "invalid_request", "content_filter"
FILE_NOT_FOUND, PERMISSION, EDIT_MISMATCH = "file_not_found", "permission", "edit_mismatch"
COMMAND_FAILED, PARSE, TOOL_UNAVAILABLE = "command_failed", "parse", "tool_unavailable"
RESOURCE, UNKNOWN = "resource", "unknown"
CATEGORIES = (
    *(TIMEOUT, AUTH, NETWORK, RATE_LIMIT, CONTEXT_OVERFLOW, OUTPUT_LENGTH, ABORTED, SERVER_ERROR, INVALID_REQUEST),
    *(CONTENT_FILTER, FILE_NOT_FOUND, PERMISSION, EDIT_MISMATCH, COMMAND_FAILED, PARSE, TOOL_UNAVAILABLE, RESOURCE),
    UNKNOWN,
)

Rules = Sequence[tuple[str, re.Pattern[str]]]

# Of a text: causes are named at its beginning, notes of the client stand at its end.
_HEAD_CHARACTERS, _TAIL_CHARACTERS = 2_000, 1_000
_BODY_CHARACTERS = 20_000  # of a provider's answer; a longer one is a page, not an error
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def classify(error_data: object, tool_name: str | None = None) -> str:
    """Say what caused an error.

    Args:
        error_data: As the index stores it. Of a failed tool call `{status, exit, message}`; of a message the client's
            error object, `{name, data}` or since 2.0 `{type, message, status}`; or a text.
        tool_name: The tool, if a tool call failed.

    Returns:
        One of `CATEGORIES`. Never raises, whatever is in the value.
    """
    if tool_name is not None or (isinstance(error_data, Mapping) and "exit" in error_data):
        return _of_call(error_data, tool_name or "")
    return _of_answer(error_data)


# --- tool calls


def _of_call(error: object, tool: str) -> str:
    """Say why a tool call failed."""
    fields = error if isinstance(error, Mapping) else {"message": error}
    text = _text(fields.get("message"))
    if fields.get("status") == "completed" and tool != "invalid":
        note = _NOTE.search(text)
        return _first(_NOTES, note[0] if note else "") or COMMAND_FAILED
    failed_child = _SUBAGENT.match(text)
    if failed_child:
        return _by_words(text[failed_child.end() :], None)
    if tool in _FETCHES and _ABORT_ERROR.search(text):
        return TIMEOUT  # a user's abort is worded otherwise; this is how the time limit of a fetch ends it
    status = _STATUS_IN_TEXT.search(text)
    by_words = _first(_CALL_WORDS, text)
    if by_words is None and status:
        by_words = _of_fetched_status(int(status[1]))
    return by_words or _by_words(text, None)


def _of_fetched_status(status: int) -> str | None:
    """Say what the status of a fetched page means: for the tool, a page is what a file is."""
    if status in (404, 410):
        return FILE_NOT_FOUND
    return PERMISSION if status == 403 else _of_status(status)


# --- answers


def _of_answer(error: object) -> str:
    """Say why an answer ended in an error."""
    if not isinstance(error, Mapping):
        return _by_words(_text(error), None)
    data = error.get("data")
    fields: Mapping[object, object] = data if isinstance(data, Mapping) else error
    name = " ".join(value for value in (error.get("name"), error.get("type")) if isinstance(value, str))
    text = _text(fields.get("message"))
    body = _body(fields.get("responseBody"))
    named = _first(_NAMES, name[:200])
    if named:
        return named
    coded = _first(_CODES, " ".join(_codes(body)))
    if coded:
        return coded
    status = next((found for key in ("statusCode", "status") if (found := _status(fields.get(key)))), None)
    return _by_words(text, status, _sentence(body))


def _by_words(text: str, status: int | None, more: str = "") -> str:
    """Classify by message and status code.

    Args:
        text: What is said.
        status: Of the answer of a server. None: there was none, unless the text names one.
        more: What the server said itself; only asked where the message says nothing.
    """
    if status is None and (found := _STATUS_IN_TEXT.search(text)):
        status = int(found[1])
    if status in (402, 429):  # made for this cause alone, whatever is said of tokens
        return RATE_LIMIT
    for words in (text, more):
        hidden = _first(_HIDDEN_CAUSES, words)
        # what is refused to the one who asks may be said of a model that does not exist, too
        if hidden and not (hidden == AUTH and status in (404, 405, 422)):
            return hidden
    by_status = _of_status(status) if status is not None else None
    if by_status == SERVER_ERROR and _first(_TIMEOUTS, text):
        return TIMEOUT
    return by_status or _first(_WORDS, text) or _first(_WORDS, more) or UNKNOWN


def _of_status(status: int) -> str | None:
    """Say what a status code of HTTP means. None for one that names no error."""
    if status in _STATUSES:
        return _STATUSES[status]
    if 500 <= status < 600:
        return SERVER_ERROR
    return INVALID_REQUEST if 400 <= status < 500 else None


_STATUSES = {
    401: AUTH,
    403: AUTH,
    407: AUTH,
    408: TIMEOUT,
    413: CONTEXT_OVERFLOW,
    425: RATE_LIMIT,
    451: AUTH,  # not available in the country of who asks
    499: ABORTED,
    504: TIMEOUT,
    522: TIMEOUT,
    524: TIMEOUT,
    529: SERVER_ERROR,
}


# --- evidence


def _text(value: object) -> str:
    """Return head and tail of what is said, without addresses."""
    if isinstance(value, Mapping):
        value = next((found for name in ("message", "error") if isinstance(found := value.get(name), str)), "")
    if not isinstance(value, str):
        return ""
    if len(value) > _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        value = f"{value[:_HEAD_CHARACTERS]} {value[-_TAIL_CHARACTERS:]}"
    return _ADDRESS.sub(" ", value)


def _status(value: object) -> int | None:
    """Read a status code."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if 100 <= number < 600 else None


def _body(value: object) -> object:
    """Read what a server answered, where it is JSON."""
    if not isinstance(value, str) or len(value) > _BODY_CHARACTERS:
        return value if isinstance(value, Mapping) else None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _codes(body: object) -> Iterable[str]:
    """List the words by which a server names an error: type, code and status of its answer and of the error in it."""
    for level in _levels(body):
        for name in ("type", "code", "status", "__type", "reason"):
            value = level.get(name)
            if isinstance(value, str):
                yield value[:100]


def _sentence(body: object) -> str:
    """Return what a server said in words."""
    return _text(next((found for level in _levels(body) if isinstance(found := level.get("message"), str)), ""))


def _levels(body: object) -> Iterable[Mapping[str, object]]:
    """Take a server's answer apart: the answer, and the error inside it."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping):
        yield body
        inner = body.get("error")
        if isinstance(inner, Mapping):
            yield inner
        elif isinstance(inner, str):
            yield {"message": inner}


def _first(rules: Rules, text: str) -> str | None:
    """Return the category of the first rule that finds its cause in a text."""
    return next((category for category, pattern in rules if pattern.search(text)), None)


def _rules(*rules: tuple[str, str]) -> Rules:
    """Compile rules; the case of letters tells nothing."""
    return tuple((category, re.compile(pattern, re.IGNORECASE)) for category, pattern in rules)


# The client's note behind the output of a command.
_NOTE = re.compile(r"(?:<\w+_metadata>.*|User aborted the command\W*)\Z", re.DOTALL)
_NOTES = _rules((TIMEOUT, r"timeout|timed out|time limit"), (ABORTED, r"abort|cancel|interrupt"))
_SUBAGENT = re.compile(r"(?:Error: )?Subagent failed(?: \([^)]*\))?:? ?")
_FETCHES = ("webfetch", "websearch", "codesearch", "fetch")
_ABORT_ERROR = re.compile(r"AbortError|operation was aborted", re.IGNORECASE)
# "failed with status code: 404", "non 2xx status code (503 …", "HTTP 404", "status=500", "returned 502"
_STATUS_IN_TEXT = re.compile(
    r"(?:\bstatus(?: ?code)?(?: of)?|\bhttp(?:/[\d.]+)?(?: error| status)*|\bresponded with|"
    r"\breturned)[\s:=(]{1,3}([45]\d\d)\b",
    re.IGNORECASE,
)

# Names of the client's errors, and of the runtime's: they name the cause.
_NAMES = _rules(
    (ABORTED, r"\baborted|MessageAborted|AbortError|cancelled|interrupted"),
    (AUTH, r"AuthError|\bauth\b|authentication|unauthorized|LoadAPIKey"),
    (CONTEXT_OVERFLOW, r"ContextOverflow|context.?(?:length|window|overflow)"),
    (OUTPUT_LENGTH, r"OutputLength|output.?length|max.?(?:output.?)?tokens"),
    (CONTENT_FILTER, r"ContentFilter|content.?(?:filter|policy)|safety|refusal"),
    (PARSE, r"StructuredOutput|JSONParse|parse.?error|SyntaxError"),
    (RATE_LIMIT, r"rate.?limit|quota|too.?many.?requests|throttl"),
    (TIMEOUT, r"timeout|timed.?out"),
    (SERVER_ERROR, r"overloaded|server.?error|service.?unavailable"),
    (NETWORK, r"network|connection|transport"),
)

# What providers call it beside their sentence.
_CODES = _rules(
    (CONTEXT_OVERFLOW, r"context_length_exceeded|context_window|request_too_large|string_above_max_length"),
    (CONTENT_FILTER, r"content_filter|content_policy|ResponsibleAIPolicy|safety|moderation|PROHIBITED_CONTENT"),
    (RATE_LIMIT, r"insufficient_quota|rate_limit|RESOURCE_EXHAUSTED|throttl|too_many_requests|quota|billing|credits"),
    (AUTH, r"invalid_api_key|authentication|unauthor|UNAUTHENTICATED|PERMISSION_DENIED|permission_error|AccessDenied"),
    (AUTH, r"ExpiredToken|UnrecognizedClient|InvalidSignature|API_KEY_INVALID|unsupported_country"),
    (TIMEOUT, r"timeout|DEADLINE_EXCEEDED"),
    (SERVER_ERROR, r"overloaded|server_error|api_error|internal|UNAVAILABLE|ModelNotReady"),
)

# What a status code of 400, 403 or 500 may hide.
_HIDDEN_CAUSES = _rules(
    (
        CONTEXT_OVERFLOW,
        r"context (?:length|window|size|limit)|maximum context|available context|prompt (?:is )?too long|"
        r"input (?:is )?too long|input length|too many (?:input )?tokens (?:in|for)|reduce the length|"
        r"(?:token count|tokens?|prompt|input)\b[^.]{0,80}\bexceed(?:s|ed)?\b[^.]{0,40}\b(?:maximum|limit|context|"
        r"allowed)(?!.{0,30}per)|"
        r"exceed(?:s|ed)? the (?:model'?s? )?(?:maximum|max|limit)[^.]{0,40}(?:tokens|prompt|input|context|size)|"
        r"request (?:entity|body|is)? ?too large|payload too large|maximum (?:allowed )?(?:prompt|input) ",
    ),
    (
        CONTENT_FILTER,
        r"content[- ](?:filter|management|policy)|content policy|safety (?:system|filter|settings|policy|reasons)|"
        r"responsible ai|flagged (?:as|by|for)|moderation|usage polic(?:y|ies)|"
        r"(?:blocked|filtered|rejected|refused)\b[^.]{0,60}\b(?:polic(?:y|ies)|safety|filter|prohibited|harmful|"
        r"unsafe)|"
        r"prohibited content|violat(?:es?|ing|ion)\b[^.]{0,40}\bpolic",
    ),
    (
        RATE_LIMIT,
        r"rate[- ]?limit|too many requests|quota|insufficient (?:credit|balance|fund)|credit balance|out of credits|"
        r"\bcredits\b[^.]{0,40}(?:exhaust|run out|used up|required|too low)|billing|usage limit|spend(?:ing)? limit|"
        r"(?:requests?|tokens) per (?:min|day|hour|second)|per[- ]minute|throttl|too many tokens, please wait|"
        r"payment required|plan'?s? limit|limit (?:will )?resets? ",
    ),
    (
        AUTH,
        r"api[- _]?key|(?:invalid|incorrect|expired|missing|malformed|revoked)\b[^.]{0,20}\b(?:key|token|credential)|"
        r"token (?:refresh|has expired|is expired|has been revoked|expired)|refresh token|credentials?\b|"
        r"unauthori[sz]ed|authenticat|not logged in|log ?in again|sign in|"
        r"(?:country|region|territory|location)\b[^.]{0,40}\bnot (?:supported|available|allowed)|"
        r"not available in your (?:country|region)|organization (?:has been )?(?:disabled|restricted)|"
        r"account (?:is |has been )?(?:disabled|suspended|deactivated|not active)",
    ),
)

_TIMEOUTS = _rules(
    (TIMEOUT, r"time[ds]?[- ]?out|E(?:SOCKET)?TIMEDOUT|deadline exceeded|DEADLINE_EXCEEDED|time limit|took too long"),
)

_NETWORKS = _rules(
    (
        NETWORK,
        r"ECONN(?:REFUSED|RESET|ABORTED)|ENOTFOUND|EAI_AGAIN|EAI_FAIL|EPIPE|E(?:HOST|NET)(?:UNREACH|DOWN)|getaddrinfo|"
        r"socket (?:hang up|connection|closed|error)|other side closed|premature close|stream (?:closed|"
        r"ended) (?:early|prematurely)|"
        r"fetch failed|failed to fetch|network (?:error|is unreachable|connection|request failed)|"
        r"(?:cannot|can't|could not|couldn't|unable to|failed to) (?:connect|resolve|reach|establish)|"
        r"connection (?:was |has been )?(?:refused|reset|closed|error|lost|terminated|aborted|dropped|failed)|"
        r"dns\b|name (?:or service not known|resolution)|certificate|self[- ]signed|\b(?:tls|ssl)\b|CERT_|"
        r"transport error|no route to host|internet connection|UND_ERR|proxy (?:error|connection)|ERR_(?:NETWORK|"
        r"INTERNET|CONNECTION)",
    ),
)

_PARSES = _rules(
    (
        PARSE,
        r"json ?pars|JSON Parse error|parsing failed|pars(?:e|ing|er) (?:error|failed|failure)|failed to parse|"
        r"(?:cannot|could not|couldn't|unable to) (?:be )?pars|SyntaxError|unexpected (?:token|end of|eof|character|"
        r"identifier)|"
        r"not (?:valid|well[- ]formed) (?:json|xml|yaml|regex)|invalid (?:json|regex|regular expression|pattern|"
        r"patch|glob|xml|yaml)|"
        r"malformed|type ?validation ?(?:error|failed)|unterminated|invalid patch format|no (?:valid )?hunks|"
        r"missing begin/end|"
        r"structured output|did not match (?:the )?schema",
    ),
)

_ABORTS = _rules(
    (
        ABORTED,
        r"dismissed this question|(?:tool )?execution (?:was )?aborted|task (?:was )?cancell?ed|"
        r"(?:aborted|cancell?ed|interrupted|stopped|dismissed) by (?:the )?user|"
        r"user (?:has )?(?:aborted|cancell?ed|interrupted|dismissed|stopped)|"
        r"^(?:Error: )?(?:AbortError: )?(?:the )?(?:operation|request|task) was (?:aborted|cancell?ed)|"
        r"^(?:Error: )?(?:aborted|cancell?ed)\W*$",
    ),
)

_RESOURCES = _rules(
    (
        RESOURCE,
        r"ENOSPC|no space left|disk (?:is )?full|quota exceeded on|EDQUOT|out of memory|ENOMEM|"
        r"cannot allocate memory|heap (?:limit|out)|"
        r"EMFILE|ENFILE|too many open files|file (?:is )?too large|EFBIG|response (?:is )?too large|"
        r"(?:exceeds?|over) (?:the )?(?:\w+ )?(?:size limit|maximum (?:file )?size)|too large \((?:exceeds|max)|"
        r"maximum file size|stack overflow|"
        r"maximum call stack",
    ),
)

# What tools say, from the surest to the likeliest.
_CALL_WORDS: Rules = (
    *_rules(
        (
            PERMISSION,
            r"a rule which prevents|(?:rejected|denied|refused) (?:the )?permission|permission (?:was )?(?:rejected|"
            r"denied|refused)|"
            r"EACCES|EPERM|EROFS|operation not permitted|access (?:is )?denied|read-only file ?system|"
            r"PermissionDenied|not allowed to",
        ),
        (
            TOOL_UNAVAILABLE,
            r"unavailable tool|(?:no such|unknown|unsupported) (?:tool|agent|skill|command|subagent|method)|"
            r"not a valid agent|"
            r"(?:tool|agent|skill|subagent|mcp server|method|server) \S{0,80} ?(?:is |was )?(?:not found|"
            r"does not exist|not available)|"
            r"method not found|-32601|(?:mcp|server) (?:server )?(?:is )?not connected|mcp error -32000",
        ),
        (
            INVALID_REQUEST,
            r"called with invalid arguments|invalid arguments? |invalid_type|-32602|invalid input for tool(?!.*pars)",
        ),
    ),
    *_ABORTS,
    *_rules(
        (
            EDIT_MISMATCH,
            r"oldString|old_string|no changes to apply|modified since|has changed since|"
            r"must (?:be )?read (?:the )?file\b.*before|"
            r"read (?:the |it )?(?:file )?(?:first|before)|(?:failed|unable|could not|couldn't) (?:to )?(?:find|"
            r"locate|match) "
            r"(?:the )?(?:expected|context|hunk|lines|text|string|match)|(?:multiple|several|"
            r"more than one) (?:matches|occurrences)|"
            r"not (?:be )?unique|found \d+ (?:times|matches|occurrences)|hunk\b.{0,40}(?:failed|not (?:found|apply|"
            r"match))|patch does not apply|"
            r"(?:string|text|content|context) (?:to (?:be )?replaced? )?(?:was |is )?not found in",
        ),
        (
            FILE_NOT_FOUND,
            r"ENOENT|ENOTDIR|EISDIR|no such file|(?:file|path|directory|folder)\b[^.\n]{0,200}?(?:not found|"
            r"does not exist|doesn't exist)|"
            r"(?:file|path|directory|folder) not found|not a (?:directory|file)\b|is a directory|(?:NotFound|"
            r"BadResource): FileSystem|"
            r"failed to read file|cannot find (?:the )?(?:file|path|directory)|page not found",
        ),
    ),
    *_RESOURCES,
    *_PARSES,
    *_rules(
        (
            INVALID_REQUEST,
            r"binary file|must (?:start|begin|be|have|contain|match)\b|(?:is |are )?required\b|unsupported|"
            r"not supported|"
            r"invalid (?:url|argument|parameter|input|value|type|option|request|format|offset|range)|out of range|"
            r"(?:expected|missing) (?:a |an |the )?(?:\w+ )?(?:string|number|array|object|key|parameter|argument|"
            r"property|field)",
        ),
    ),
    *_TIMEOUTS,
    *_NETWORKS,
    *_rules(
        (
            TOOL_UNAVAILABLE,
            r"\b(?:is|are) (?:currently |temporarily )?(?:down|offline|unavailable|not (?:available|running|"
            r"responding|installed|configured))\b|"
            r"not (?:configured|installed|enabled)\b",
        ),
    ),
)

# What providers and runtimes say where there is no status code.
_WORDS: Rules = (
    *_ABORTS,
    *_TIMEOUTS,
    *_PARSES,
    *_NETWORKS,
    *_RESOURCES,
    *_rules(
        (
            SERVER_ERROR,
            r"overloaded|internal (?:server )?error|server (?:had an )?error|server_error|"
            r"service (?:is )?(?:temporarily )?unavailable|"
            r"bad gateway|upstream|temporarily unavailable|at capacity|high demand|try again later|api_error",
        ),
        (
            OUTPUT_LENGTH,
            r"(?:output|response|completion)\b[^.]{0,40}\b(?:length|limit|truncated|cut off)|"
            r"max(?:imum)?[_ ](?:output[_ ])?tokens",
        ),
        (PERMISSION, r"EACCES|EPERM|permission denied|operation not permitted|access denied"),
        (FILE_NOT_FOUND, r"ENOENT|ENOTDIR|EISDIR|no such file"),
        (
            INVALID_REQUEST,
            r"invalid[_ ](?:request|schema|parameter|argument|value)|unsupported (?:parameter|value|model)|bad request|"
            r"model\b[^.]{0,60}(?:not found|does not exist|not supported)|no (?:such|matching) model|unknown model|"
            r"must be (?:a|an|non-empty)|is not supported",
        ),
        (NETWORK, r"\b(?:socket|network|connection)\b"),
    ),
)

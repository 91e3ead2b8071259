"""What caused an error: one of 18 categories, told from what is stored of it.

Evidence, strongest first; the first that says something decides:

1. The typed name of OpenCode's own message errors (`ContextOverflowError`): its author named the cause.
2. How a command ended. A command that ran is `command_failed`, whatever it printed: its output may quote any other
   error. Only the tool's own note after the output says otherwise: it names a time limit or the user.
3. The status code of the provider. 400, 403 and 5xx are used for several causes, so some phrases may narrow them
   (`_NARROWING`); 401, 402, 404, 408, 413, 429 and 504 stand for themselves. The codes of a page that a tool fetched
   mean other things (`_STATUS_OF_TOOL`).
4. Words of the text, in the order of `_TOOL_RULES` or `_PROVIDER_RULES`: rules that need the whole sentence of a known
   speaker come before errno names, those before status codes in the text, and those before single words. "Permission
   denied" is `permission` from a tool, which acts on files, and `auth` from a provider, which asks who is calling.

Text is compared as plain lower-case words: `RateLimitError`, `rate_limit_error` and "Rate limit error" are one. URLs,
paths, host and file names are cut out first, because they name a place, never a cause; response headers are not read.
What no rule knows is `unknown`. docs/errors.md describes the categories and says what cannot be told.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

Category = Literal[
    "timeout",
    "auth",
    "network",
    "rate_limit",
    "context_overflow",
    "output_length",
    "aborted",
    "server_error",
    "invalid_request",
    "content_filter",
    "file_not_found",
    "permission",
    "edit_mismatch",
    "command_failed",
    "parse",
    "tool_unavailable",
    "resource",
    "unknown",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
UNKNOWN: Category = "unknown"

_HEAD_CHARACTERS = 1_500  # speakers name the cause first; what follows quotes inputs, pages and stacks
_TAIL_CHARACTERS = 500  # runtimes put it last
_JSON_CHARACTERS = 65_536
_MAX_DEPTH = 5
_MAX_ITEMS = 8
_MAX_PIECES = 24

# --- names and codes

_TYPED_NAMES: Mapping[str, Category] = {
    "MessageAbortedError": "aborted",
    "MessageOutputLengthError": "output_length",
    "ContextOverflowError": "context_overflow",
    "ContentFilterError": "content_filter",
    "StructuredOutputError": "parse",
    "ProviderAuthError": "auth",
    "ProviderModelNotFoundError": "invalid_request",
}
# OpenCode 2.0 writes `provider.rate-limit`. The general ones may still be narrowed by what the text says.
_GENERAL_CATEGORIES = frozenset({"unknown", "invalid_request", "server_error", "permission", "command_failed"})
# They say that something failed, not what: as words they would look like Anthropic's `api_error`.
_EMPTY_NAMES = frozenset({"APIError", "UnknownError", "Error", "unknown", "error", "api"})

_STATUS_OF_PROVIDER: Mapping[int, Category] = {
    **dict.fromkeys((400, 404, 405, 406, 409, 410, 411, 412, 414, 415, 416, 421, 422, 428, 431), "invalid_request"),
    **dict.fromkeys((401, 403, 407, 451, 511), "auth"),
    **dict.fromkeys((402, 429), "rate_limit"),
    **dict.fromkeys((408, 504, 522, 524, 598), "timeout"),  # 52x: a gateway's words for the server behind it
    413: "context_overflow",
    **dict.fromkeys((424, 500, 501, 502, 503, 505, 507, 508, 520, 521, 523, 525, 526, 527, 529, 530), "server_error"),
    499: "aborted",  # the caller hung up
}
_STATUS_OF_TOOL: Mapping[int, Category] = {
    **_STATUS_OF_PROVIDER,
    **dict.fromkeys((403, 451), "permission"),
    **dict.fromkeys((404, 410), "file_not_found"),
    413: "resource",
}

_ERRNO: Mapping[str, Category] = {
    **dict.fromkeys(("enoent", "enotdir", "eisdir", "eloop", "enxio", "enodev"), "file_not_found"),
    **dict.fromkeys(("eacces", "eperm", "erofs"), "permission"),
    **dict.fromkeys(("enospc", "edquot", "emfile", "enfile", "enomem", "efbig", "eagain", "enobufs"), "resource"),
    **dict.fromkeys(("ebusy", "etxtbsy"), "resource"),
    **dict.fromkeys(("eexist", "einval", "enametoolong", "enotempty", "exdev"), "invalid_request"),
    **dict.fromkeys(("etimedout", "esockettimedout", "etime"), "timeout"),
    **dict.fromkeys(("econnrefused", "econnreset", "econnaborted", "epipe", "enotconn", "eproto"), "network"),
    **dict.fromkeys(("enotfound", "eai", "enonet", "ehostunreach", "ehostdown", "enetunreach", "enetdown"), "network"),
    **dict.fromkeys(("eaddrinuse", "eaddrnotavail", "enetreset"), "network"),
}

# --- words

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+")
# A place names no cause. `FileSystem.open` is an operation, not a file. Quantifiers are bounded: texts may be hostile.
_PLACE = re.compile(
    r"""\b[a-z][a-z\d+.-]{0,15}://[^\s"'<>`)\]]*          # URL
      | \b[A-Za-z]:\\[^\s"'<>`]*                          # path of Windows
      | (?<![\w<:])[\w.@~-]{0,80}(?:/[\w.@~+-]{1,80}){2,}/?  # path
      | (?<!\w)[\w@-]{1,80}/[\w@-]{1,80}\.[a-z\d]{1,8}\b  # one folder and a file
      | (?<!\w)\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?           # address
      | (?<![\w.])(?!FileSystem\b)[\w-]{1,80}(?:\.[\w-]{1,80}){0,5}\.[a-z\d]{1,5}\b(?::\d+)?  # file or host
    """,
    re.VERBOSE,
)
_GAP = ".{0,80}?"
_KEY_CHARACTERS = 4


class _Text(NamedTuple):
    """A text made comparable.

    Attributes:
        words: Lower-case words, a space around each.
        keys: First characters of each word: which phrases may be in it at all.
    """

    words: str
    keys: frozenset[str]


class _Phrase(NamedTuple):
    """A phrase of a rule; it begins a word.

    Attributes:
        rank: Which rule it belongs to; the lowest decides.
        category: Category of that rule.
        start: Its words, up to the first gap.
        gapped: The whole of it if there is a gap.
    """

    rank: int
    category: Category
    start: str
    gapped: re.Pattern[str] | None

    def is_in(self, words: str) -> bool:
        """Tell whether it is in a text."""
        return self.start in words and (self.gapped is None or self.gapped.search(words) is not None)


class _Rules:
    """Rules in the order in which they decide, each a category and phrases that tell it.

    Phrases stand between bars, written as people write them. A phrase begins a word and may end within one; `$` ends
    the word, too, and `a … b` allows other words between.
    """

    def __init__(self, *rules: tuple[Category, str]) -> None:
        """Take the rules as they are written: reading them took 30 ms of every start, and most see no error."""
        self._rules = rules

    @functools.cached_property
    def _phrases(self) -> Mapping[str, Sequence[_Phrase]]:
        """The phrases by their first characters: a text is compared with a few of the hundreds."""
        found: dict[str, list[_Phrase]] = {}
        for rank, (category, phrases) in enumerate(self._rules):
            for phrase in phrases.split("|"):
                end = " " if phrase.rstrip().endswith("$") else ""
                parts = [_plain(part).words.rstrip() for part in phrase.split("…")]
                parts[-1] += end
                gapped = re.compile(_GAP.join(map(re.escape, parts))) if len(parts) > 1 else None
                key = _key(parts[0].split()[0])
                found.setdefault(key, []).append(_Phrase(rank, category, parts[0], gapped))
        return found

    def decide(self, text: _Text) -> Category:
        """Return the category of the first rule that fits; "unknown" if none does."""
        best: _Phrase | None = None
        for key in text.keys & self._phrases.keys():
            for phrase in self._phrases[key]:
                if (best is None or phrase.rank < best.rank) and phrase.is_in(text.words):
                    best = phrase
        return UNKNOWN if best is None else best.category


def _key(word: str) -> str:
    """Return the characters by which phrases are found."""
    return word[:_KEY_CHARACTERS]


def _plain(text: str) -> _Text:
    """Reduce a text to its words; places are left out."""
    if len(text) > _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        text = f"{text[:_HEAD_CHARACTERS]} {text[-_TAIL_CHARACTERS:]}"
    kept = [_PLACE.sub(" ", token) if _may_be_place(token) else token for token in text.split()]
    words = " ".join(_WORD.findall(" ".join(kept))).lower()
    return _Text(f" {words} ", frozenset(map(_key, words.split())))


def _may_be_place(token: str) -> bool:
    """Tell cheaply whether a token may hold a path, a host or the name of a file."""
    return "/" in token or "\\" in token or "." in token[:-1]


# The user; undici, Bun and browsers: "The/This operation was aborted."
_ABORTED = """
    tool execution aborted | operation was aborted | operation aborted | request was aborted | request aborted |
    signal is aborted | abort error | abort err$ | user abort | message aborted | aborted by | user aborted |
    user cancel | user interrupt | task cancelled | task canceled | cancelled by | canceled by | interrupted by |
    was cancelled | was canceled | request cancelled | request canceled | operation cancelled | operation canceled |
    context canceled | context cancelled | execution cancelled | execution interrupted | dismissed this question |
    user dismissed | dismissed by | question rejected | keyboard interrupt | user stopped | stopped by the user |
    task was aborted | call was aborted | session was aborted | call cancelled | call canceled | question dismissed |
    was dismissed | provider turn interrupted | subagent cancelled
"""
_ABORTED_ALONE = frozenset({"aborted", "cancelled", "canceled", "interrupted", "aborterror", "abort"})

# A timer of the program, which says "aborted", too.
_TIMER = """
    aborted due to timeout | aborted due to a timeout | aborted because of a timeout | timeout error
"""

# OpenAI, Anthropic, Google, AWS, GitHub Copilot, gateways; "user not found" is OpenRouter's of a deleted key
_AUTH = """
    api key not valid | api key is missing | api key is required | api key expired | api key has expired |
    api key is invalid | api key invalid | api key not found | api key is not set | no api key | no auth |
    missing … api key | invalid … api key | incorrect api key | incorrect … api key | api key … provided |
    api key … disabled | api key … revoked | load api key error | no … credentials | user not found | unauthorized |
    unauthorised | unauthenticated | not authorized | not authorised | only authorized | not authenticated |
    authentication | authorization failed | authorization header | provider auth | auth error | auth failed |
    token expired | token has expired | token is expired | token is invalid | token was revoked |
    token has been revoked | expired token | invalid token | invalid bearer token | invalid access token |
    invalid grant | refresh token | token refresh failed | security token | session has expired | session expired |
    bad credentials | invalid credentials | could not load credentials | could not load the default credentials |
    unable to locate credentials | credentials provider | credential … not | missing credentials | login required |
    please log in | please login | sign in again | re authenticate | unrecognized client | signature … not match |
    not supported in your | location is not supported | country region or territory | unsupported country |
    project disabled | project … disabled | project … suspended | organization … disabled | account … disabled |
    account … suspended | account … deactivated | account … not active | has not been used in project |
    api … is disabled | not available in your | key header is required | auth login | provide an api key |
    provide your api key | log in again
"""
# Providers use these for who asks, tools for what may be touched.
_FORBIDDEN = """
    forbidden | permission denied | permission error | access denied | access is denied | not have permission |
    insufficient permission | lacks permission | not have access | not allowed to | no access to | not permitted |
    operation not permitted
"""
_MODEL_MISSING = """
    model not found | unknown model | no such model | invalid model | model … does not exist | model … not found |
    model … not supported | no endpoints found | is not a valid model | deployment … does not exist |
    not found error | resource not found | unknown provider
"""

_CONTENT_FILTER = """
    content filter | content policy | content management policy | content moderation | content safety |
    content exists risk | content was blocked | content blocked | safety system | safety filter | safety setting |
    safety reason | safety polic | safety guideline | blocked … safety | blocked … policy | reason safety |
    prohibited content | inappropriate content | harmful content | sensitive content | data inspection failed |
    flagged | moderation | usage polic | usage guideline | violat … polic | violat … terms | responsible ai |
    block reason | blocklist |
    recitation | guardrail | response was blocked | prompt was blocked | prompt … blocked | response … filtered
"""

# Anthropic, OpenAI, Google, Bedrock, xAI, Groq, Mistral, Moonshot, Copilot, Qwen, llama.cpp, LM Studio, vLLM
_CONTEXT_OVERFLOW = """
    context length | context window | context limit | context size | context overflow | context the overflows |
    maximum context | exceed … context | prompt is too long | prompt too long | prompt … too long |
    input is too long | input too long | input length … exceed | input length should be | input … too large for |
    prompt … too large for | too many input tokens | too many tokens in | token count … exceed |
    token limit exceeded | exceed … token limit | exceed … maximum number of tokens |
    exceed … maximum allowed … tokens | input tokens exceed | prompt tokens exceed | maximum prompt length |
    max prompt tokens | maximum input length | maximum input tokens | maximum number of input tokens |
    reduce the length | reduce your prompt | shorten … prompt | request too large | request is too large |
    request entity too large | request body too large | request exceeds the maximum | request size exceed |
    request payload size exceed | payload too large | content too large | tokens in request more than |
    more than max tokens | tokens limit exceeded | number of tokens … exceed | number of input tokens |
    inputs tokens | prompt exceeds | prompt too large | prompt is too large | input exceeds
"""

# A time unit makes a limit on tokens one of rate; what is used up needs payment or patience.
_RATE_LIMIT = """
    rate limit | ratelimit | too many requests | too many concurrent | too many tokens … wait | too many tokens per |
    per minute | per min$ | per day | requests per | tpm$ | rpm$ | throttl | slow down | concurrency limit |
    resource exhausted | resource has been exhausted | exceed … quota | quota … exceed | quota … exhaust |
    quota … reached | insufficient quota | out of quota | no quota | insufficient credit | insufficient balance |
    insufficient fund | insufficient … credit | insufficient … balance | not enough credit | out of credit |
    more credits | credits … exhausted | credit balance | can only afford | payment required | billing error |
    billing limit | billing hard limit | billing details | budget … exceed | exceed … budget | usage limit |
    plan limit | request limit | requests limit | message limit | usage exceeded | usage cap | extra usage |
    spending limit | spend limit | spending cap | monthly limit | weekly limit | daily limit | hourly limit |
    key limit exceeded | reached your … limit | exceeded your … limit | hit your … limit | upgrade your plan |
    upgrade to … plan | exceeded your … usage | no credits | any credits | no remaining | too quickly |
    quota … used up |
    credit limit | limit used up
"""

_OUTPUT_LENGTH = """
    output length | output token limit | output token maximum | output limit | max output tokens … reached |
    maximum output tokens … reached | reached … max tokens | reached … max output | reached … maximum output |
    reached … maximum length | exceed … output token | finish reason length | finish reason max tokens |
    stop reason max tokens | incomplete … max output tokens | response … truncated | response … cut off |
    output … truncated | output … cut off | max tokens … reached | max tokens limit | stopped … max tokens |
    incomplete … length | length limit | response was cut | maximum number of output tokens |
    max output tokens exceeded | output tokens exceeded | hit the maximum length | max length reached |
    output exceeds
"""

_TIMEOUT = """
    timed out | time out | timeout | time limit | deadline | took too long | taking too long | exceeded … time$ |
    no response within | did not respond within | not respond in time | no response received | stalled | no data for
"""

# Node, undici, Bun, OpenSSL, curl, Go, Python, the SDKs of providers
_NETWORK = """
    cannot connect | can t connect | could not connect | couldn t connect | unable to connect | failed to connect |
    connection refused | connection reset | connection closed | connection was closed | connection was reset |
    connection was forcibly | connection error | connection failed | connection lost | connection terminated |
    connection aborted | connection dropped | connection interrupted | connection ended | connection … closed |
    network connection | network error | network failure | network is unreachable | network is down |
    network request failed | network socket | fetch failed | failed to fetch | load failed | failed to open socket |
    transport error | request error … connect | error sending request | error reading response | socket |
    other side closed | premature close | remote end closed | remote disconnected | server disconnected |
    peer closed | by peer | broken pipe | stream closed | stream disconnected | stream … reset | http 2 stream |
    http 2 error | goaway | incomplete chunked read | getaddrinfo | could not resolve | couldn t resolve |
    unable to resolve host | name resolution | name or service not known | no such host | nodename nor servname |
    dns$ | no route to host | host is unreachable | host unreachable | proxy connect | tunnel | certificate |
    self signed | unable to verify | ssl$ | tls$ | econn | type error terminated | typo in the url | offline$ |
    internet | remote hung up | closed the connection | hung up | lost connection | connection … lost |
    connection was lost | zlib error
"""

_SERVER_ERROR = """
    overloaded | internal server error | internal error | internal exception | internal failure | server error |
    server had an error | server encountered | server is busy | server busy | server failed | type api error |
    service unavailable | service is unavailable | service temporarily | service is currently |
    temporarily unavailable | currently unavailable | unavailable$ | bad gateway | upstream | over capacity |
    at capacity | no capacity | out of capacity | insufficient capacity | capacity constraints | high demand |
    high load | heavy load | provider returned error | provider returned an error | error occurred while processing |
    error processing your request | error while generating | unable to process your request | went wrong on our end |
    experiencing | stream error | stream exception | model error exception | model not ready | model is not ready |
    model is loading | loading model | no healthy | runner process | unexpectedly stopped | unexpected server |
    maintenance | backend error | empty response body | try again later | retry your request | no available channel |
    model has crashed | model crashed | worker crashed | no output generated
"""

_RESOURCE = """
    out of memory | heap limit | memory limit | memory allocation | cannot allocate memory | can t allocate |
    failed to allocate | array buffer allocation failed | more system memory | not enough memory |
    insufficient memory | no space left | not enough space | disk full | disk is full | disk quota |
    too many open files | too many processes | file descriptors | resource temporarily unavailable | resource busy |
    database is locked |
    argument list too long | max buffer | invalid string length | response too large | response is too large |
    response exceeds | response size | file too large | file is too large | content is too large | output too large |
    image too large | exceed … size limit | exceed … maximum size | exceed … max size | exceed … mb$ |
    exceed … maximum allowed | too large … limit | too large … max | too big | maximum call stack | exceeds limit of |
    exceeds the limit of
"""

_PARSE_SPOKEN = """
    json pars | not valid json | invalid json | malformed json | unexpected token | unexpected identifier |
    unexpected end of json | regex parse error | invalid regular expression | no object generated |
    type validation failed | type validation error | invalid response data | structured output
"""
_PARSE = """
    parse error | parse failed | parsing error | parsing failed | failed to parse | could not parse | couldn t parse |
    cannot parse | can t parse | unable to parse | error parsing | error decoding | decode error | failed to decode |
    failed to deserialize | malformed … json | malformed patch | malformed function call | malformed response |
    unexpected character | unexpected non whitespace | unexpected end | unexpected eof | expecting value |
    unterminated | unclosed | unbalanced parenthes | unmatched | syntax error | invalid syntax | invalid patch |
    invalid hunk | empty patch | corrupt patch | patch format | no hunks | missing begin | missing end |
    invalid pattern | invalid glob | invalid regex | invalid utf 8 | valid utf 8 | look around | not match … schema |
    yaml exception | bad control character | invalid escape | bad escape | nothing to repeat | repetition operator |
    in json at position | invalid character | begin patch | invalid utf8
"""

# --- tools only

# The rule's own text quotes the configuration, the refusal quotes the user: both may contain any words.
_REFUSED = """
    rule which prevents | user rejected permission | user rejected | user denied | user declined | user refused |
    user has blocked | user blocked | rejected by the user | denied by the user | declined by the user |
    permission rejected | permission denied error | denied by … rule | denied by … config | subagent denied |
    blocked by … rule |
    blocked by … config | depth limit
"""
_PERMISSION = """
    read only file | outside … workspace | outside … project | outside … working directory | outside … allowed |
    outside … directory | outside … worktree | not in the current working directory | not in the allowed |
    external directory | permission | denied by | disabled by … policy | not allowed in | not allowed by |
    is not allowed | is restricted | blocked by | plan mode | read only mode
"""
_EDIT_MISMATCH = """
    could not find old string | old string not found | old string … not found | old string and new string |
    old string … identical | old string … multiple | multiple matches | matches for old string |
    multiple occurrences | more than one match |
    matches of the string | occurrences of old string | string to replace | text to replace | text to be replaced |
    search block | search string | no match found for | no changes to apply | no changes to make | no changes made |
    failed to find expected lines | failed to find context | expected lines | context not found |
    patch does not apply | patch failed | hunk … failed | modified since | changed since | changed on disk |
    must read | not been read | has not been read yet | read it first | before overwriting | match … unique |
    not unique | does not match … content | not found in content | not found in … file | new string and old string |
    appears … times | could not find exact | no exact match | could not apply | failed to apply | ambiguous match |
    old string must | old string cannot be empty | could not find the specified | text was not found |
    content has changed | match for old string | identical to old string | identical to new string
"""
_TOOL_UNAVAILABLE = """
    unavailable tool | no such tool | unknown tool | tool … not found | tool … not available | tool … does not exist |
    tool … unavailable | tool … disabled | tool … not registered | skill … not found | unknown skill | no such skill |
    agent … not found | unknown agent | unknown subagent | no such agent | not a valid agent | agent type … not |
    cannot run as a subagent |
    command … not found | executable not found | not installed | method not found | mcp error 32601 |
    mcp server … not | server … not connected | server … not running | server … disconnected |
    client … not connected | mcp … not connected | mcp … unavailable | mcp … failed to start | not connected$ |
    no lsp server | no language server
"""
# From a tool that is not OpenCode's own: the service behind it does not answer.
_SERVICE_DOWN = """
    connection closed | connection refused | econnrefused | cannot connect | could not connect | failed to connect |
    unable to connect | unavailable | unreachable | not reachable | is down | service down | server down |
    backend down | currently down | offline$ | out of service | maintenance | bad gateway | status code 502 |
    status code 503 | http 502 | http 503 | mcp error 32000 connection | transport closed | server exited |
    process exited | not running | fetch failed | failed to fetch | cannot be reached | could not be reached |
    not initialized
"""
_BAD_ARGUMENTS = """
    invalid arguments | invalid argument | invalid parameters | invalid params | mcp error 32602 | schema error |
    input validation
"""
_INVALID_REQUEST = """
    bad request | invalid request | invalid input | invalid type | invalid value | invalid prompt | invalid argument |
    invalid url | invalid timeout | invalid option | invalid enum | invalid offset | invalid line | invalid … schema |
    invalid … format | invalid name | validation | unprocessable | unsupported | not supported | not implemented |
    does not support | failed precondition | missing key | missing required | missing parameter | missing field |
    is required | required parameter | required propert | are required | unknown parameter | unrecognized |
    additional properties | extra inputs | must start with | must be | must have | must not | must contain |
    cannot be empty | non empty | should be | model … not available | expected … received | expected … got |
    expected … but | out of range |
    beyond end of file | out of bounds | binary file | cannot read … image | already exists | not a valid |
    not valid | malformed | type error … argument
"""
_FILE_MISSING = """
    no such file | no such directory | file not found | files not found | directory not found | folder not found |
    path not found | not found file system | bad resource file system | file … not found | file … does not exist |
    file … doesn t exist | path … does not exist | directory … does not exist | not a directory | is a directory |
    is a folder | not a file | not a regular file | failed to read file to | failed to read … delet |
    cannot find the file | cannot find the path | could not find file | system cannot find | os error 2$
"""
_MISSING = """
    does not exist | doesn t exist | not found | could not be found | cannot find | could not find | mcp error 32002 |
    no longer exists
"""

_SPOKEN_BY_TOOLS = _Rules(
    ("permission", _REFUSED),
    ("parse", _PARSE_SPOKEN),
    ("tool_unavailable", _TOOL_UNAVAILABLE),
    ("invalid_request", _BAD_ARGUMENTS),
    ("edit_mismatch", _EDIT_MISMATCH),
    ("timeout", _TIMER),
    ("aborted", _ABORTED),
)
_TOOL_RULES = _Rules(
    ("file_not_found", _FILE_MISSING),
    ("parse", _PARSE),
    ("invalid_request", "invalid timeout | must be | must start with"),
    ("timeout", _TIMEOUT),
    ("rate_limit", _RATE_LIMIT),
    ("auth", _AUTH),
    ("resource", _RESOURCE),
    ("permission", _FORBIDDEN),
    ("permission", _PERMISSION),
    ("network", _NETWORK),
    ("invalid_request", _INVALID_REQUEST),
    ("file_not_found", _MISSING),
    ("server_error", _SERVER_ERROR),
    ("content_filter", _CONTENT_FILTER),
    ("context_overflow", _CONTEXT_OVERFLOW),
    ("output_length", _OUTPUT_LENGTH),
)
_FOREIGN_TOOL_RULES = _Rules(("tool_unavailable", _SERVICE_DOWN))
_SPOKEN_BY_PROVIDERS = _Rules(
    ("parse", _PARSE_SPOKEN),
    ("timeout", _TIMER),
    ("aborted", _ABORTED),
)
_PROVIDER_RULES = _Rules(
    ("content_filter", _CONTENT_FILTER),
    ("rate_limit", _RATE_LIMIT),
    ("context_overflow", _CONTEXT_OVERFLOW),
    ("output_length", _OUTPUT_LENGTH),
    ("invalid_request", _MODEL_MISSING),
    ("auth", _AUTH),
    ("timeout", _TIMEOUT),
    ("resource", _RESOURCE),
    ("parse", _PARSE),
    ("network", _NETWORK),
    ("network", "terminated$"),  # undici's only word for a body that ended early
    ("server_error", _SERVER_ERROR),
    ("auth", _FORBIDDEN),
    ("invalid_request", _INVALID_REQUEST),
)
# Which causes providers report under a code that stands for another one.
_OF_BAD_REQUEST = _Rules(
    ("content_filter", _CONTENT_FILTER),
    ("rate_limit", _RATE_LIMIT),
    ("context_overflow", _CONTEXT_OVERFLOW),
    ("auth", _AUTH),
)
_OF_SERVER = _Rules(
    ("rate_limit", _RATE_LIMIT),
    ("context_overflow", _CONTEXT_OVERFLOW),
    ("resource", _RESOURCE),
    ("timeout", _TIMEOUT),
)
_NARROWING: Mapping[int, _Rules] = {
    400: _OF_BAD_REQUEST,
    422: _OF_BAD_REQUEST,
    403: _Rules(("content_filter", _CONTENT_FILTER), ("rate_limit", _RATE_LIMIT)),
    **dict.fromkeys((500, 502, 503), _OF_SERVER),
}

# --- speakers

_OWN_TOOLS = frozenset(
    (
        *("apply_patch", "bash", "batch", "codesearch", "edit", "glob", "grep", "invalid", "list", "ls", "lsp"),
        *("multiedit", "patch", "plan_enter", "plan_exit", "question", "read", "shell", "skill", "StructuredOutput"),
        *("subagent", "task", "todoread", "todowrite", "webfetch", "websearch", "write"),
    )
)
# What they abort, when not the user's "Tool execution aborted", is their own request at its time limit.
_FETCHING_TOOLS = frozenset({"webfetch", "websearch", "codesearch"})
_SUBAGENT = re.compile(r"\s*(?:Error: )?Subagent failed(?: \([^)]{0,200}\))?:\s*", re.IGNORECASE)
_UNREPAIRED_CALL = re.compile(r"\s*(?:Model tried to call unavailable tool|Invalid input for tool)\b", re.IGNORECASE)
_NOTE_TAGS = ("<bash_metadata>", "<shell_metadata>")
_TIME_LIMIT_NOTE = re.compile(
    r"\bterminated comm+and after exceeding timeout|"  # 1.0 has one m too many
    r"\bcommand (?:timed out|exceeded (?:its|the) (?:timeout|time limit))",
    re.I,
)
_ABORT_NOTE = re.compile(
    r"\buser aborted the command|\(command was aborted\)|\bcommand (?:was )?(?:aborted|cancell?ed) by (?:the )?user",
    re.I,
)

_REASONS = (
    "bad request|unauthorized|payment required|forbidden|not found|method not allowed|not acceptable|proxy auth|"
    "request time|conflict|gone|payload too large|request entity|content too large|unsupported media|unprocessable|"
    "too many requests|internal server|not implemented|bad gateway|service unavailable|service temporarily|"
    "gateway time|site is overloaded|status code|client error|server error"
)
_STATUS_IN_TEXT = re.compile(
    rf"(?: status| code| http| http [12](?: [01])?| error| returned| responded with) (?P<after>[45]\d\d) "
    rf"| (?P<before>[45]\d\d) (?:{_REASONS})|\A (?P<first>[45]\d\d) "
)
_STATUS_KEYS = frozenset(map(str, _STATUS_OF_PROVIDER))


class _Error(NamedTuple):
    """What an error says about itself.

    Attributes:
        name: Its type, "" if it has none that says anything.
        status: Status code of the response, if there was one.
        texts: Its texts, the message first.
    """

    name: str
    status: int | None
    texts: tuple[str, ...]


def classify(error_data: object, tool_name: str | None = None) -> Category:
    """Say what caused an error.

    Args:
        error_data: The JSON value as stored: OpenCode's error object of a message ({name, data}, or {type, message,
            status} of 2.0), or {status, exit, message} of a failed tool call. A text is read as the message of such an
            error, or as the error if it is a JSON object. Any other value is fine.
        tool_name: The tool that failed; None if it was no tool call.

    Returns:
        One of CATEGORIES, "unknown" if no rule knows the error. Never raises.
    """
    value = _unwrapped(error_data)
    if isinstance(value, dict) and ("exit" in value or value.get("status") in ("error", "completed")):
        return _of_call(value, tool_name)
    if tool_name is not None:
        return _of_tool_text(" ".join(_texts(value)), tool_name)
    return _of_provider(_read(value))


def _unwrapped(value: object) -> object:
    """Read a text that is a JSON object, and one that a migration kept because it was none."""
    if isinstance(value, dict) and value.keys() == {"_invalid"}:
        value = value["_invalid"]
    if isinstance(value, str) and len(value) <= _JSON_CHARACTERS and value.lstrip()[:1] == "{":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


# --- tool calls


def _of_call(call: dict[str, Any], tool_name: str | None) -> Category:
    """Classify a failed tool call."""
    exit_code, message = call.get("exit"), call.get("message")
    text = message if isinstance(message, str) else " ".join(_texts(message))
    is_unrepaired = tool_name == "invalid" or tool_name is None and _UNREPAIRED_CALL.match(text) is not None
    if exit_code not in (None, 0) or (call.get("status") == "completed" and not is_unrepaired):
        return _of_ended_command(text, has_exit_code=exit_code is not None)
    return _of_tool_text(text, tool_name)


def _of_ended_command(output: str, *, has_exit_code: bool) -> Category:
    """Classify a command that ran: only the tool's own note after the output names another cause than the command."""
    tail = output[-2 * _TAIL_CHARACTERS :]
    start = max(tail.rfind(tag) for tag in _NOTE_TAGS)
    if start < 0 and has_exit_code:
        return "command_failed"
    note = tail[start:] if start >= 0 else tail.rstrip().rpartition("\n")[2]
    if _TIME_LIMIT_NOTE.search(note):
        return "timeout"
    return "aborted" if _ABORT_NOTE.search(note) else "command_failed"


def _of_tool_text(text: str, tool_name: str | None) -> Category:
    """Classify what a tool said when it failed."""
    subagent = _SUBAGENT.match(text)
    if subagent:
        return _of_provider(_read(_unwrapped(text[subagent.end() :])))
    plain = _plain(text)
    category = _SPOKEN_BY_TOOLS.decide(plain)
    if category == "aborted" and tool_name in _FETCHING_TOOLS and "tool execution" not in plain.words:
        return "timeout"
    if category != UNKNOWN:
        return category
    if _is_abort_alone(plain):
        return "aborted"
    is_foreign = " mcp error " in plain.words if tool_name is None else tool_name not in _OWN_TOOLS
    if is_foreign and _FOREIGN_TOOL_RULES.decide(plain) != UNKNOWN:
        return "tool_unavailable"
    category = _errno_in(plain)
    if category != UNKNOWN:
        return category
    status = _status_in(plain)
    return _STATUS_OF_TOOL[status] if status is not None else _TOOL_RULES.decide(plain)


# --- providers


def _read(value: object) -> _Error:
    """Collect what the error of a message says about itself, whatever shape it has."""
    if not isinstance(value, dict):
        return _Error("", None, tuple(_texts(value)))
    data = value.get("data")
    holders = [data, value] if isinstance(data, dict) else [value]
    codes = (_status(holder.get(key)) for holder in holders for key in ("statusCode", "status"))
    name = next((found for key in ("name", "type") if isinstance(found := value.get(key), str) and found), "")
    texts = _texts({key: kept for key, kept in value.items() if key not in ("name", "type", "status", "statusCode")})
    return _Error(
        "" if name in _EMPTY_NAMES else name[:_TAIL_CHARACTERS],
        next((code for code in codes if code is not None), None),
        tuple(texts),
    )


def _of_provider(error: _Error) -> Category:
    """Classify the error of a message, or of a subagent's message."""
    category = _of_name(error.name)
    if category != UNKNOWN:
        return category
    if error.status is not None and error.status not in _NARROWING:
        return _STATUS_OF_PROVIDER[error.status]
    plain = _plain(" ".join((error.name.replace(".", " "), *error.texts)))  # no name of a host
    if error.status is not None:
        return _of_status(error.status, plain)
    category = _SPOKEN_BY_PROVIDERS.decide(plain)
    if category != UNKNOWN:
        return category
    if _is_abort_alone(plain):
        return "aborted"
    category = _errno_in(plain)
    if category != UNKNOWN:
        return category
    status = _status_in(plain)
    return _of_status(status, plain) if status is not None else _PROVIDER_RULES.decide(plain)


def _of_name(name: str) -> Category:
    """Return what the type of an error says by itself."""
    kind = name.rpartition(".")[2].replace("-", "_").removesuffix("_error")
    by_kind = (category for category in CATEGORIES if category == kind and category not in _GENERAL_CATEGORIES)
    return _TYPED_NAMES[name] if name in _TYPED_NAMES else next(by_kind, UNKNOWN)


def _of_status(status: int, text: _Text) -> Category:
    """Say what a provider's status code means, given what it said."""
    category = _NARROWING[status].decide(text) if status in _NARROWING else UNKNOWN
    return category if category != UNKNOWN else _STATUS_OF_PROVIDER[status]


# --- evidence


def _errno_in(text: _Text) -> Category:
    """Return what the first errno name in a text means: the first is the cause, a later one is quoted."""
    return next((_ERRNO[word] for word in text.words.split() if word in _ERRNO), UNKNOWN)


def _status_in(text: _Text) -> int | None:
    """Return the first status code that a text calls one."""
    if text.keys.isdisjoint(_STATUS_KEYS):
        return None
    for found in _STATUS_IN_TEXT.finditer(text.words):
        code = _status(found["after"] or found["before"] or found["first"])
        if code is not None:
            return code
    return None


def _is_abort_alone(text: _Text) -> bool:
    """Tell whether a text says nothing but that something was aborted."""
    return text.words.replace(" error ", " ").strip() in _ABORTED_ALONE


def _status(value: object) -> int | None:
    """Read a status code that stands for a failure; None if it is none."""
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value in _STATUS_OF_PROVIDER else None


_TEXT_KEYS = (
    *(
        "message",
        "type",
        "code",
        "status",
        "reason",
        "name",
        "error",
        "errors",
        "error_description",
        "detail",
        "details",
    ),
    *("title", "data", "cause", "responseBody", "body"),
)


def _texts(value: object) -> list[str]:
    """List the texts of an error that may name its cause, a bounded number of them, each of bounded length."""
    found: list[str] = []
    for text in _walk(value, "", _MAX_DEPTH):
        found.append(text)
        if len(found) == _MAX_PIECES:
            break
    return found


def _walk(value: object, key: str, depth: int) -> Iterator[str]:
    """Yield the texts below a value; headers, addresses and other keys that name no cause are passed over."""
    if isinstance(value, str):
        if value not in _EMPTY_NAMES:
            yield value[: _HEAD_CHARACTERS + _TAIL_CHARACTERS]
    elif isinstance(value, int | float):
        if key and _status(value) is not None:
            yield f"{key} {value:.0f}"  # as "code 429", which a text could say, too
    elif depth and isinstance(value, list):
        for item in value[:_MAX_ITEMS]:
            yield from _walk(item, "", depth - 1)
    elif depth and isinstance(value, dict):
        for name in _TEXT_KEYS:
            if name in value:
                yield from _walk(value[name], name, depth - 1)

"""What caused an error: the labelled samples, texts that are not among them, and any value at all."""

import hashlib
import json
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from indexer.error_rules import CATEGORIES, UNKNOWN, classify

LABELLED = Path(__file__).resolve().parents[1] / "data" / "errors-labelled.json"
Entry = dict[str, Any]


def labelled() -> list[Entry]:
    """Read the labelled errors."""
    return list(json.loads(LABELLED.read_text(encoding="utf-8")))


def folded(text: str | None) -> str:
    """Fold addresses, paths, ids and numbers, so that texts that differ in nothing else are one."""
    shorter = re.sub(r"(https?://\S+|[/\w.-]*/[\w./-]+|\b[0-9a-f]{6,}\b|\d+)", "#", (text or "").lower())
    return re.sub(r"[^a-z]+", " ", shorter).strip()[:160]


def set_aside() -> list[Entry]:
    """Return the third that no rule was written by: every third text of a cause, in the order of a hash."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in labelled():
        groups[entry["category"], folded(entry["text"]) or entry["name"]].append(entry)
    causes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in groups:
        causes[key[0]].append(key)
    ordered = (sorted(keys, key=lambda key: hashlib.sha256(repr(key).encode()).hexdigest()) for keys in causes.values())
    return [entry for keys in ordered for key in keys[::3] for entry in groups[key]]


def share_right(entries: list[Entry]) -> float:
    """Return the part of entries that get the category of their label."""
    right = sum(classify(entry["error_data"], entry["tool_name"]) == entry["category"] for entry in entries)
    return right / len(entries)


def test_classify_samples_set_aside_reaches_90_percent() -> None:
    """A third of the samples, apart from all others by cause and text."""
    assert share_right(set_aside()) >= 0.90


def test_classify_all_samples_reach_95_percent_and_80_of_each_cause() -> None:
    """Each cause with five samples or more counts on its own."""
    causes: dict[str, list[Entry]] = defaultdict(list)
    for entry in labelled():
        causes[entry["category"]].append(entry)

    shares = {cause: share_right(entries) for cause, entries in causes.items() if len(entries) >= 5}

    assert share_right(labelled()) >= 0.95
    assert {cause: share for cause, share in shares.items() if share < 0.80} == {}


def test_classify_addresses_of_samples_decide_nothing() -> None:
    """Another host, port, path or date leaves every category as it is."""

    def elsewhere(text: str) -> str:
        """Replace addresses and dates."""
        text = re.sub(r"https?://[^\s\"\\)]+", "https://other.invalid:8/quota-timeout-403", text)
        text = re.sub(r"\b\d+\.\d+\.\d+\.\d+:\d+", "192.0.2.1:1", text)
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2031-01-01T00:00:00.000Z", text)

    for entry in labelled():
        changed = json.loads(elsewhere(json.dumps(entry["error_data"])))
        assert classify(changed, entry["tool_name"]) == classify(entry["error_data"], entry["tool_name"]), entry["text"]


def answer(message: str, status: int | None = None, **more: object) -> Entry:
    """Make the error of an answer as clients store it."""
    data: Entry = {"message": message, "isRetryable": False, **more}
    return {"name": "APIError", "data": data | ({} if status is None else {"statusCode": status})}


def unnamed(message: str) -> Entry:
    """Make an error that the client could not name."""
    return {"name": "UnknownError", "data": {"message": message}}


def call(message: str | None, *, exit_code: int | None = None, status: str = "error") -> Entry:
    """Make the error of a tool call as the index stores it."""
    return {"status": status, "exit": exit_code, "message": message}


ANSWERS: list[tuple[str, object]] = [
    ("rate_limit", answer("You exceeded your current quota, please check your plan and billing details.", 429)),
    ("rate_limit", answer("Your credit balance is too low to access the API.", 400)),
    ("rate_limit", answer("This request requires more credits, or fewer max_tokens.", 402)),
    ("rate_limit", answer("Weekly usage limit reached. Your limit resets at 9am.", 403)),
    ("rate_limit", answer("ThrottlingException: Too many requests, please wait before trying again.", 400)),
    ("rate_limit", answer("Bad request", 400, responseBody='{"error":{"code":"insufficient_quota","message":"x"}}')),
    ("rate_limit", unnamed("Rate limit exceeded: free-models-per-day")),
    ("auth", answer("Unauthorized", 401)),
    ("auth", answer("The security token included in the request is expired", 403)),
    ("auth", answer("x", 400, responseBody='{"error":{"status":"UNAUTHENTICATED"}}')),
    ("auth", unnamed("No credentials found for provider. Please log in again.")),
    ("auth", unnamed("Your authentication token has been invalidated.")),
    ("auth", {"name": "ProviderAuthError", "data": {"providerID": "x", "message": "y"}}),
    ("context_overflow", answer("prompt is too long: 208310 tokens > 200000 maximum", 400)),
    ("context_overflow", answer("Request Entity Too Large", 413)),
    ("context_overflow", answer("This endpoint's maximum context length is 32768 tokens.", 400)),
    ("context_overflow", answer("Input tokens exceed the configured limit of 272000 tokens.", 400)),
    ("context_overflow", answer("x", 400, responseBody='{"error":{"code":"context_length_exceeded"}}')),
    ("context_overflow", {"name": "ContextOverflowError", "data": {"message": "x"}}),
    ("output_length", {"name": "MessageOutputLengthError", "data": {}}),
    ("output_length", {"type": "output_length", "message": "The answer was cut at its limit"}),
    ("output_length", unnamed("The response was truncated because it reached the output limit")),
    ("output_length", unnamed("Reached max_tokens before the answer was complete")),
    ("output_length", "maximum output tokens reached"),
    ("content_filter", answer("Your request was flagged by our moderation.", 400)),
    ("content_filter", answer("Claude's response was blocked for safety reasons.", 400)),
    ("content_filter", answer("x", 400, responseBody='{"error":{"code":"content_filter"}}')),
    ("content_filter", {"name": "ContentFilterError", "data": {"message": "The answer was blocked"}}),
    ("content_filter", unnamed("Prompt contains prohibited content")),
    ("server_error", answer("Internal Server Error", 500)),
    ("server_error", answer("Bad gateway", 502)),
    ("server_error", answer("no healthy upstream", 503)),
    ("server_error", unnamed("Overloaded")),
    ("server_error", answer("x", None, responseBody='{"type":"error","error":{"type":"overloaded_error"}}')),
    ("server_error", unnamed("The model is at capacity, please try again later.")),
    ("timeout", answer("Gateway Timeout", 504)),
    ("timeout", answer("upstream request timeout", 503)),
    ("timeout", unnamed("Headers Timeout Error")),
    ("timeout", unnamed("4 DEADLINE_EXCEEDED: Deadline exceeded")),
    ("timeout", unnamed("Request timed out after 300000ms")),
    ("network", unnamed("read ECONNRESET")),
    ("network", unnamed("getaddrinfo EAI_AGAIN api.example.com")),
    ("network", unnamed("unable to verify the first certificate")),
    ("network", unnamed("Unable to connect. Is the computer able to access the url?")),
    ("network", answer("Client network socket disconnected before secure TLS connection was established")),
    ("network", unnamed("terminated: other side closed")),
    ("parse", unnamed("Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON")),
    ("parse", unnamed("Invalid JSON response")),
    ("parse", unnamed("SyntaxError: Unexpected end of JSON input")),
    ("parse", {"name": "StructuredOutputError", "data": {"message": "Model did not call it", "retries": 2}}),
    ("parse", unnamed("Failed to parse the stream chunk")),
    ("aborted", {"name": "MessageAbortedError", "data": {"message": ""}}),
    ("aborted", {"type": "aborted", "message": "x"}),
    ("aborted", unnamed("The operation was aborted")),
    ("aborted", unnamed("Request was cancelled by the user")),
    ("aborted", "Aborted"),
    ("invalid_request", answer("max_tokens: must be greater than 0", 400)),
    ("invalid_request", answer("tools.0.custom.name: String should match pattern", 400)),
    ("invalid_request", answer("model: claude-9 not found", 404)),
    ("invalid_request", answer("Unprocessable", 422)),
    ("invalid_request", unnamed("Unsupported value: 'none' is not supported with this model")),
    ("unknown", unnamed("undefined is not a function")),
    ("unknown", unnamed("")),
    ("unknown", {"name": "UnknownError", "data": {}}),
]

CALLS: list[tuple[str, str, object]] = [
    ("command_failed", "bash", call("rate limit exceeded: 401 Unauthorized", exit_code=1, status="completed")),
    ("command_failed", "bash", call("Error: connect ECONNREFUSED, timed out", exit_code=28, status="completed")),
    ("command_failed", "bash", call("", exit_code=137, status="completed")),
    ("command_failed", "bash", call(None, exit_code=2, status="completed")),
    ("command_failed", "bash", call("killed", exit_code=None, status="completed")),
    (
        "timeout",
        "bash",
        call("x\n<bash_metadata>\nbash tool terminated: timed out\n</bash_metadata>", status="completed"),
    ),
    ("timeout", "webfetch", call("The operation was aborted.")),
    ("timeout", "lookup_find", call("MCP error -32001: Request timed out")),
    ("timeout", "websearch", call("Search request timed out")),
    ("timeout", "webfetch", call("Request failed with status code: 504")),
    ("aborted", "bash", call("x\n<shell_metadata>\nUser aborted the command\n</shell_metadata>", status="completed")),
    ("aborted", "task", call("Task cancelled")),
    ("aborted", "read", call("Tool execution aborted")),
    ("aborted", "question", call("The user dismissed this question")),
    ("aborted", "grep", call("Error: Cancelled by user")),
    ("permission", "read", call("EPERM: operation not permitted, open '/root/x'")),
    ("permission", "write", call("EROFS: read-only file system, open '/x'")),
    ("permission", "edit", call("The user rejected permission to use this specific tool call.")),
    ("permission", "webfetch", call("Request failed with status code: 403")),
    ("permission", "bash", call("Access denied: /etc/shadow")),
    ("file_not_found", "read", call("File not found: /src/timeout/network.ts")),
    ("file_not_found", "edit", call("ENOENT: no such file or directory, open '/x'")),
    ("file_not_found", "list", call("EISDIR: illegal operation on a directory, read")),
    ("file_not_found", "webfetch", call("Request failed with status code: 404")),
    ("file_not_found", "glob", call("Directory not found: /nope")),
    ("file_not_found", "read", call("Error: /src is a directory, not a file")),
    ("edit_mismatch", "edit", call("oldString not found in content")),
    ("edit_mismatch", "edit", call("Found multiple matches for oldString. Provide more context.")),
    ("edit_mismatch", "apply_patch", call("apply_patch verification failed: Failed to find expected lines in /a.py")),
    ("edit_mismatch", "write", call("You must read the file /x.py before overwriting it. Use the Read tool first")),
    ("edit_mismatch", "patch", call("Hunk #2 failed to apply")),
    ("edit_mismatch", "edit", call("File /a.py has been modified since it was last read.")),
    ("parse", "grep", call("regex parse error: unclosed group")),
    ("parse", "invalid", call("JSON parsing failed: Text: {. Error message: Unterminated string", status="completed")),
    ("parse", "apply_patch", call("Invalid patch format: missing Begin/End markers")),
    ("parse", "webfetch", call("Failed to parse HTML")),
    ("parse", "glob", call("invalid glob: unexpected end")),
    ("tool_unavailable", "invalid", call("Model tried to call unavailable tool 'x'.", status="completed")),
    ("tool_unavailable", "task", call("Unknown agent type: ghost is not a valid agent type")),
    ("tool_unavailable", "skill", call('Skill "x" not found. Available skills: none')),
    ("tool_unavailable", "jira_search", call("MCP error -32601: Method not found")),
    ("tool_unavailable", "db_query", call("The database is currently unavailable")),
    (
        "invalid_request",
        "read",
        call("The read tool was called with invalid arguments: [ {} ]. Please rewrite the input"),
    ),
    ("invalid_request", "webfetch", call("URL must start with http:// or https://")),
    ("invalid_request", "read", call("Cannot read binary file: /x.bin")),
    ("invalid_request", "read", call("Offset 900 is out of range for this file")),
    ("invalid_request", "webfetch", call("Request failed with status code: 400")),
    ("network", "webfetch", call("getaddrinfo ENOTFOUND example.com")),
    ("network", "webfetch", call("Unable to connect. Is the computer able to access the url?")),
    ("network", "websearch", call("fetch failed")),
    ("network", "webfetch", call("certificate has expired")),
    ("network", "lookup_find", call("Connection closed")),
    ("rate_limit", "websearch", call("Search error (429): Too many requests")),
    ("rate_limit", "websearch", call("API rate limit reached")),
    ("server_error", "webfetch", call("Request failed with status code: 503")),
    ("server_error", "task", call("Subagent failed (task_id: ses_1): Overloaded")),
    ("auth", "task", call("Subagent failed (task_id: ses_1): Incorrect API key provided")),
    ("auth", "webfetch", call("Request failed with status code: 401")),
    ("resource", "write", call("ENOSPC: no space left on device, write")),
    ("resource", "read", call("EMFILE: too many open files, open '/x'")),
    ("resource", "webfetch", call("Response too large (exceeds 5MB limit)")),
    ("resource", "bash", call("spawn ENOMEM")),
    ("resource", "read", call("JavaScript heap out of memory")),
    ("unknown", "bash", call("something happened")),
    ("unknown", "read", call(None)),
]


@pytest.mark.parametrize(("category", "error"), ANSWERS)
def test_classify_error_of_an_answer_names_its_cause(category: str, error: object) -> None:
    """In the words of providers and runtimes, none of them from the samples."""
    assert classify(error) == category


@pytest.mark.parametrize(("category", "tool", "error"), CALLS)
def test_classify_error_of_a_call_names_its_cause(category: str, tool: str, error: object) -> None:
    """In the words of tools, shells and servers."""
    assert classify(error, tool) == category


def test_classify_every_cause_has_texts_of_its_own_here() -> None:
    """Five at least that are not in the samples."""
    counts: dict[str, int] = defaultdict(int)
    for category in (*(row[0] for row in ANSWERS), *(row[0] for row in CALLS)):
        counts[category] += 1

    assert {category: counts[category] for category in CATEGORIES if counts[category] < 5} == {}


def test_classify_client_2_status_beside_the_message_counts() -> None:
    """2.0 has type, message and status in one object."""
    assert classify({"type": "unknown", "message": "no", "status": 429}) == "rate_limit"


def value(rng: random.Random, depth: int = 0) -> object:
    """Make any JSON value, with the names that the rules look at."""
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        names = ("name", "type", "data", "message", "statusCode", "status", "exit", "responseBody", "error", "code")
        return {rng.choice(names): value(rng, depth + 1) for _ in range(rng.randrange(6))}
    texts = (
        "",
        "timeout",
        "{",
        '{"error": 5}',
        '[{"error": "x"}]',
        "\ud800",
        "completed",
        "a" * 50_000,
        "<x_metadata>",
    )
    return (
        None,
        rng.random() < 0.5,
        rng.randrange(-5, 700),
        rng.uniform(-1e300, 1e300),
        float("inf"),
        rng.choice(texts),
    )[kind]


@pytest.mark.parametrize("seed", range(200))
def test_classify_any_value_gives_a_category(seed: int) -> None:
    """Whatever was recorded, it never fails."""
    rng = random.Random(seed)

    found = {classify(value(rng), rng.choice([None, "bash", "invalid", "webfetch"])) for _ in range(20)}

    assert found <= set(CATEGORIES)


def test_classify_nothing_recorded_is_unknown() -> None:
    """Unknown is shown as such."""
    nothings: list[object] = [None, "", {}, [], 0, False, {"name": None, "data": None}]

    assert {classify(nothing) for nothing in nothings} == {UNKNOWN}

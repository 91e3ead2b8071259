"""Made-up sessions for the trace viewer: one with everything in it, a large one, a hostile one, one that grows."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from pages.ui import trace_viewer
from pages.ui.trace_viewer import GrowthEvent, GrowthExchange, MarkRow, PieceRow, SessionRow

ORIGIN_MS = datetime(2026, 11, 3, 9, 12, 7, 250_000, UTC).timestamp() * 1000
SECOND, MINUTE, HOUR = 1000.0, 60_000.0, 3_600_000.0
COPY, DELETED, LOOP, EDIT, ENDED, UNKNOWN, BACKWARDS = (1 << bit for bit in range(7))


@dataclass
class Traces:
    """A session tree in the making; `now` is the clock of what is added next.

    Attributes:
        is_partial: As if there were too many events to send all: those of an exchange come once it is opened.
    """

    now: float = 0.0
    is_running: bool = False
    is_partial: bool = False
    sessions: list[SessionRow] = field(default_factory=list)
    exchanges: list[GrowthExchange] = field(default_factory=list)
    events: list[GrowthEvent] = field(default_factory=list)
    marks: list[MarkRow] = field(default_factory=list)
    pieces: dict[str, list[PieceRow]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    _step: str | None = None
    _made: dict[str, tuple[GrowthEvent, PieceRow]] = field(default_factory=dict)

    def session(self, title: str, agent: str, call: str | None = None, parent: int = -1, link: str = "ok") -> int:
        """Begin a session, or say where a call leads instead. Returns its index."""
        depth = 0 if parent < 0 else self.sessions[parent]["depth"] + 1
        self.sessions.append(
            {
                "session_id": f"ses_{len(self.sessions) + 1:04d}",
                "parent": parent,
                "depth": depth,
                "title": title,
                "agent": agent,
                "model": "anthropic/claude-sonnet-4-5",
                "event": call,
                "link": link,
                "status": "ok" if link == "ok" else "unknown",
                "started_ms": self.now if link == "ok" else None,
                "ended_ms": None,
                "own_tokens": None,
                "own_cost_usd": None,
                "subtree_tokens": None,
                "subtree_cost_usd": None,
                "is_deleted": False,
            }
        )
        return len(self.sessions) - 1

    def exchange(self, session: int, prompt: str | None, kind: str = "prompt") -> GrowthExchange:
        """Begin an exchange, with its prompt."""
        session_id = self.sessions[session]["session_id"]
        number = 1 + sum(one["session_id"] == session_id for one in self.exchanges)
        made: GrowthExchange = {
            "id": f"msg_{session_id}_{number}",
            "session_id": session_id,
            "number": number,
            "kind": kind,
            "status": "answered",
            "start_ms": self.now,
            "end_ms": None,
            "tools": 0,
            "delegations": 0,
            "steps": 0,
            "errors": 0,
            "tokens": 0,
            "cost_usd": None,
            "is_fork_copy": False,
        }
        self.exchanges.append(made)
        self.pieces[made["id"]] = []
        self._step = None
        if prompt is not None:
            self.event(made, "prompt", text=prompt, takes=None)
        return made

    def event(
        self,
        exchange: GrowthExchange,
        kind: str,
        name: str = "",
        label: str | None = None,
        takes: float | None = 0.0,
        *,
        status: str = "ok",
        flags: int = 0,
        tokens: int | None = None,
        cost: float | None = None,
        at: float | None = None,
        parent: str | None = None,
        **piece: object,
    ) -> str:
        """Add an event with its piece of the transcript; the clock moves on by what it takes. Returns its id."""
        start = self.now if at is None else at
        is_unknown = bool(flags & UNKNOWN)
        text = piece.get("text")
        made: GrowthEvent = {
            "id": f"prt_{len(self.events) + 1:05d}",
            "exchange_id": exchange["id"],
            "parent_id": parent if parent is not None else (None if kind in ("step", "prompt") else self._step),
            "kind": kind,
            "name": name or kind,
            "label": " ".join((str(text or "") if label is None else label).split())[:120],
            "start_ms": None if is_unknown else start,
            "end_ms": None if takes is None or is_unknown else start + takes,
            "status": status,
            "tokens": tokens,
            "cost_usd": cost,
            "flags": flags,
        }
        shown = self._piece(made, piece)
        self.events.append(made)
        self.pieces[exchange["id"]].append(shown)
        self._made[made["id"]] = (made, shown)
        if at is None and takes and kind != "step":
            self.now += takes
        exchange["end_ms"] = max(exchange["end_ms"] or 0.0, self.now, made["end_ms"] or 0.0)
        for counter, which in (("tools", "tool"), ("delegations", "delegation"), ("steps", "step")):
            if kind == which:
                exchange[counter] += 1  # type: ignore[literal-required]
        if kind == "error" or status == "failed":
            exchange["errors"] += 1
        return made["id"]

    def step(self, exchange: GrowthExchange, tokens: int = 9_000, cost: float = 0.0184, status: str = "ok") -> str:
        """Begin a step: what follows is part of it."""
        self._step = None
        self._step = self.event(exchange, "step", tokens=tokens, cost=cost, status=status, takes=None, label="")
        exchange["tokens"] = (exchange["tokens"] or 0) + tokens
        exchange["cost_usd"] = (exchange["cost_usd"] or 0.0) + cost
        return self._step

    def step_end(self) -> None:
        """End the step now, if there is one."""
        if self._step is not None:
            self.end(self._step)
        self._step = None

    def end(self, event_id: str) -> None:
        """End an event now."""
        for one in self._made[event_id]:
            one["end_ms"] = self.now

    def _piece(self, event: GrowthEvent, more: dict[str, object]) -> PieceRow:
        """Make the transcript's piece of an event."""
        tokens = event["tokens"]
        made: PieceRow = {
            "id": event["id"],
            "kind": event["kind"],
            "name": event["name"],
            "title": event["label"] if event["kind"] in ("tool", "delegation") else None,
            "status": event["status"],
            "text": None,
            "text_bytes": 0,
            "input": None,
            "input_bytes": 0,
            "output": None,
            "output_bytes": 0,
            "is_cut": False,
            "is_lost": False,
            "diff": None,
            "is_diff_cut": False,
            "attachments": [],
            "tokens": None
            if tokens is None
            else {
                "input": tokens // 9,
                "output": tokens // 20,
                "reasoning": 0,
                "cache_read": tokens - tokens // 9 - tokens // 20,
                "cache_write": 0,
                "total": tokens,
            },
            "cost_usd": event["cost_usd"],
            "start_ms": event["start_ms"],
            "end_ms": event["end_ms"],
            "child_session_id": None,
            "flags": event["flags"],
            "ids": [{"label": "Part", "value": event["id"]}, {"label": "Message", "value": event["exchange_id"]}],
        }
        made.update(more)  # type: ignore[typeddict-item]
        for name in ("text", "input", "output"):
            text = made[name]
            if text is not None and not made[f"{name}_bytes"]:  # type: ignore[literal-required]
                made[f"{name}_bytes"] = len(text.encode())  # type: ignore[literal-required]
        return made

    def events_table(self) -> pa.Table:
        """Return the events as the query does."""
        places = {exchange["id"]: place for place, exchange in enumerate(self.exchanges)}
        sessions = {row["session_id"]: place for place, row in enumerate(self.sessions) if row["link"] == "ok"}
        of_session = [sessions[exchange["session_id"]] for exchange in self.exchanges]
        rows = {event["id"]: place for place, event in enumerate(self.events)}
        own = ("id", "kind", "name", "label", "start_ms", "end_ms", "status", "tokens", "cost_usd", "flags")
        columns: dict[str, list] = {name: [event[name] for event in self.events] for name in own}  # type: ignore[literal-required]
        columns["exchange"] = [places[event["exchange_id"]] for event in self.events]
        columns["session"] = [of_session[place] for place in columns["exchange"]]
        columns["parent"] = [rows[event["parent_id"]] if event["parent_id"] else -1 for event in self.events]
        return pa.table(columns)

    def viewer(self, view: str, opened: trace_viewer.Opened, version: str = "1") -> trace_viewer.ViewerPayload:
        """Return what the waterfall gets."""
        sessions = {row["session_id"]: place for place, row in enumerate(self.sessions) if row["link"] == "ok"}
        return {
            "view": view,
            "version": version,
            "link": f"/timeline?session={self.sessions[0]['session_id']}",
            "head": {
                "session_id": self.sessions[0]["session_id"],
                "title": self.sessions[0]["title"],
                "origin_ms": ORIGIN_MS,
                "tz": "Europe/Berlin",
                "is_running": self.is_running,
                "is_partial": self.is_partial,
            },
            "opened": opened,
            "sessions": self.sessions,
            "marks": self.marks,
            "events": trace_viewer.events_frame(self.events_table().slice(0, 0 if self.is_partial else None)),
            "exchanges": trace_viewer.exchanges_frame(
                [{**exchange, "session": sessions[exchange["session_id"]]} for exchange in self.exchanges]
            ),
        }

    def detail(
        self, view: str, opened: trace_viewer.Opened, growth: trace_viewer.Growth | None = None
    ) -> trace_viewer.DetailPayload:
        """Return what the transcript gets."""
        pieces = [self._shown(piece, opened) for piece in self.pieces.get(opened["exchange"] or "", [])]
        return {
            "view": view,
            "exchange_id": opened["exchange"],
            "pieces": pieces,
            "shown": opened["show_all"],
            "opened": opened,
            "growth": self._of_exchange(opened["exchange"]) if self.is_partial else growth,
        }

    def _of_exchange(self, exchange_id: str | None) -> trace_viewer.Growth:
        """Return the events of one exchange."""
        return {
            "serial": 1 + [exchange["id"] for exchange in self.exchanges].index(exchange_id or ""),
            "events": [event for event in self.events if event["exchange_id"] == exchange_id],
            "exchanges": [],
            "sessions": [],
            "marks": None,
            "is_running": self.is_running,
        }

    def _shown(self, piece: PieceRow, opened: trace_viewer.Opened) -> PieceRow:
        """Cut a long output, unless all of it is wanted."""
        output = piece["output"]
        if output is None or len(output) <= 4096 or piece["id"] in opened["show_all"]:
            return piece
        return {**piece, "output": output[:4096], "is_cut": True}


FILES = ("src/payments/client.ts", "src/payments/retry.ts", "src/orders/service.py", "tests/test_retry.py", "README.md")
COMMANDS = ("npm test -- --watch=false", "git status --short", "rg -n 'TODO' src", "npm run build", "ls -la src")
DIFF = """Index: src/payments/client.ts
@@ -12,7 +12,9 @@ export class PaymentClient {
   constructor(private readonly http: Http) {}
\x20
   async charge(order: Order): Promise<Receipt> {
-    return this.http.post("/charge", order, { timeout: 5000 });
+    return this.http.post("/charge", order, { timeout: 8000 });
+    // Three attempts, backing off: the gateway drops about one call in two hundred.
+    // See retry.ts
   }
 }
"""
ANSWER = """I added a **retry** with exponential backoff to `PaymentClient.charge`.

## What changed
1. `retry.ts` holds the policy: three attempts, 200 ms, 400 ms, 800 ms.
2. `client.ts` uses it for *idempotent* calls only.
   - A charge carries an idempotency key, so it is safe.
   - Refunds are **not** retried.

```ts
export async function withRetry<T>(call: () => Promise<T>, attempts = 3): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (attempt === attempts || !isTransient(error)) throw error;
      await sleep(100 * 2 ** attempt);
    }
  }
}
```

> The gateway's own documentation asks for jitter. See [their guide](https://example.com/retry).

| attempt | waits |
|---------|-------|
| 2       | 200 ms |
| 3       | 400 ms |
"""


def _work(traces: Traces, exchange: GrowthExchange, chance: random.Random, steps: int) -> None:
    """Add some steps of ordinary work."""
    for _ in range(steps):
        traces.step(exchange, chance.randrange(4_000, 30_000), chance.uniform(0.004, 0.06))
        traces.now += chance.uniform(0.5, 2) * SECOND
        traces.event(exchange, "reasoning", takes=chance.uniform(1, 9) * SECOND, text=THOUGHT)
        for _ in range(chance.randrange(1, 4)):
            _tool(traces, exchange, chance)
        traces.now += chance.uniform(0.1, 0.6) * SECOND
        traces.step_end()


THOUGHT = """**Looking at the client**

The user wants retries around the payment call. Let me see how errors are told apart first: only timeouts and 5xx may be
tried again, and the order of the two writes matters."""


def _tool(traces: Traces, exchange: GrowthExchange, chance: random.Random) -> str:
    """Add a call of a tool."""
    path, command = chance.choice(FILES), chance.choice(COMMANDS)
    match chance.choice(("read", "read", "bash", "grep", "edit")):
        case "read":
            lines = "\n".join(f"{number:05d}| export const line{number} = {number};" for number in range(1, 60))
            return traces.event(
                exchange,
                "tool",
                "read",
                path,
                chance.uniform(8, 90),
                input=f'{{"filePath": "/home/ada/shop/{path}", "offset": 0, "limit": 2000}}',
                output=lines,
            )
        case "bash":
            return traces.event(
                exchange,
                "tool",
                "bash",
                command,
                chance.uniform(0.3, 14) * SECOND,
                input=f'{{"command": "{command}", "description": "Run it", "options": {{"timeout": 9000, "env": []}}}}',
                output="> shop@1.4.0 test\n> vitest run\n\n ✓ tests/test_retry.py (12 tests) 431ms\n",
            )
        case "edit":
            return traces.event(
                exchange,
                "tool",
                "edit",
                path,
                chance.uniform(20, 160),
                input=f'{{"filePath": "{path}", "oldString": "timeout: 5000", "newString": "timeout: 8000"}}',
                output="Edit applied successfully.",
                diff=DIFF,
            )
        case _:
            return traces.event(
                exchange,
                "tool",
                "grep",
                "charge\\(",
                chance.uniform(30, 300),
                input='{"pattern": "charge\\\\(", "include": "*.ts"}',
                output="Found 3 matches\nsrc/payments/client.ts:15\nsrc/orders/checkout.ts:88\n",
            )


def _answer(traces: Traces, exchange: GrowthExchange, text: str = ANSWER) -> None:
    """End an exchange with a step that only answers."""
    traces.step(exchange, 14_200, 0.0231)
    traces.now += 1.2 * SECOND
    traces.event(exchange, "text", takes=7.4 * SECOND, text=text)
    traces.step_end()


def _delegate(traces: Traces, exchange: GrowthExchange, chance: random.Random, session: int, title: str) -> str:
    """Delegate to a child session that works for a while. Returns the call's id."""
    traces.step(exchange, 6_000, 0.012)
    step = traces._step
    call = traces.event(exchange, "delegation", "explore", title, takes=None, input=f'{{"prompt": "{title}"}}')
    child = traces.session(title, "explore", call, session)
    traces.pieces[exchange["id"]][-1]["child_session_id"] = traces.sessions[child]["session_id"]
    inner = traces.exchange(child, f"{title}. Report file names and line numbers only.")
    _work(traces, inner, chance, 3)
    _answer(traces, inner, "Three places call it: `client.ts:15`, `checkout.ts:88`, `worker.ts:31`.")
    traces.sessions[child]["ended_ms"] = traces.now
    traces.end(call)
    traces._step = step
    traces.step_end()
    return call


def story() -> Traces:
    """Make a session with everything in it that a waterfall can show."""
    traces, chance = Traces(), random.Random(45)
    root = traces.session("Add retry to the payment client", "build")
    first = traces.exchange(
        root,
        "Add a retry with exponential backoff to the payment client. Charges time out about once in two hundred calls, "
        "see the attached log.\n\nKeep refunds as they are!",
    )
    traces.pieces[first["id"]][0]["attachments"] = [{"name": "gateway.log", "mime": "text/plain", "size_bytes": 48_213}]
    _work(traces, first, chance, 3)
    call = _delegate(traces, first, chance, root, "Find every caller of charge()")
    _work(traces, first, chance, 2)
    _answer(traces, first)

    traces.now += 2 * HOUR + 6 * MINUTE
    second = traces.exchange(root, "The tests fail now. Please fix them")
    _fix(traces, second, chance)

    traces.now += 3 * MINUTE
    third = traces.exchange(root, None, "compaction")
    traces.step(third, 88_000, 0.21)
    traces.event(third, "compaction", "compaction", takes=21 * SECOND, text="The session is about retries in payments.")
    traces.step_end()

    traces.now += 40 * SECOND
    fourth = traces.exchange(root, "continue with the worker, and check the callers again")
    _nested(traces, fourth, chance, root, call)

    traces.now += 19 * HOUR
    fifth = traces.exchange(root, "And now the changelog")
    _odd(traces, fifth, chance)
    _sum_up(traces)
    return traces


def _fix(traces: Traces, exchange: GrowthExchange, chance: random.Random) -> None:
    """Add an exchange that goes round in circles and fails."""
    _work(traces, exchange, chance, 1)
    edited = []
    for turn in range(3):
        traces.step(exchange, 11_000 + 900 * turn, 0.017)
        edited.append(
            traces.event(exchange, "tool", "edit", "src/payments/retry.ts", 60, flags=EDIT, diff=DIFF, output="ok")
        )
        output = "FAIL tests/test_retry.py\n  AssertionError: expected 3 calls, got 1\n" * 90
        edited.append(
            traces.event(
                exchange,
                "tool",
                "bash",
                "npm test -- retry",
                9 * SECOND,
                status="failed",
                flags=LOOP | EDIT,
                input='{"command": "npm test -- retry"}',
                output=output,
                text="Exit code 1",
            )
        )
        traces.step_end()
    traces.event(exchange, "retry", "retry", "overloaded_error, attempt 2", 4 * SECOND, text="overloaded_error")
    traces.event(
        exchange,
        "error",
        "ProviderAuthError",
        "401: the key was revoked while the session ran",
        None,
        status="failed",
        text="401: the key was revoked while the session ran",
        input='{"name": "ProviderAuthError", "data": {"statusCode": 401, "isRetryable": false}}',
    )
    exchange["status"] = "failed"
    loop = [event["id"] for event in traces.events if event["flags"] & LOOP]
    mark: MarkRow = {
        "kind": "loop",
        "exchange_id": exchange["id"],
        "events": loop,
        "text": "bash with the same arguments 3 times",
        "tokens": 35_700,
        "cost_usd": 0.051,
    }
    text = "src/payments/retry.ts edited 3 times, with a failure between"
    ended: MarkRow = {
        **mark,
        "kind": "ended",
        "events": [],
        "text": "The exchange failed: ProviderAuthError",
        "cost_usd": 0.0731,
    }
    traces.marks += [mark, {**mark, "kind": "edit", "events": edited, "text": text, "cost_usd": 0.034}, ended]


def _nested(traces: Traces, exchange: GrowthExchange, chance: random.Random, root: int, earlier: str) -> None:
    """Add parallel calls, a child of a child, and calls whose session is resumed, missing, elsewhere, or a cycle."""
    traces.step(exchange, 21_000, 0.033)
    for place in range(3):
        traces.event(
            exchange, "tool", "read", FILES[place], (0.2 + place) * SECOND, at=traces.now, input="{}", output="ok"
        )
    traces.now += 3 * SECOND
    traces.step_end()
    traces.step(exchange, 6_500, 0.014)
    step = traces._step
    call = traces.event(exchange, "delegation", "general", "Rewrite the worker", takes=None)
    child = traces.session("Rewrite the worker", "general", call, root)
    traces.pieces[exchange["id"]][-1]["child_session_id"] = traces.sessions[child]["session_id"]
    inner = traces.exchange(child, "Rewrite worker.ts so that it uses withRetry.")
    _work(traces, inner, chance, 2)
    _delegate(traces, inner, chance, child, "Find the worker's tests")
    _answer(traces, inner, "Done.")
    traces.now += 20 * SECOND
    again = traces.exchange(child, "Also handle SIGTERM.")
    _work(traces, again, chance, 1)
    _answer(traces, again, "Done too.")
    traces.end(call)
    traces._step = step
    links = (("explore", "resumed"), ("explore", "missing"), ("general", "cycle"), ("general", "elsewhere"))
    for name, link in links:
        other = traces.event(exchange, "delegation", name, f"A call whose session is {link}", 2 * SECOND)
        row = traces.session(f"A call whose session is {link}", name, other, root, link)
        if link == "resumed":
            traces.sessions[row]["session_id"] = next(
                one["session_id"] for one in traces.sessions if one["event"] == earlier
            )
        traces.pieces[exchange["id"]][-1]["child_session_id"] = traces.sessions[row]["session_id"]
    traces.step_end()
    traces.event(exchange, "patch", "patch", "3 files", 0.0, text="client.ts, retry.ts, worker.ts")
    _answer(traces, exchange, "The worker retries now.")


def _odd(traces: Traces, exchange: GrowthExchange, chance: random.Random) -> None:
    """Add what is not as it should be: unknown times, a restarted step, a clock that goes back, a call without end."""
    traces.step(exchange, 5_000, 0.009, status="restarted")
    traces.now += 2 * SECOND
    traces.step(exchange, 7_000, 0.011)
    traces.event(exchange, "tool", "read", "CHANGELOG.md", flags=UNKNOWN, output="# Changes")
    traces.event(exchange, "tool", "glob", "*.md", -40, flags=BACKWARDS, at=traces.now - 900, output="README.md")
    traces.event(exchange, "other", "snapshot", "0a1b2c", 0.0)
    traces.now += 1 * SECOND
    traces.event(
        exchange,
        "tool",
        "bash",
        "git log --oneline | head -20",
        None,
        status="unfinished",
        input='{"command": "git log"}',
    )
    exchange["status"] = "unfinished"


def _sum_up(traces: Traces) -> None:
    """Fill what sessions know of themselves."""
    for row in traces.sessions:
        own = [one for one in traces.exchanges if one["session_id"] == row["session_id"] and row["link"] == "ok"]
        row["ended_ms"] = max((one["end_ms"] or 0.0 for one in own), default=None)
        row["own_cost_usd"] = sum(one["cost_usd"] or 0.0 for one in own) if own else None
        row["own_tokens"] = sum(one["tokens"] or 0 for one in own) if own else None
        if own:
            row["status"] = "ok" if own[-1]["status"] == "answered" else own[-1]["status"]
        row["subtree_cost_usd"], row["subtree_tokens"] = row["own_cost_usd"], row["own_tokens"]
    total = sum(row["own_cost_usd"] or 0.0 for row in traces.sessions if row["link"] == "ok")
    traces.sessions[0]["subtree_cost_usd"] = total


def large(exchanges: int, events: int) -> Traces:
    """Make a session of any size."""
    traces, chance = Traces(), random.Random(7)
    root = traces.session("A very long session", "build")
    each = events // exchanges
    for number in range(exchanges):
        exchange = traces.exchange(root, f"Prompt number {number + 1}: please go on with the next file")
        made = 1
        while made < each:
            traces.step(exchange, chance.randrange(1_000, 40_000), chance.uniform(0.001, 0.05))
            for _ in range(min(4, each - made - 1)):
                is_bad = chance.random() < 0.01
                traces.event(
                    exchange,
                    "tool",
                    "bash",
                    chance.choice(COMMANDS),
                    chance.uniform(20, 5_000),
                    status="failed" if is_bad else "ok",
                )
                made += 1
            traces.step_end()
            made += 1
        traces.now += chance.choice((20.0, 90.0, 3_600.0)) * SECOND
    _sum_up(traces)
    return traces


SCRIPT = "</script><script>window.probed = 'script'</script>"
IMAGE = "<img src=x onerror=\"window.probed = 'image'\">"
REMOTE = "![beacon](https://probe.invalid/a.png) [link](https://probe.invalid/b) <style>@import 'https://probe.invalid/c'</style>"
TURNED = "\u202eexe.txt \u2066fdp\u2069"


def hostile() -> Traces:
    """Make a session whose every text tries something."""
    bad = f"{SCRIPT}{IMAGE}{REMOTE}{TURNED} javascript:alert(1) {{{{constructor}}}} \x00\x07"
    traces = Traces()
    root = traces.session(bad, bad)
    exchange = traces.exchange(root, bad)
    traces.pieces[exchange["id"]][0]["attachments"] = [{"name": bad, "mime": bad, "size_bytes": 3}]
    traces.step(exchange)
    traces.event(
        exchange, "reasoning", takes=SECOND, text=f"{bad}\n```{bad}\n{bad}\n```\n# {bad}\n- {bad}\n> {bad}\n|{bad}|"
    )
    traces.event(
        exchange,
        "tool",
        bad,
        bad,
        SECOND,
        input=f'{{"a": {bad!r}}}',
        output=bad,
        diff=f"Index: {bad}\n+{bad}\n-{bad}\n@@ {bad}",
    )
    traces.event(
        exchange,
        "tool",
        "json",
        bad,
        SECOND,
        input='{"__proto__": {"x": "<img src=x onerror=1>"}, "constructor": "' + "\\u003cb\\u003e" + '"}',
    )
    traces.event(exchange, "tool", "long", "a megabyte", SECOND, output=f"{IMAGE}{'x' * 997}\n" * 1_000)
    traces.event(exchange, "__proto__", bad, bad, SECOND, text=bad)
    traces.event(exchange, "error", bad, bad, None, status="failed", text=bad, input=f'{{"name": {bad!r}}}')
    traces.event(
        exchange,
        "text",
        takes=SECOND,
        text=f"{bad}\n\n```html\n{bad}\n```\n\n1. {bad}\n\n{'`' * 5000}{'*' * 5000}{'[' * 5000}",
    )
    traces.step_end()
    traces.marks.append(
        {
            "kind": "loop",
            "exchange_id": exchange["id"],
            "events": [traces.events[-1]["id"]],
            "text": bad,
            "tokens": 1,
            "cost_usd": 0.1,
        }
    )
    _sum_up(traces)
    return traces


def running() -> Traces:
    """Make a session that works just now: the second exchange has no end yet."""
    traces, chance = Traces(is_running=True), random.Random(3)
    root = traces.session("Still at it", "build")
    _work(traces, traces.exchange(root, "First do this"), chance, 3)
    traces.now += 20 * MINUTE
    last = traces.exchange(root, "Then do that")
    _work(traces, last, chance, 2)
    last["status"] = "unfinished"
    _sum_up(traces)
    return traces


def deep(levels: int) -> Traces:
    """Make a tree of delegations, each inside the other, and one session that no recorded call started."""
    traces = Traces()
    session = traces.session("The top", "build")
    for level in range(1, levels):
        exchange = traces.exchange(session, f"Level {level}")
        traces.step(exchange)
        call = traces.event(exchange, "delegation", "task", f"Go to level {level + 1}", takes=None)
        session = traces.session(f"Session at level {level + 1}", "general", call, session)
    last = traces.exchange(session, "The bottom")
    traces.event(last, "error", "APIError", "Nothing below", None, status="failed", text="Nothing below")
    last["status"] = "failed"
    traces.session("Nobody called me", "explore", None, 0)
    loose = traces.exchange(len(traces.sessions) - 1, "Where do I come from?")
    traces.event(loose, "text", takes=SECOND, text="Not recorded.")
    _sum_up(traces)
    return traces


def partial() -> Traces:
    """Make the story as if it had too many events to be sent whole."""
    traces = story()
    traces.is_partial = True
    for exchange in traces.exchanges:
        prompts = (each["label"] for each in traces.events if each["exchange_id"] == exchange["id"])
        exchange["label"] = next(prompts, "")
    return traces


def empty() -> Traces:
    """Make a session in which nothing was said, and one exchange without any event."""
    traces = Traces()
    traces.session("Nothing here", "build")
    exchange = traces.exchange(0, None)
    exchange.update({"status": "unanswered", "kind": "none", "start_ms": None, "end_ms": None})
    return traces


def long(pieces: int) -> Traces:
    """Make one exchange with very many calls."""
    traces = Traces()
    exchange = traces.exchange(traces.session("One long exchange", "build"), "Go on until it works")
    for number in range(pieces):
        traces.event(exchange, "tool", "bash", f"call number {number + 1}", SECOND, input="{}", output="ok")
    _sum_up(traces)
    return traces


def grow(traces: Traces, serial: int) -> trace_viewer.Growth:
    """Let a running session gain five calls for each serial number so far, and return all of them."""
    chance = random.Random(serial)
    known = len(traces.events)
    last = traces.exchanges[-1]
    for _ in range(serial):
        traces.step(last)
        for _ in range(4):
            _tool(traces, last, chance)
        traces.step_end()
    return {
        "serial": serial,
        "version": "1",
        "events": traces.events[known:],
        "exchanges": [last],
        "sessions": [],
        "marks": None,
        "is_running": True,
    }

"""What happens in a corpus: families of sessions (a root, its child sessions, its forks), one after the other.

Everything is decided by random numbers of the plan's seed, but kinds of turns, shapes of families and fates in the
stores are dealt like cards, so that a small corpus holds some of each.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle

from tests.corpus.model import OLDEST_FIRST, Client, Json, Message, Part, Plan, Session, Store, Text, Usage

HUGE_BYTES = 5_000_000
MAX_TEXT_BYTES = 1_500_000
DAY_MS = 86_400_000

CLIENTS = {
    Store.JSON: (Client(Store.JSON, "1.1.65", True, True), Client(Store.JSON, "1.0.220", True, False)),
    Store.SQLITE: (Client(Store.SQLITE, "1.18.33", False, True), Client(Store.SQLITE, "1.2.27", False, False)),
    Store.SESSION_MESSAGE: (Client(Store.SESSION_MESSAGE, "2.0.4", False, False),),
}

# (provider, model), price of input, output, cached and written tokens in 1e-9 USD, whether it reports reasoning, weight
MODELS = (
    (("acme", "nova-large"), (3_000, 15_000, 300, 0), True, 8),
    (("acme", "nova-mini"), (150, 600, 75, 0), True, 4),
    (("borealis", "polar-opus-4.5"), (15_000, 75_000, 1_500, 18_750), False, 6),
    (("router", "vendor-x/model:free@2"), (0, 0, 0, 0), True, 1),
    (("local", "qwen3-coder"), (0, 0, 0, 0), False, 1),
)
AGENTS = ("build", "build", "build", "plan", "réviseur ☃")
SUBAGENTS = ("explore", "general", "tester")
PROJECTS = (
    ("/home/dev/src/shop-api", "git", None),
    ("/home/dev/src/web-ui", "git", "Web UI 🖥"),
    ("/home/dev/src/infra", "git", None),
    ("/home/dev/src/Prüfstand ☃ 測試", "git", "<b>Prüfstand</b>"),
    ("/home/dev/src/data pipeline", "git", None),
    ("/", None, None),
)
TITLES = ("Fix the cart total", "Rename price rounding", "Profile the build", "Theme colours", "Write the changelog")
HOSTILE_TITLES = (
    "<script>alert('title')</script>",
    "=1+1|cmd",
    "Line one\nline two\ttabbed",
    "'; DROP TABLE sessions; --",
    "\u202etitle in reverse\u202c 👩‍💻",
    "",
)
SLUGS = ("quiet-otter", "witty-cabin", "glowing-moon", "clever-rocket", "swift-eagle")

# A session in a tenth of the cases is a hundred times as long as in another tenth.
ROOT_PARTS_LOG_MEAN, ROOT_PARTS_LOG_SIGMA, MAX_ROOT_PARTS = 5.1, 1.35, 6_000
ANSWERS_PER_PROMPT, MAX_ANSWERS = 6.5, 40

# mean and spread of the logarithm of the length of texts
LENGTHS = {
    "prompt": (5.2, 1.3),
    "answer": (6.6, 1.0),
    "reasoning": (7.2, 1.0),
    "tool": (9.33, 0.93),
    "file": (10.2, 0.8),
    "short": (4.5, 0.5),
}

TURNS = (
    ["prompt"] * 9
    + ["delegation"] * 3
    + ["tool_errors", "two_steps"] * 2
    + ["no_usage", "failed", "aborted", "crash", "unanswered", "compaction", "shell", "command", "queued"]
    + ["attachment", "retried", "lost_parts", "lost_start", "negative", "hostile", "undone"]
)
ROW_TURNS = {"failed", "aborted", "crash", "unanswered", "compaction", "shell", "tool_errors", "attachment"}
ROW_TURNS |= {"hostile", "delegation", "no_usage"}
DELEGATIONS = ("one", "resumed", "parallel", "one", "deleted", "unknown")
SHAPES = ("plain", "fork", "plain", "fork_chain", "headless", "fork_of_part", "plain", "fork_continued")

TOOL_ERRORS = (
    ("read", "File not found: /home/dev/src/shop-api/missing.py"),
    ("edit", "Could not find oldString in the file. It must match exactly."),
    ("webfetch", "StatusCode: non 2xx status code (404 GET https://docs.example/nothing)"),
    ("bash", "The user has specified a rule which prevents you from using this specific tool call."),
)
MESSAGE_ERRORS: tuple[tuple[str, Json], ...] = (
    ("APIError", {"message": "Rate limit reached", "statusCode": 429, "isRetryable": True, "responseHeaders": {}}),
    ("APIError", {"message": "Overloaded", "statusCode": 529, "isRetryable": True, "responseBody": "{}"}),
    ("ProviderAuthError", {"providerID": "acme", "message": "API key is missing"}),
    ("ContextOverflowError", {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
    ("UnknownError", {"message": "The operation timed out."}),
)


@dataclass(frozen=True)
class Fate:
    """What became of a family in the stores.

    Attributes:
        eras: The stores that its clients wrote to, in turn; each holds copies of what came before.
        copied_to: A newer store that a migration copied it to and that no client continued.
        is_behind: `copied_to` has only the first half: the old client went on after the migration.
    """

    eras: tuple[Store, ...]
    copied_to: tuple[Store, ...] = ()
    is_behind: bool = False

    @property
    def name(self) -> str:
        """Describe it in a few words."""
        copied = f", copied to {self.copied_to[0]}" if self.copied_to else ""
        return " then ".join(self.eras) + copied + (" and continued in the old" if self.is_behind else "")


class Planner:
    """Plans the families of a corpus, one at a time; only the current one is in memory."""

    def __init__(self, plan: Plan) -> None:
        """Shuffle the decks."""
        self.plan = plan
        self.parts = 0
        self._texts = 0
        rng, fates = random.Random(f"decks:{plan.seed}"), _fates(plan.stores)
        self.turns = cycle(rng.sample(TURNS, len(TURNS)))
        self.fates = cycle(rng.sample(fates, len(fates)))
        self.shapes = cycle(SHAPES)
        self.delegations = cycle(DELEGATIONS)

    def families(self) -> Iterator[list[Session]]:
        """Plan families until there are enough parts; the big session comes second."""
        number = 0
        while self.parts < self.plan.parts:
            share = self.parts / self.plan.parts
            family = _Family(self, number, self.plan.start_ms + int(share * self.plan.days * DAY_MS))
            if number == 1 and self.plan.big_session_traces:
                family.grow_big(self.plan.big_session_traces)
            else:
                family.grow()
            number += 1
            self.parts += sum(len(message.parts) for session in family.sessions for message in session.messages)
            yield family.sessions

    def size(self, rng: random.Random, length: str) -> int:
        """Draw the length of a text in bytes, at least 1."""
        self._texts += 1
        drawn = min(rng.lognormvariate(*LENGTHS[length]), MAX_TEXT_BYTES)
        if length == "tool" and self._texts > self.plan.huge_part_every:
            self._texts = 0
            drawn = HUGE_BYTES
        return max(int(drawn * self.plan.text_scale), 1)


class _Family:
    """Grows one family of sessions. All its clocks are one: what happens later has a later time."""

    def __init__(self, planner: Planner, number: int, start_ms: int) -> None:
        """Draw what belongs to the whole family."""
        self.planner = planner
        self.number = number
        self.rng = random.Random(f"family:{planner.plan.seed}:{number}")
        self.now = start_ms + self.rng.randrange(3_600_000)
        self.sessions: list[Session] = []
        self.fate = next(planner.fates)
        self.shape = next(planner.shapes)
        # one family in five was begun by the other release that used the same store
        self.clients = [CLIENTS[store][number % 5 == 3 and len(CLIENTS[store]) > 1] for store in self.fate.eras]
        self.era = 0
        self.is_early = True
        self.stamps: dict[Store, int] = {}
        self.agent = self.rng.choice(AGENTS)
        self.project = self.rng.randrange(len(PROJECTS))
        self._serial = 0

    # --- families

    def grow(self) -> None:
        """Plan a root session of random length, with its child sessions and forks."""
        plan, rng = self.planner.plan, self.rng
        drawn = min(rng.lognormvariate(ROOT_PARTS_LOG_MEAN, ROOT_PARTS_LOG_SIGMA), MAX_ROOT_PARTS)
        budget = int(min(drawn, max(plan.parts // 10, 40), (plan.parts - self.planner.parts) / 2 + 10))
        root = self._session(self._title())
        if self.shape == "headless":
            self._headless(root)
        while (done := _size(root)) < budget or not self._is_last_era:
            if not self._is_last_era and done >= budget * (self.era + 1) / (len(self.fate.eras) + self.fate.is_behind):
                self._advance(root)
            self._turn(root, next(self.planner.turns))
        if self.shape.startswith("fork"):
            self._forks(root)
        self._settle()

    def grow_big(self, traces: int) -> None:
        """Plan one session of at least so many traces and nothing else; it stays where it was written."""
        self.fate = Fate(self.fate.eras[-1:])
        self.clients = self.clients[-1:]
        root = self._session("The long one")
        root.contents.append("big session")
        count, seen = 0, 0
        while count < traces:
            self._turn(root, "prompt" if self.rng.random() < 0.9 else "tool_errors")
            count += sum(_traces(message) for message in root.messages[seen:])
            seen = len(root.messages)
        self._settle()

    @property
    def client(self) -> Client:
        """The client in use now."""
        return self.clients[self.era]

    @property
    def is_rows_only(self) -> bool:
        """Tell whether the client writes `session_message` rows, which have no parts."""
        return self.client.store == Store.SESSION_MESSAGE

    @property
    def _is_last_era(self) -> bool:
        """Tell whether nothing more has to happen to the family's storage."""
        return self.era == len(self.fate.eras) - 1 and not (self.fate.is_behind and self.is_early)

    def _advance(self, root: Session) -> None:
        """Let a migration copy what there is; the next client, or the old one, goes on later."""
        self.now += self.rng.randint(3_600_000, 40_000_000)
        if self.era < len(self.fate.eras) - 1:
            self.era += 1
            self.stamps[self.fate.eras[self.era]] = self.now
        else:
            self.is_early = False
            self.stamps[self.fate.copied_to[0]] = self.now
            last = root.messages[-1]
            if last.type == "assistant" and last.completed_ms is not None and not (last.has_error or last.is_lost):
                last.stale_in = self.fate.copied_to[0]  # the migration saw it while it was being written
                root.contents.append("message that the copy has unfinished")
        self.now += self.rng.randint(600_000, 90_000_000)

    def _settle(self) -> None:
        """Say of every session and message which stores hold it."""
        for store in self.fate.copied_to:
            self.stamps.setdefault(store, self.now + 3_600_000)
        for session in self.sessions:
            session.stores = self._stores(session.era, session.is_early)
            session.migrated_ms = self.stamps
            session.contents.append(self.fate.name)
            for message in session.messages:
                message.stores = self._stores(message.era, message.is_early)
                if message.is_lost:
                    message.stores = message.stores[:1]

    def _stores(self, era: int, is_early: bool) -> tuple[Store, ...]:
        """List the stores that hold what was written in an era, oldest first."""
        copied = self.fate.copied_to if is_early or not self.fate.is_behind else ()
        return (*self.fate.eras[era:], *copied)

    # --- sessions

    def _session(self, title: str, **fields: str | None) -> Session:
        """Begin a session now."""
        worktree, vcs, _ = PROJECTS[self.project]
        self.now += self.rng.randint(200, 5_000)
        session = Session(
            session_id=self._id("ses"),
            project_id=project_id(self.planner.plan.seed, self.project),
            directory=worktree if vcs else "/home/dev/notes",
            title=title,
            slug=self.rng.choice(SLUGS),
            client=self.client,
            created_ms=self.now,
            is_archived=self.rng.random() < 0.05,
            era=self.era,
            is_early=self.is_early,
            parent_id=fields.get("parent_id"),
            fork_of=fields.get("fork_of"),
            fork_at=fields.get("fork_at"),
        )
        self.sessions.append(session)
        return session

    def _forks(self, root: Session) -> None:
        """Fork the root session as the family's shape says."""
        fork = self._fork(root, 1, is_whole=self.shape != "fork_of_part")
        if self.shape in ("fork_continued", "fork_chain"):
            self._turn(fork, "prompt")
            fork.contents.append("continued fork")
        if self.shape == "fork_chain":
            chained = self._fork(fork, 2, is_whole=True)
            chained.contents.append("fork of a fork")
            self._turn(chained, "two_steps")
            self._turn(root, "prompt")

    def _fork(self, origin: Session, number: int, *, is_whole: bool) -> Session:
        """Copy a session, or what is before one of its prompts, under new ids."""
        kept = [message for message in origin.messages if not message.is_lost]
        starts = [at for at, message in enumerate(kept) if message.type == "user" and at > 0]
        end = len(kept) if is_whole or not starts else self.rng.choice(starts)
        fork_at = kept[end].message_id if end < len(kept) else None
        self.now += 60_000
        fork = self._session(f"{origin.title} (fork #{number})", fork_of=origin.session_id, fork_at=fork_at)
        fork.contents.append("fork")
        new_ids: dict[str, str] = {}
        for message in kept[:end]:
            self.now += 1
            new_ids[message.message_id] = self._id("msg")
            fork.messages.append(
                replace(
                    message,
                    message_id=new_ids[message.message_id],
                    parent_id=new_ids.get(message.parent_id or "", message.parent_id),
                    parts=[self._copied(part) for part in message.parts],
                    origin=message.origin or message,
                    era=self.era,
                    is_early=self.is_early,
                    stale_in=None,
                )
            )
        return fork

    def _copied(self, part: Part) -> Part:
        """Copy a part under a new id that sorts after the one before."""
        self.now += 1
        return replace(part, part_id=self._id("prt"))

    def _child(self, parent: Session, prompt: Text, description: str, turns: int) -> Session:
        """Let a subagent work in a session of its own; it may delegate further."""
        agent = self.rng.choice(SUBAGENTS)
        child = self._session(f"{description} (@{agent} subagent)", parent_id=parent.session_id)
        is_nested = parent.parent_id is not None
        child.contents.append("nested child" if is_nested else "child")
        for turn in range(turns):
            user = self._user(child, prompt)
            self._answers(child, user, 1 + int(self.rng.expovariate(1 / 3)), agent=agent)
            if turn == 0 and not is_nested and self.rng.random() < 0.3:
                self._delegation(child)
        return child

    # --- turns

    def _turn(self, session: Session, kind: str) -> None:
        """Plan one turn of a kind, or of the nearest kind that the client in use knows."""
        if self.is_rows_only:
            known = (
                "failed aborted crash unanswered compaction shell tool_errors attachment hostile delegation no_usage"
            )
            kind = kind if kind in known.split() else "prompt"
        elif (kind == "undone" and self.client.store != Store.JSON) or (
            kind == "negative" and not self.client.is_reasoning_inside
        ):
            kind = "prompt"
        session.contents.append(kind)
        self.now += self.rng.randint(5_000, 900_000)
        getattr(self, f"_{kind}")(session)
        if self.is_rows_only:
            self._close_rows(session, kind)

    def _prompt(self, session: Session) -> None:
        """A prompt and its answers."""
        self._answers(session, self._user(session), self._answer_count())

    def _two_steps(self, session: Session) -> None:
        """An answer of two requests; the message keeps the tokens of the last and the cost of both."""
        user = self._user(session)
        self._answer(session, user, variant="two_steps")
        self._answers(session, user, self._answer_count())

    def _no_usage(self, session: Session) -> None:
        """An answer whose stream carried no usage."""
        self._answer(session, self._user(session), variant="no_usage")

    def _failed(self, session: Session) -> None:
        """A prompt whose last request failed."""
        user = self._user(session)
        for _ in range(self.rng.randint(0, 3)):
            self._answer(session, user, is_last=False)
        self._answer(session, user, variant="failed")

    def _aborted(self, session: Session) -> None:
        """A prompt that its user stopped."""
        user = self._user(session)
        self._answer(session, user, is_last=False)
        self._answer(session, user, variant="aborted")

    def _crash(self, session: Session) -> None:
        """A client that died while it answered."""
        user = self._user(session)
        self._answer(session, user, is_last=False)
        self._answer(session, user, variant="crash")

    def _unanswered(self, session: Session) -> None:
        """A prompt that nobody answered."""
        self._user(session)

    def _tool_errors(self, session: Session) -> None:
        """Tool calls that failed in every way."""
        user = self._user(session)
        self._answer(session, user, variant="tool_errors", is_last=False)
        self._answers(session, user, self._answer_count())

    def _retried(self, session: Session) -> None:
        """A request that was retried inside its message: two starts, one finish."""
        self._answer(session, self._user(session), variant="retried")

    def _lost_parts(self, session: Session) -> None:
        """An answer whose step parts are gone: its usage is only in the message."""
        self._answer(session, self._user(session), variant="lost_parts")

    def _lost_start(self, session: Session) -> None:
        """An answer whose step has an end and no start."""
        self._answer(session, self._user(session), variant="lost_start")

    def _negative(self, session: Session) -> None:
        """A provider that reports more cached than prompt tokens."""
        self._answer(session, self._user(session), variant="negative")

    def _hostile(self, session: Session) -> None:
        """Texts that attack whoever shows or exports them."""
        user = self._user(session, self._text("hostile", "prompt"))
        self._answer(session, user, variant="hostile")

    def _headless(self, session: Session) -> None:
        """Answers whose prompt is gone, before any other prompt."""
        session.contents.append("answers without a prompt")
        for number in range(2):
            answer = self._answer(session, None, is_last=number == 1)
            answer.opens_exchange = number == 0

    def _queued(self, session: Session) -> None:
        """Two prompts before the first answer."""
        users = [self._user(session), self._user(session)]
        for user in users:
            self._answers(session, user, self.rng.randint(1, 4))

    def _attachment(self, session: Session) -> None:
        """A prompt with an image, a file and a mentioned agent."""
        user = self._user(session)
        image = {"type": "file", "mime": "image/png", "filename": "shot 1.png"}
        self._part(user, "file", image, self._text("base64", "file"), "url")
        url = "file:///home/dev/src/web-ui/src/app.ts"
        self._part(user, "file", {"type": "file", "mime": "text/plain", "filename": "app.ts", "url": url})
        self._part(user, "agent", {"type": "agent", "name": "explore"})
        self._answer(session, user, variant="attachment", is_last=False)
        self._answers(session, user, self.rng.randint(1, 5))

    def _undone(self, session: Session) -> None:
        """A turn that was undone: its messages are gone, its parts stay behind and must not count."""
        user = self._user(session)
        for message in (user, self._answer(session, user)):
            message.is_lost = True
            message.opens_exchange = False

    def _shell(self, session: Session) -> None:
        """A command that the user ran with `!`."""
        if self.is_rows_only:
            is_first = self._is_closed(session)
            fields = {"shellID": "sh_1", "command": "git status", "status": "exited", "exit": 0}
            row = self._row(session, "shell", fields)
            row.completed_ms = self._later(50, 4_000)
            row.opens_exchange = is_first
            return
        user = self._user(session, "The following tool was executed by the user")
        answer = self._assistant(session, user, self._model(), self.agent)
        self._tool(answer, "bash", has_exit=False)
        answer.completed_ms = self._later(50, 4_000)

    def _command(self, session: Session) -> None:
        """A slash command that runs as subagent, and the request to sum its result up."""
        user = self._user(session, None)
        model = self._model()
        prompt = self._text("prose", "short")
        fields = {"type": "subtask", "agent": "general", "description": "Write the changelog", "command": "changelog"}
        self._part(user, "subtask", {**fields, "model": {"providerID": model[0][0], "modelID": model[0][1]}}, prompt)
        wrapper = self._assistant(session, user, model, "general")
        wrapper.fields["finish"] = "tool-calls"
        child = self._child(session, prompt, "Write the changelog", 1)
        self._task(wrapper, child.session_id, prompt)
        wrapper.completed_ms = self._later(10, 100)
        self._answer(session, self._user(session, "Summarize the task tool output above and continue with your task."))

    def _delegation(self, session: Session) -> None:
        """Answers that delegate: to a child, to the same child again, to one deleted since, to an unknown agent."""
        user = self._user(session)
        answer = self._assistant(session, user, self._model(), self.agent)
        self._open_step(answer)
        prompt = self._text("prose", "prompt")
        kind = next(self.planner.delegations)
        child = self._child(session, prompt, "Find the totals", 2 if kind == "resumed" else 1)
        self._task(answer, child.session_id, prompt)
        match kind:
            case "resumed":
                session.contents.append("resumed child")
                self._task(answer, child.session_id, prompt)
            case "parallel":
                session.contents.append("parallel children")
                self._task(answer, self._child(session, prompt, "Look again", 1).session_id, prompt)
            case "deleted":
                session.contents.append("deleted child")
                self._task(answer, self._id("ses"), prompt)
            case "unknown":
                session.contents.append("delegation to an unknown agent")
                self._task(answer, None, prompt)
        self._close_step(answer, self._usage(answer), "tool-calls")
        self._answers(session, user, self._answer_count())

    def _compaction(self, session: Session) -> None:
        """A context that was summed up, and the work that went on."""
        if self.is_rows_only:
            user = self._user(session)
            self._answer(session, user, is_last=False)
            self._compaction_row(session, "auto")
            self._row(session, "synthetic", {"text": "Continue if you have next steps"})
            self._answers(session, user, self.rng.randint(1, 3))
            return
        user = self._user(session, None)
        is_auto = self.rng.random() < 0.7
        self._part(user, "compaction", {"type": "compaction", "auto": is_auto})
        summary = self._answer(session, user, agent="compaction", variant="summary")
        summary.fields["summary"] = True
        if is_auto:
            self._answers(session, self._user(session, "Continue if you have next steps"), self.rng.randint(1, 6))

    # --- rows of 2.0

    def _row(self, session: Session, row_type: str, fields: Json) -> Message:
        """Add a `session_message` row that is no message of older clients."""
        self.now += self.rng.randint(1, 50)
        return self._message(session, row_type, fields)

    def _close_rows(self, session: Session, kind: str) -> None:
        """End a turn as 2.0 does, and now and then do what it does between turns."""
        if kind != "crash":
            outcome = {"failed": "failed", "aborted": "interrupted"}.get(kind, "succeeded")
            self._row(session, "idle", {"outcome": outcome})
        draw = self.rng.random()
        if draw < 0.1:
            self._row(session, "model-switched", {"model": {"id": "nova-mini", "providerID": "acme"}})
        elif draw < 0.2 and kind != "crash":
            self._compaction_row(session, "manual").opens_exchange = True
            session.contents.append("compaction between exchanges")

    def _compaction_row(self, session: Session, reason: str) -> Message:
        """Add a compaction: its usage is on no other row, and it names no model."""
        row = self._row(session, "compaction", {"status": "completed", "reason": reason, "summary": "", "recent": ""})
        self._part(row, "text", {}, self._text("prose", "answer"), "text")
        usage = self._usage(row)
        row.steps.append(usage)
        row.completed_ms = self._later(500, 20_000)
        return row

    def _is_closed(self, session: Session) -> bool:
        """Tell whether the last exchange of a session was closed by an idle row, with no work of the client since."""
        for message in reversed(session.messages):
            if message.type == "idle":
                return True
            if message.type in ("user", "assistant", "shell", "compaction"):
                return False
        return True

    # --- messages

    def _user(self, session: Session, text: Text | str | None = "") -> Message:
        """Add a user message: with a text, a synthetic one (given as str), a drawn one (""), or none (None)."""
        self.now += self.rng.randint(500, 3_000)
        provider, model = self._model()[0]
        fields = {"agent": self.agent, "model": {"providerID": provider, "modelID": model}}
        if self.client.store == Store.JSON:
            fields["summary"] = {"title": "A turn", "diffs": []}
        message = self._message(session, "user", fields)
        message.opens_exchange = True
        if isinstance(text, Text) or text == "":
            drawn = text or self._text("world" if self.rng.random() < 0.2 else "prose", "prompt")
            assert isinstance(drawn, Text)
            self._part(message, "text", {"type": "text"}, drawn, "text")
        elif text is not None:
            self._part(message, "text", {"type": "text", "text": text, "synthetic": True})
        return message

    def _answers(self, session: Session, user: Message, count: int, *, agent: str | None = None) -> None:
        """Add several answers to one prompt: all but the last call tools."""
        model = self._model()
        for number in range(count):
            self._answer(session, user, agent=agent, model=model, is_last=number == count - 1)

    def _answer(
        self,
        session: Session,
        user: Message | None,
        *,
        variant: str = "",
        agent: str | None = None,
        model: "_Model | None" = None,
        is_last: bool = True,
    ) -> Message:
        """Add one assistant message, of a variant that differs in its steps, tools or end."""
        message = self._assistant(session, user, model or self._model(), agent or self.agent)
        if variant == "failed":
            self._fail(message)
            return message
        if variant not in ("lost_parts", "lost_start"):
            self._open_step(message)
        if variant == "retried":
            self._open_step(message)
        if variant in ("aborted", "crash"):
            self._interrupt(message, is_crash=variant == "crash")
            return message
        if variant == "two_steps":
            self._tool(message)
            self._close_step(message, self._usage(message), "tool-calls")
            self._open_step(message)
        pool = "hostile" if variant == "hostile" else "prose"
        if self.rng.random() < 0.3:
            self._said(message, "reasoning", self._text("prose", "reasoning"))
        if is_last or self.rng.random() < 0.4:
            self._said(message, "text", self._text(pool, "answer"))
        if variant == "tool_errors":
            self._failing_tools(message)
        elif variant == "attachment":
            self._tool(message, "read", place="attachment")
        elif not is_last:
            for _ in range(1 + (self.rng.random() < 0.5) + (self.rng.random() < 0.35)):
                self._tool(message)
        finish = "stop" if is_last else "tool-calls"
        usage = self._usage(message, variant)
        if variant == "lost_parts":
            message.steps.append(usage)
            message.holds_usage_itself = True
            message.fields["finish"] = finish
            message.completed_ms = self._later(20, 200)
        else:
            self._close_step(message, usage, finish, is_counted=variant == "lost_start")
        return message

    def _assistant(self, session: Session, user: Message | None, model: "_Model", agent: str) -> Message:
        """Begin an assistant message."""
        self.now += self.rng.randint(20, 400)
        path = {"cwd": session.directory, "root": session.directory}
        message = self._message(session, "assistant", {"agent": agent, "mode": agent, "path": path})
        message.model = model[0]
        message.parent_id = user.message_id if user else self._id("msg")
        return message

    def _message(self, session: Session, message_type: str, fields: Json) -> Message:
        """Add a message that begins now."""
        message = Message(
            self._id("msg"), message_type, self.now, fields, era=self.era, is_early=self.is_early, client=self.client
        )
        session.messages.append(message)
        return message

    def _fail(self, message: Message) -> None:
        """End a message by an error: nothing was used as far as anybody recorded."""
        name, data = self.rng.choice(MESSAGE_ERRORS)
        self._set_error(message, name, data)
        if self.rng.random() < 0.5:
            self._open_step(message)
        message.completed_ms = self._later(200, 30_000)

    def _interrupt(self, message: Message, *, is_crash: bool) -> None:
        """End a message in the middle: stopped by its user, or for ever unfinished by a crash."""
        self._part(message, "text", self._timed("text", has_end=False), self._text("prose", "short"), "text")
        self._tool(message, "bash", status="running" if is_crash else "error")
        if is_crash:
            if self.rng.random() < 0.5:
                self._tool(message, "write", status="pending")
            return
        self._set_error(message, "MessageAbortedError", {"message": "The operation was aborted."})
        message.completed_ms = self._later(20, 200)

    def _set_error(self, message: Message, name: str, data: Json) -> None:
        """Note an error as the client in use does."""
        message.has_error = True
        if self.is_rows_only:
            error_type = "aborted" if name == "MessageAbortedError" else name
            message.fields["error"] = {"type": error_type, "message": data["message"]}
        else:
            message.fields["error"] = {"name": name, "data": data}

    # --- steps and parts

    def _open_step(self, message: Message) -> None:
        """Begin a request."""
        if not self.is_rows_only:
            self._part(
                message, "step-start", {"type": "step-start", "snapshot": "277c64de55d50029034c1a77b0942e49ea198d23"}
            )
            message.step_traces += 1

    def _close_step(self, message: Message, usage: Usage, finish: str, *, is_counted: bool = False) -> None:
        """End a request and note what it used. `is_counted`: it is a step of its own, as nothing opened it."""
        message.completed_ms = self._later(20, 300)
        message.fields["finish"] = finish
        message.steps.append(usage)
        message.step_traces += is_counted
        if not self.is_rows_only:
            body = {"type": "step-finish", "reason": finish, "cost": usage.cost_nano / 1e9, "tokens": tokens_of(usage)}
            self._part(message, "step-finish", body)
            if finish == "tool-calls" and self.rng.random() < 0.2:
                files = [f"/home/dev/src/shop-api/work/file_{self.rng.randrange(99)}.txt"]
                self._part(message, "patch", {"type": "patch", "hash": "c967" * 10, "files": files})

    def _said(self, message: Message, part_type: str, text: Text) -> None:
        """Add a text or a reasoning of a model."""
        self._part(message, part_type, self._timed(part_type), text, "text")

    def _timed(self, part_type: str, *, has_end: bool = True) -> Json:
        """Describe what a model says, with its times."""
        start = self.now
        self.now += self.rng.randint(100, 6_000)
        return {"type": part_type, "time": {"start": start, "end": self.now} if has_end else {"start": start}}

    def _tool(
        self, message: Message, name: str = "", *, status: str = "completed", has_exit: bool = True, place: str = ""
    ) -> None:
        """Add a tool call."""
        name = name or self.rng.choices(("bash", "read", "edit", "grep", "write", "docs_search"), (5, 6, 4, 3, 2, 1))[0]
        start, path = self.now, f"/home/dev/src/shop-api/src/module_{self.rng.randrange(400)}.py"
        self.now += self.rng.randint(20, 9_000)
        given: Json = {
            "bash": {"command": "make test", "description": "Run the tests"},
            "grep": {"pattern": "total", "include": "*.py"},
            "docs_search": {"query": "rounding"},
            "write": {"filePath": path},
            "edit": {"filePath": path, "oldString": "total = 0\n"},
        }.get(name, {"filePath": path})
        state: Json = {"status": status, "input": {} if status == "pending" else given}
        text, place = self._text("code", "tool"), place or ("input" if name in ("write", "edit") else "output")
        match status:
            case "pending":
                state["raw"], text, place = "", self._text("prose", "short"), ""
            case "running":
                state |= {"metadata": {"output": "started\n"}, "time": {"start": start}}
                place = ""
            case "error":
                state |= {"error": "Tool execution aborted", "time": {"start": start, "end": self.now}}
                place = ""
            case _:
                metadata: Json = {"truncated": False}
                if name == "bash" and has_exit:
                    metadata["exit"] = 0
                state |= {"title": path, "metadata": metadata, "time": {"start": start, "end": self.now}}
        if place == "attachment":
            text = self._text("base64", "file")
        self._call(message, name, state, text if place else None, place)

    def _failing_tools(self, message: Message) -> None:
        """Add failed calls: refused, exit code, no exit code, arguments that cannot be read."""
        tool, error = self.rng.choice(TOOL_ERRORS)
        times = {"start": self.now, "end": self.now + 40}
        prefix = "Error: " if self.client.store == Store.JSON else ""
        failed: Json = {"status": "error", "input": {"filePath": "x"}, "error": prefix + error, "time": times}
        self._call(message, tool, failed, None, "")
        for code in (self.rng.choice((1, 2, 127)), None):
            state: Json = {"status": "completed", "input": {"command": "make test"}, "title": "make test"}
            state |= {"metadata": {"exit": code, "truncated": False}, "time": times}
            self._call(message, "bash", state, self._text("code", "short"), "output")
        invalid: Json = {"status": "completed", "input": {"tool": "bash", "error": "JSON parsing failed"}, "title": ""}
        invalid |= {"metadata": {"truncated": False}, "time": times}
        self._call(message, "invalid", invalid, self._text("prose", "short"), "output")

    def _task(self, message: Message, child_id: str | None, prompt: Text) -> None:
        """Add the call that delegated to a child session; without a child it failed."""
        given: Json = {"subagent_type": "explore", "description": "Find the totals", "prompt": "Find the totals"}
        times = {"start": message.created_ms + 10, "end": self.now}
        if child_id is None:
            error = "Unknown agent type: ghost is not a valid agent type"
            self._call(message, "task", {"status": "error", "input": given, "error": error, "time": times}, None, "")
            return
        metadata = {"sessionId": child_id, "truncated": False}
        state: Json = {"status": "completed", "input": given, "title": "Find the totals"}
        self._call(message, "task", state | {"metadata": metadata, "time": times}, prompt, "output")

    def _call(self, message: Message, tool: str, state: Json, text: Text | None, place: str) -> None:
        """Add a tool part."""
        fields = {"type": "tool", "callID": f"call_{self.rng.getrandbits(40):010x}", "tool": tool, "state": state}
        self._part(message, "tool", fields, text, place)

    def _part(
        self, message: Message, part_type: str, fields: Json, text: Text | None = None, place: str = "prompt"
    ) -> None:
        """Add a part; its id sorts after those before it in its message."""
        self.now += 1
        message.parts.append(Part(self._id("prt"), part_type, fields, text, place))

    # --- values

    def _usage(self, message: Message, variant: str = "") -> Usage:
        """Draw the usage of one request, recorded the way the client in use does."""
        if variant == "no_usage":
            return Usage()
        rng, client = self.rng, self.client
        _, prices, has_reasoning, _ = next((entry for entry in MODELS if entry[0] == message.model), MODELS[0])
        new = int(min(rng.lognormvariate(7.2, 1.2), 150_000)) + 1
        cached = int(rng.random() * 120_000) if rng.random() < 0.7 else 0
        written = new // 2 if not has_reasoning else 0
        if variant == "negative":
            new, cached = -rng.randint(1, 400), cached + 500
        visible = int(min(rng.lognormvariate(5.8, 1.1), 30_000)) + 1
        reasoning = int(rng.lognormvariate(5.5, 1.0)) if has_reasoning and rng.random() < 0.5 else 0
        output = visible + reasoning if client.is_reasoning_inside else visible
        counts = (new, output + reasoning, cached, written)
        cost = sum(count * price for count, price in zip(counts, prices, strict=True))
        return Usage(new, output, reasoning, cached, written, cost, client.is_reasoning_inside, client.has_total)

    def _model(self) -> "_Model":
        """Draw a model."""
        return self.rng.choices(MODELS, [weight for *_, weight in MODELS])[0]

    def _answer_count(self) -> int:
        """Draw how many messages answer a prompt."""
        return min(1 + int(self.rng.expovariate(1 / ANSWERS_PER_PROMPT)), MAX_ANSWERS)

    def _text(self, pool: str, length: str) -> Text:
        """Draw a text."""
        return Text(pool, self.rng.getrandbits(30), self.planner.size(self.rng, length))

    def _title(self) -> str:
        """Draw a title, some of them hostile."""
        return self.rng.choice(HOSTILE_TITLES if self.rng.random() < 0.1 else TITLES)

    def _later(self, least_ms: int, most_ms: int) -> int:
        """Let time pass and return the time."""
        self.now += self.rng.randint(least_ms, most_ms)
        return self.now

    def _id(self, kind: str) -> str:
        """Make an id as OpenCode does: 36 bits of milliseconds, a counter, and 14 random characters."""
        self._serial += 1
        bits = (self.now % 2**36) << 12 | self._serial % 2**12
        if kind == "ses":
            bits ^= 2**48 - 1
        return f"{kind}_{bits:012x}{self.rng.getrandbits(56):014x}"


_Model = tuple[tuple[str, str], tuple[int, int, int, int], bool, int]


def project_id(seed: int, number: int) -> str:
    """Make the id of one of the projects; outside git it is a word."""
    return (
        "global"
        if PROJECTS[number][1] is None
        else f"{random.Random(f'project:{seed}:{number}').getrandbits(160):040x}"
    )


def tokens_of(usage: Usage) -> Json:
    """Write usage as OpenCode's token object."""
    cache = {"read": usage.cache_read, "write": usage.cache_write}
    found: Json = {"input": usage.input, "output": usage.output, "reasoning": usage.reasoning, "cache": cache}
    if usage.has_total:
        apart = 0 if usage.is_reasoning_inside else usage.reasoning
        found["total"] = usage.input + usage.output + usage.cache_read + usage.cache_write + apart
    return found


def _fates(stores: Sequence[Store]) -> list[Fate]:
    """List everything that can become of a family in some stores."""
    ordered = [store for store in OLDEST_FIRST if store in stores]
    fates = [Fate((store,)) for store in ordered]
    for old, new in combinations(ordered, 2):
        fates += [Fate((old, new)), Fate((old,), (new,)), Fate((old,), (new,), is_behind=True)]
    if len(ordered) == 3:
        fates += [Fate(tuple(ordered)), Fate(tuple(ordered[:2]), tuple(ordered[2:]))]
    return fates


def _size(session: Session) -> int:
    """Count the parts of a session so far."""
    return sum(len(message.parts) for message in session.messages)


def _traces(message: Message) -> int:
    """Count the traces of a message that is in the store it was written to."""
    if message.client and message.client.store == Store.SESSION_MESSAGE:
        return 1 + (len(message.parts) if message.type == "assistant" else 0) + message.has_error
    steps = sum(part.type in ("step-start", "step-finish") for part in message.parts)
    return len(message.parts) - steps + message.step_traces + message.has_error

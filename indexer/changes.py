"""What may have changed in OpenCode's storage: ids to look at, never contents.

To look at a document that did not change costs a read, so every watcher may name too much. None may name too little;
what one misses after all (lost events), the next comparison of everything finds.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Changes:
    """Documents to look at, in every storage that may hold them.

    Attributes:
        projects: Ids of projects.
        sessions: Ids of sessions whose own document changed.
        messages: Message id to session id of messages of which something changed, parts included. None: not known;
            empty: there are only parts.
        touched_sessions: Sessions of a database of which some rows changed: which ones, a comparison tells.
        is_everything: Changes were lost, or the storage was replaced: everything has to be compared.
    """

    projects: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    messages: dict[str, str | None] = field(default_factory=dict)
    touched_sessions: set[str] = field(default_factory=set)
    is_everything: bool = False

    def __bool__(self) -> bool:
        """Tell whether there is anything to look at."""
        return bool(self.projects or self.sessions or self.messages or self.touched_sessions or self.is_everything)

    def __len__(self) -> int:
        """Count the documents that are named."""
        return len(self.projects) + len(self.sessions) + len(self.messages) + len(self.touched_sessions)

    def add(self, other: "Changes") -> None:
        """Take in what another one names."""
        self.projects |= other.projects
        self.sessions |= other.sessions
        self.touched_sessions |= other.touched_sessions
        self.is_everything |= other.is_everything
        for message_id, session_id in other.messages.items():
            if session_id or message_id not in self.messages:
                self.messages[message_id] = session_id


class ChangeQueue:
    """Changes that wait to be looked at; what is named twice meanwhile is looked at once. Any thread may use it."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Begin empty.

        Args:
            clock: Milliseconds since 1970.
        """
        self._clock = clock
        self._news = threading.Condition()
        self._waiting = Changes()
        self._since_ms: int | None = None
        self._is_woken = False

    def put(self, changes: Changes) -> None:
        """Add changes."""
        if not changes:
            return
        with self._news:
            self._waiting.add(changes)
            self._since_ms = self._since_ms or self._clock()
            self._news.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something, or somebody ends the wait; tell whether there is something."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._is_woken, timeout_s)
            self._is_woken = False
            return bool(self._waiting)

    def wake(self) -> None:
        """End the wait of another thread, or its next one."""
        with self._news:
            self._is_woken = True
            self._news.notify_all()

    def take(self) -> tuple[Changes, int | None]:
        """Take everything out.

        Returns:
            The changes, and when the first of them was noticed, ms since 1970; None if there are none.
        """
        with self._news:
            taken, since_ms = self._waiting, self._since_ms
            self._waiting, self._since_ms = Changes(), None
            return taken, since_ms

    @property
    def waiting(self) -> tuple[int, int | None]:
        """Count what waits, and tell since when the oldest does."""
        with self._news:
            return len(self._waiting) + self._waiting.is_everything, self._since_ms

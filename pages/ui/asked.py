"""What a page asked of the index: the same can be asked of another revision, or with other filters."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from queries.period import Scope


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and what it is asked with.

    Attributes:
        query: A function of `queries`; its first parameter is the connection, which is not given here.
        args: What else it takes.
        kwargs: Alike.
    """

    query: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def of(self, scope: Scope, now: Scope) -> "Question | None":
        """Ask the same with other filters.

        Args:
            scope: The filters that it is about.
            now: Those to put in their place.

        Returns:
            None: it is not about these filters.
        """
        if scope not in self.args:
            return None
        return Question(self.query, tuple(now if each == scope else each for each in self.args), self.kwargs)


@dataclass(slots=True)
class Run:
    """What a page asked since its script began, its pieces included.

    Attributes:
        page: Its name.
        key: Names the revision of which its filters were. Empty, and no scope: it has not looked at filters.
        scope: What its filters said. None: it has not looked at them.
        questions: Each once, in the order in which they were asked; by a text that tells them apart.
        is_over: Whether another run took its place.
    """

    page: str
    key: str = ""
    scope: Scope | None = None
    questions: dict[str, Question] = field(default_factory=dict)
    is_over: bool = False

    def add(self, question: Question) -> None:
        """Note what is asked."""
        self.questions.setdefault(repr(question), question)

    def with_filters(self, key: str, now: Scope) -> Iterator[Question]:
        """Yield what the page will ask of a revision where its filters say something, as far as it was not asked yet.

        Args:
            key: Names the revision.
            now: The filters.
        """
        if self.scope is None or (self.key, self.scope) == (key, now):
            return
        for question in self.questions.values():
            if other := question.of(self.scope, now):
                yield other

"""Answers to what a page will ask of a newer revision, found while that is only offered."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import duckdb

log = logging.getLogger(__name__)

Question = Callable[[], object]

# Of the time: an indexer at work always has a newer revision to offer, and mostly nobody takes it.
_SHARE = 0.1


class Ahead:
    """Answers questions in a thread of its own, for a small share of the time. For all sessions of the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start nothing yet.

        Args:
            clock: In seconds; never goes back.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._is_busy = False
        self._rest_until = 0.0

    @property
    def is_busy(self) -> bool:
        """Tell whether questions are being answered."""
        with self._lock:
            return self._is_busy

    def answer(self, questions: Sequence[Question]) -> bool:
        """Answer questions, one after the other, without waiting for it. Who asks the same later finds it answered.

        Args:
            questions: Each keeps its answer where the page looks for it.

        Returns:
            False if it has to rest, or is at other ones: ask again in a while.
        """
        with self._lock:
            if self._is_busy or self._clock() < self._rest_until:
                return False
            self._is_busy = True
        threading.Thread(target=self._answer, args=(questions,), name="ahead").start()
        return True

    def _answer(self, questions: Sequence[Question]) -> None:
        """Answer questions, then rest."""
        started = self._clock()
        try:
            for question in questions:
                if not threading.main_thread().is_alive():
                    return  # the program ends, and waits for this thread
                try:
                    question()
                except duckdb.Error as error:  # the page that asks the same says what is wrong
                    log.info("not answered ahead: %s", error)
        finally:
            now = self._clock()
            with self._lock:
                self._rest_until = now + (now - started) * (1 / _SHARE - 1)
                self._is_busy = False

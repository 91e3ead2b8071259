"""Answers to what a page will ask, found by a thread of its own before or while the page asks."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import duckdb

log = logging.getLogger(__name__)

Ask = Callable[[], object]


class Ahead:
    """Answers questions in a thread of its own, for a share of the time. For all sessions of the process."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start nothing yet.

        Args:
            share: Of the time; it rests for the others. 1: it never does.
            clock: In seconds; never goes back.
        """
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._is_busy = False
        self._rest_until = 0.0

    @property
    def is_busy(self) -> bool:
        """Tell whether questions are being answered."""
        with self._lock:
            return self._is_busy

    def answer(self, questions: Sequence[Ask]) -> bool:
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

    def _answer(self, questions: Sequence[Ask]) -> None:
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
                self._rest_until = now + (now - started) * (1 / self._share - 1)
                self._is_busy = False

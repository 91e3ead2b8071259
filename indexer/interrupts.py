"""Ctrl-C, SIGTERM and a closed terminal, also while DuckDB computes.

What a handler raises then ends only the query, or gets lost.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_S = 0.02
_IMPORT_SYSTEM = "<frozen importlib"

_asked = threading.Event()


def ending_signals() -> list[signal.Signals]:
    """List the signals that ask a process to end: Ctrl-C, SIGTERM, and that of a closed terminal.

    Ctrl-C counts also where it is ignored: a shell without job control starts its background processes so. The
    terminal's does not: that is what `nohup` is for.
    """
    endings = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        endings.append(signal.SIGHUP)
    return endings


def stop_on_signals() -> None:
    """Make all that asks a process to end do so as Ctrl-C does, with everything closed in order."""
    _asked.clear()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        """Raise what Ctrl-C raises, and remember it."""
        _asked.set()
        if frame and frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            # Between taking the lock of all imports and the `try` that gives it back: to raise here would keep it for
            # ever, and the end of the process would wait for a thread that imports something.
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            return
        raise KeyboardInterrupt

    for ending in ending_signals():
        signal.signal(ending, interrupt)


def check() -> None:
    """Stop here, if that was asked for and did not get through. To be called now and then in the main thread.

    Raises:
        KeyboardInterrupt: So it is.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def told() -> Iterator[None]:
    """Let a query that ended because it was asked to stop be what it is: an interrupt, not a failure."""
    try:
        yield
    except RuntimeError as error:
        if _asked.is_set():
            raise KeyboardInterrupt from error
        raise

"""When threads that only look now and then wake up: together."""

import time


def until_next(period_s: float) -> float:
    """Return how long it is until the next moment that all threads with this period share.

    To wake a process that slept costs more than what most looks do: on a virtual machine several milliseconds.

    Args:
        period_s: Seconds from one such moment to the next.

    Returns:
        Seconds, more than 0 and at most the period.
    """
    return period_s - time.monotonic() % period_s

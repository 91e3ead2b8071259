"""How many processors there are to work with: counted here alone, for whatever runs several things at once."""

import os


def usable() -> int:
    """Count the processors that this process may use, at least one: a container may leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

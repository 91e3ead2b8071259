"""How many processors there are for this program."""

import os


def usable() -> int:
    """Count the processors that this process may use: fewer than the machine has, where it was bound to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

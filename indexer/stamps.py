"""Stamps: what documents look like from outside, so that unchanged ones are found without reading them.

The stamp of a file is made of its size, modification time and inode, and of its folder if that tells what it belongs
to; that of a row of its update time and place. The stamp of a message covers its parts. Two writes within the
resolution of the clock look the same, so what changed only just now has no stamp: it is looked at again.
"""

import os
import time
import zlib
from collections.abc import Iterable

# How long after a change its stamp says nothing. File systems count in steps of up to 2 s.
UNSETTLED_MS = 2_000
_BITS = 64


def of_file(status: os.stat_result, folder: str = "") -> int:
    """Return what a file looks like.

    Args:
        status: Of the file.
        folder: Name of its folder, if the document is another one elsewhere: who moves a file changes nothing in it.
    """
    place = zlib.crc32(os.fsencode(folder)) if folder else 0  # most files are parts, which have none
    # of numbers only: the same in every process
    return hash((status.st_size, status.st_mtime_ns, status.st_ino, place))


def combined(stamps: Iterable[int]) -> int:
    """Combine the stamps of several documents, in any order, into 64 bits, signed as a BIGINT is."""
    total = sum(hash((stamp, 1)) for stamp in stamps) % (1 << _BITS)
    return total - (1 << _BITS) if total >> (_BITS - 1) else total


def is_settled(changed_ms: int, now_ms: int | None = None) -> bool:
    """Tell whether the time of the last change is long enough ago, or impossible, for a stamp to be trusted.

    Args:
        changed_ms: Modification or update time, ms since 1970.
        now_ms: The time; None: now.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return abs(now_ms - changed_ms) > UNSETTLED_MS

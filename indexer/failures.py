"""What an error of DuckDB or of the operating system means for the index: damaged, not writable now, or a bug."""

import errno
import os
import shutil
from pathlib import Path

import duckdb

_FREE_SPACE = "Free some space"
# What the world outside may do to a write, and what mends it.
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "Raise the limit on the size of files",
    errno.EROFS: "Make its disk writable again",
    errno.EACCES: "Make its folder writable again",
    errno.EPERM: "Make its folder writable again",
    errno.EIO: "Check its disk",
    errno.ENOENT: "Put its folder back, or leave it: then a new index is built",
    errno.ESTALE: "Check the connection to its disk",
    errno.EMFILE: "Close other programs or raise the limit on open files",
    errno.ENFILE: "Close other programs or raise the limit on open files",
    errno.ENOMEM: "Free some memory",
}

# How DuckDB words it when a file does not hold what was written to it.
_SIGNS_OF_DAMAGE = (
    "not a valid DuckDB database file",
    "Could not read enough bytes",
    "Corrupt",
    "Failure while replaying WAL",
    "Serialization Error",
    "Failed to load metadata pointer",
)

# Errors of a statement or its values, whose words may be anything.
_OF_STATEMENTS = (duckdb.DataError, duckdb.IntegrityError, duckdb.ProgrammingError, duckdb.NotSupportedError)


def is_damage(error: BaseException) -> bool:
    """Say whether an error of DuckDB means that its file is damaged. What the world outside did to it is no damage."""
    if not isinstance(error, duckdb.Error) or isinstance(error, _OF_STATEMENTS) or _cause(error) is not None:
        return False
    return any(sign in str(error) for sign in _SIGNS_OF_DAMAGE)


def is_outside(error: BaseException) -> bool:
    """Say whether an error comes from the world outside: a full disk, say. Trying again later may succeed."""
    kinds = (OSError, duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException)
    return isinstance(error, kinds) or _cause(error) is not None


def is_temporary(error: OSError) -> bool:
    """Say whether an error of the system may pass by itself, unlike a folder that is not ours to write."""
    return error.errno in _REMEDIES and error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT)


def describe(error: BaseException, folder: Path) -> str:
    """Say what happened and what mends it, for a person."""
    cause = _cause(error)
    remedy = _REMEDIES.get(cause, "Mend that") if cause else "Mend that"
    space = f" ({_free_bytes(folder) / 1e6:,.0f} MB free)" if remedy == _FREE_SPACE else ""
    return f"{error}{space}. {remedy}: a running indexer goes on by itself, any other when it is started again."


def _cause(error: BaseException) -> int | None:
    """Return the system's number of an error that is not the index's own fault; None if it may be."""
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, duckdb.Error) and not isinstance(error, _OF_STATEMENTS):  # only the system's words are told
        return next((number for number in _REMEDIES if os.strerror(number) in str(error)), None)
    return None


def _free_bytes(folder: Path) -> int:
    """Return the free space of a folder's disk; 0 if it cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0

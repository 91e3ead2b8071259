"""What errors mean."""

import errno
import re
from pathlib import Path

import duckdb
import pytest

from indexer import failures


@pytest.mark.parametrize(
    ("error", "is_damage", "is_outside"),
    [
        (duckdb.IOException('IO Error: Could not write file "x": No space left on device'), False, True),
        (duckdb.TransactionException("Failed to commit: Could not write file: No space left on device"), False, True),
        (duckdb.TransactionException("Failed to commit: PRIMARY KEY or UNIQUE constraint violation"), False, False),
        (duckdb.IOException('Failure while replaying WAL file "x": Could not read: Is a directory'), True, True),
        (duckdb.IOException('Failure while replaying WAL file "x": Input/output error'), False, True),
        (duckdb.Error("Corrupt database file: computed checksum 1 does not match stored checksum 2"), True, False),
        (duckdb.Error('Failure while replaying WAL file "x": Corrupt WAL file'), True, False),
        (duckdb.ConversionException('Could not convert "Corrupt: No space left on device" to INT32'), False, False),
        (duckdb.ConstraintException("Corrupt"), False, False),
        (duckdb.OutOfMemoryException("failed to allocate data of size 16.0 MiB"), False, True),
        (OSError(errno.EROFS, "Read-only file system"), False, True),
        (ValueError("Corrupt"), False, False),
    ],
)
def test_failures_error_is_told_apart(error: Exception, is_damage: bool, is_outside: bool) -> None:
    """Damage, the world outside, or a bug."""
    assert (failures.is_damage(error), failures.is_outside(error)) == (is_damage, is_outside)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"\([\d,]+ MB free\)\. Free some space: a running indexer goes on by itself"),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "Make its disk writable again"),
        (errno.EIO, "Check its disk"),
        (errno.EXDEV, "Mend that"),
    ],
)
def test_describe_failure_names_what_mends_it(number: int, said: str, tmp_path: Path) -> None:
    """What happened, and what to do."""
    text = failures.describe(OSError(number, "words"), tmp_path / "gone" if number == errno.EDQUOT else tmp_path)

    assert re.search(said, text)


def test_is_temporary_refused_for_good_is_not() -> None:
    """Waiting does not help against missing rights."""
    assert failures.is_temporary(OSError(errno.ENOSPC, "full"))
    assert not failures.is_temporary(OSError(errno.EACCES, "not yours"))
    assert not failures.is_temporary(OSError(errno.EEXIST, "there"))

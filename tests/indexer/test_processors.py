"""How many processors there are for this program."""

import os

import pytest

from indexer import processors


def test_usable_process_bound_to_some_counts_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container, or `taskset`, may leave two of 64 to it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)

    assert processors.usable() == 2


@pytest.mark.parametrize(("count", "usable"), [(8, 8), (None, 1)])
def test_usable_system_that_binds_nothing_counts_all(
    count: int | None, usable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows and macOS tell only how many there are, or nothing."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)

    assert processors.usable() == usable

"""How many processors there are to work with."""

import os

import pytest

from indexer import processors


def test_usable_fewer_than_the_machine_has_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, or under `taskset`."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)

    assert processors.usable() == 2


@pytest.mark.parametrize(("counted", "expected"), [(8, 8), (None, 1)])
def test_usable_system_that_tells_no_share_has_all(
    counted: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS and Windows; one at least, where even that is not told."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)

    assert processors.usable() == expected

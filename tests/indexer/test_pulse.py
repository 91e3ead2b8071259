"""Moments that threads share."""

import time

import pytest

from indexer.pulse import until_next


@pytest.mark.parametrize(("now", "expected"), [(1_000.0, 5.0), (1_001.5, 3.5), (1_004.75, 0.25)])
def test_until_next_any_moment_ends_at_a_multiple(now: float, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks at another time waits for the same moment; at that moment, for the next one."""
    monkeypatch.setattr(time, "monotonic", lambda: now)

    assert until_next(5.0) == expected

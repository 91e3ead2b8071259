"""Sessions made by hand whose prices are easy to reckon with."""

from pathlib import Path
from typing import Any

import pytest

from tests.builders import START_MS, Doc, assistant, part, tokens

MINUTE_MS = 60_000
# USD a million tokens
SETTINGS = """
[[prices.models]]
provider = "acme"
model = "nova"
input = 4
output = 20
cache_read = 1
cache_write = 5

[[prices.models]]
provider = "acme"
model = "mini"
input = 2
output = 8
cache_read = 1
"""


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the models acme/nova and acme/mini list prices."""
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(path))


def request(
    number: int,
    *,
    read: int = 0,
    write: int = 0,
    input: int = 0,
    output: int = 0,
    minute: float | None = None,
    session_id: str = "ses_1",
    **fields: Any,
) -> Doc:
    """Make an answer of one request: one a minute, by number, unless it says when."""
    at = START_MS + round((number if minute is None else minute) * MINUTE_MS)
    usage = tokens(input=input, output=output, cache_read=read, cache_write=write)
    return assistant(f"msg_{number:03}", session_id, created=at, completed=at + 1_000, usage=usage, **fields)


def output(part_id: str, size: int, number: int, tool: str = "bash", session_id: str = "ses_1") -> Doc:
    """Make a call of the answer with a number, which gave back so many bytes."""
    state = {"status": "completed", "input": {"command": "git status"}, "output": "x" * size}
    return part(part_id, "tool", f"msg_{number:03}", session_id, tool=tool, callID=part_id, state=state)

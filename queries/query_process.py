"""The process of one query of the user's own: index and seconds as arguments, the query on standard input.

For `queries.apart` only, which reads the answer on the output. Unlike the dashboard it may hang, grow or crash.
"""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from indexer.exceptions import IndexUnavailable
from indexer.published import open_apart
from queries import console
from queries.console import Answer, Refusal

_MAX_MEMORY_BYTES = 1 << 30  # DuckDB keeps half of it; the other half is what it does not count, such as long texts


def main() -> None:
    """Answer the query on standard input."""
    index, max_s = sys.argv[1:]
    found = _answer(Path(index), sys.stdin.buffer.read().decode("utf-8"), float(max_s))
    sys.stdout.buffer.write(console.pack(found))


def _answer(index: Path, query: str, max_s: float) -> Answer | Refusal:
    """Run a query on what is published now."""
    try:
        snapshot = open_apart(index)
    except IndexUnavailable as error:
        return Refusal(str(error))
    with closing(snapshot.cursor()) as con, _fence(max_s):
        return console.answer(con, query, max_s=max_s)


@contextmanager
def _fence(max_s: float) -> Iterator[None]:
    """Let the operating system refuse what nothing else here could: writing a file, much memory, running on for ever.

    The limit on time is for a process whose parent is gone.
    """
    if sys.platform == "win32":  # it has no such limits
        yield
        return
    import resource

    limits = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_DATA: _MAX_MEMORY_BYTES,
        resource.RLIMIT_CPU: round(4 * max_s) + 60,
    }
    before = {which: resource.getrlimit(which) for which in limits}
    for which, most in limits.items():
        soft, hard = before[which]
        is_wider = hard != resource.RLIM_INFINITY and most > hard
        resource.setrlimit(which, (soft if is_wider else most, hard))
    try:
        yield
    finally:
        for which, limit in before.items():
            resource.setrlimit(which, limit)


if __name__ == "__main__":
    main()

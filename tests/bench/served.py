"""The dashboard as a process that notes what it does: `python -m tests.bench.served LOG [again] COMMAND ...`.

The product has no hooks for this: the connections that pages get, and the function that runs a script, are wrapped
here; then the command, `python -m streamlit ...`, is run in this process. With `again` every statement is run once more
right after the first time, on the same revision, after the page got its rows.

LOG gets a JSON object a line: the process at first, then each statement and each run of a script.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from unittest import mock

import duckdb
from streamlit.runtime.scriptrunner import RerunException, ScriptRunContext, script_runner
from streamlit.web import cli

from indexer.published import Snapshot
from queries.rows import KNOWN_HITS

AGAIN = "again"
_FETCHING = "queries.rows"  # runs the statements of the others
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Statement:
    """One statement of a page.

    Attributes:
        at: When it began, on the clock that all processes share.
        thread: In which; every run of a script has one of its own.
        query: The function of `queries` that issued it.
        is_search: Whether it looks for a text.
        ms: To run it and to fetch its rows.
        again_ms: The same once more. None: it was not run again.
    """

    at: float
    thread: int
    query: str
    is_search: bool
    ms: float = 0.0
    again_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a script.

    Attributes:
        at: When it began, on the clock that all processes share.
        thread: In which.
        is_fragment: Whether only a piece of the page ran.
        is_cut_short: Whether it gave way to another run before its end.
        ms: How long it took.
        cpu_ms: Processor time of the whole server meanwhile.
    """

    at: float
    thread: int
    is_fragment: bool
    is_cut_short: bool
    ms: float
    cpu_ms: float

    @property
    def until(self) -> float:
        """Return when it ended, on the same clock."""
        return self.at + self.ms / 1_000


class Notes:
    """Writes what happens to the log."""

    def __init__(self, log: Path, *, is_run_again: bool) -> None:
        """Open the log, and name the process in it."""
        self.is_run_again = is_run_again
        self._file = log.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self.add("process", {"pid": os.getpid()})

    def add(self, kind: str, values: Mapping[str, object]) -> None:
        """Write one line."""
        with self._lock:
            self._file.write(json.dumps({"kind": kind, **values}) + "\n")
            self._file.flush()

    def cursor(self, original: Callable[[Snapshot], duckdb.DuckDBPyConnection]) -> Callable[[Snapshot], "Cursor"]:
        """Wrap `Snapshot.cursor`."""
        return lambda snapshot: Cursor(original(snapshot), self)

    def exec_func(self, original: Callable[..., Answer]) -> Callable[[Callable[[], None], ScriptRunContext], Answer]:
        """Wrap the function by which Streamlit runs a script."""

        def wrapped(script: Callable[[], None], context: ScriptRunContext) -> Answer:
            """Run it, and note what it took."""
            is_cut_short = False

            def noticing() -> None:
                """Run it, and see whether it gives way."""
                nonlocal is_cut_short
                try:
                    script()
                except RerunException:
                    is_cut_short = True
                    raise

            at, cpu_s = time.monotonic(), time.process_time()
            try:
                return original(noticing, context)
            finally:
                ms, cpu_ms = 1_000 * (time.monotonic() - at), 1_000 * (time.process_time() - cpu_s)
                is_fragment = bool(context.fragment_ids_this_run)
                self.add("run", asdict(Run(at, threading.get_ident(), is_fragment, is_cut_short, ms, cpu_ms)))

        return wrapped


class Cursor:
    """A connection that times its statements, from `execute` to the last fetched row; all else is passed on."""

    def __init__(self, con: duckdb.DuckDBPyConnection, notes: Notes, thread: int | None = None) -> None:
        """Wrap a connection.

        Args:
            con: The connection.
            notes: Takes the statements.
            thread: Of the run that they belong to. None: the one that issues them.
        """
        self._con = con
        self._notes = notes
        self._thread = thread
        self._statement: Statement | None = None
        self._again: Callable[[duckdb.DuckDBPyConnection], object] = lambda con: None

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None) -> "Cursor":
        """Run a statement; its rows are fetched from what is returned."""
        self._begin(sql, parameters)
        self._again = lambda con: con.execute(sql, parameters).fetchall()
        with self._timed():
            self._con.execute(sql, parameters)
        return self

    def sql(self, sql: str, params: Mapping[str, object]) -> "Relation":
        """Prepare a statement that runs when its rows are fetched."""
        self._begin(sql, params)
        self._again = lambda con: con.sql(sql, params=params).to_arrow_table()
        with self._timed():
            return Relation(self._con.sql(sql, params=params), self._timed)

    def cursor(self) -> "Cursor":
        """Return one more connection, whose statements belong to the same run."""
        return Cursor(self._con.cursor(), self._notes, self._thread or threading.get_ident())

    def close(self) -> None:
        """Note the last statement and close the connection."""
        self._end()
        self._con.close()

    def __getattr__(self, name: str) -> Any:
        """Pass on what is not timed itself; what is called may fetch."""
        return _timing(getattr(self._con, name), self._timed)

    def _begin(self, sql: str, parameters: Mapping[str, object] | None) -> None:
        """Begin a statement; the one before is over."""
        self._end()
        is_search = KNOWN_HITS in sql or bool(parameters and parameters.get("text"))
        thread = self._thread or threading.get_ident()
        self._statement = Statement(time.monotonic(), thread, _query(sys._getframe(2)), is_search)

    def _end(self) -> None:
        """Note a statement that is over."""
        statement, self._statement = self._statement, None
        if statement is None:
            return
        if self._notes.is_run_again:
            con = self._con.cursor()
            con.execute("USE index_db")  # not inherited
            started = time.perf_counter()
            self._again(con)
            statement.again_ms = 1_000 * (time.perf_counter() - started)
            con.close()
        self._notes.add("statement", asdict(statement))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time of a block to the statement."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._statement is not None:
                self._statement.ms += 1_000 * (time.perf_counter() - started)


class Relation:
    """The rows of a statement that is not run yet, timed like those of a cursor."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, timed: Callable[[], Any]) -> None:
        """Wrap a relation; `timed` counts to its statement."""
        self._relation = relation
        self._timed = timed

    def __getattr__(self, name: str) -> Any:
        """Pass everything on."""
        return _timing(getattr(self._relation, name), self._timed)


def _timing(found: Any, timed: Callable[[], Any]) -> Any:
    """Wrap a method so that its calls are timed; return any other attribute as it is."""
    if not callable(found):
        return found

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        """Call it."""
        with timed():
            return found(*args, **kwargs)

    return wrapped


def _query(frame: FrameType | None) -> str:
    """Name the function of `queries` that a call comes from."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("queries.") and module != _FETCHING:
            return f"{module.removeprefix('queries.')}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


def main(arguments: list[str]) -> None:
    """Wrap what is to be noted, and serve."""
    log, *rest = arguments
    is_run_again = rest[0] == AGAIN
    notes = Notes(Path(log), is_run_again=is_run_again)
    sys.argv = rest[rest.index("streamlit") :]
    run_script = "exec_func_with_error_handling"
    with (
        mock.patch.object(Snapshot, "cursor", notes.cursor(Snapshot.cursor)),
        mock.patch.object(script_runner, run_script, notes.exec_func(getattr(script_runner, run_script))),
    ):
        cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])

"""The queries over the small tables say what the plain ones say over messages and parts, under any filters."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import duckdb
import pytest

from indexer import bulk_loader, sample
from indexer.database import Database
from indexer.publish import Publisher
from indexer.published import IndexReader
from queries import costs, narrow
from queries.errors import ErrorEvent, newest_errors
from queries.health import names
from queries.overview import Activity, overview
from queries.period import Period, Scope
from queries.rows import fetch_row, fetch_rows
from queries.sessions import SORTS, SessionRow, SessionsTotal, session_list, session_rows
from queries.tools import FEW_CALLS, ToolSpeed, slowest_tools
from tests.builders import START_MS, Doc, assistant, session, user
from tests.conftest import OpenIndex
from tests.corpus import STORES, Plan, write
from tests.queries import plain

Generated = Callable[[str], duckdb.DuckDBPyConnection]

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")
SCOPES = range(4)  # seeds; the first is everything
QUARTER = timedelta(minutes=15)
ABORTED = ["MessageAbortedError", "aborted"]  # errors of answers that the user cut short


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """Open the index of a generated history, by the name of its stores."""
    readers: dict[str, IndexReader] = {}
    patch = pytest.MonkeyPatch()
    patch.setenv("OPENCODE_CONFIG", str(sample.CONFIGURATION))  # prices of some of its models

    def open_stores(stores: str) -> duckdb.DuckDBPyConnection:
        """Write and index the history unless that was done before, and return a connection."""
        if stores not in readers:
            folder = tmp_path_factory.mktemp(stores)
            write(Plan(1_500, stores=STORES[stores], text_scale=0.02), folder / "opencode")
            readers[stores] = IndexReader(_indexed(folder))
        return readers[stores].connection()

    yield open_stores
    patch.undo()
    for reader in readers.values():
        reader.close()


def _indexed(folder: Path) -> Path:
    """Index the history in a folder."""
    path = folder / "index.duckdb"
    with Database.open(path) as database:
        publisher = Publisher(database)
        bulk_loader.load(database, publisher, bulk_loader.find_sources([folder / "opencode"]))
        publisher.close()
    return path


def random_scope(con: duckdb.DuckDBPyConnection, seed: int) -> Scope:
    """Choose some of what is in an index."""
    random = Random(seed)
    if not seed:
        return Scope(tz="Europe/Berlin")
    known = names(con)
    projects = [project.project_id for project in known.projects]
    return Scope(
        tz=random.choice(ZONES),
        period=random.choice([Period(), _period(con, random)]),
        agents=_some(random, [*known.agents, "unknown"]),
        models=_some(random, [*known.models, "unknown/unknown"]),
        projects=_some(random, projects),
        text=random.choice(["", "", "", "the"]),
        first_weekday=random.randrange(7),
    )


def _some(random: Random, values: list[str]) -> tuple[str, ...]:
    """Choose some values, or none, which means all."""
    return tuple(random.sample(values, random.choice([0, 0, 1, min(2, len(values))])))


def _period(con: duckdb.DuckDBPyConnection, random: Random) -> Period:
    """Choose a stretch of what is there, from and to quarters of an hour; a side may be open."""
    first, last = con.execute("SELECT min(created_at), max(created_at) FROM messages").fetchone() or (None, None)
    quarters = (last - first) // QUARTER
    start, end = sorted(_floored(first + QUARTER * random.randrange(quarters)) for _ in range(2))
    return random.choice([Period(start, end), Period(start, None), Period(None, end)])


def _floored(moment: datetime) -> datetime:
    """Return the begin of the quarter of an hour that a moment is in."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


@pytest.fixture(
    params=[(stores, seed) for stores in STORES for seed in SCOPES], ids=lambda each: f"{each[0]}-{each[1]}"
)
def scoped(request: pytest.FixtureRequest, generated: Generated) -> tuple[duckdb.DuckDBPyConnection, Scope]:
    """Give an index of each generation and a scope of it."""
    stores, seed = request.param
    con = generated(stores)
    return con, random_scope(con, seed)


def test_cost_totals_equal_the_messages(scoped: tuple[duckdb.DuckDBPyConnection, Scope]) -> None:
    """Every total, to the decimal."""
    con, scope = scoped

    assert costs.cost_totals(con, scope) == fetch_row(con, plain.TOTALS, narrow.values(scope), costs.CostTotals)


def test_cost_rows_equal_the_messages(scoped: tuple[duckdb.DuckDBPyConnection, Scope]) -> None:
    """Every grouping, in the same order; days are local also where an offset is no whole hour."""
    con, scope = scoped
    values = {**narrow.values(scope), "limit": None, "offset": 0, "aborted": ABORTED}

    for by in costs.GROUPINGS:
        assert costs.cost_rows(con, by, scope) == fetch_rows(con, plain.ROWS[by], values, costs.CostRow)


@pytest.mark.parametrize("step", costs.STEPS)
def test_cost_series_equals_the_messages(scoped: tuple[duckdb.DuckDBPyConnection, Scope], step: str) -> None:
    """Every point of every line."""
    con, scope = scoped
    values = {**narrow.values(scope), "step": step}

    for dimension in costs.DIMENSIONS:
        truth = fetch_rows(con, plain.SERIES[dimension], values, costs.CostPoint)
        assert costs.cost_series(con, dimension, step, scope) == truth


def test_overview_equals_the_messages(scoped: tuple[duckdb.DuckDBPyConnection, Scope]) -> None:
    """A scope and the stretch before it, in all and by agent."""
    con, scope = scoped
    start = scope.period.start
    before = Period(start - QUARTER * 500, start) if start else None
    both = {
        **narrow.values(scope),
        "start": before.start if before else start,
        "now_start": start,
        "before_end": start,
        "aborted": ABORTED,
    }
    truth = fetch_rows(con, plain.ACTIVITY, both, Activity)

    found = overview(con, scope, before)

    assert {row.agent: row for row in found.agents} == {
        row.agent: row for row in truth if row.agent and not row.is_before
    }
    whole = {row.is_before: row for row in truth if row.agent is None}
    assert found.before == whole.get(True)
    assert found.now.sessions == 0 if False not in whole else found.now == whole[False]


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "each"])
def test_session_list_total_equals_the_messages(scoped: tuple[duckdb.DuckDBPyConnection, Scope], fold: bool) -> None:
    """Which sessions match, and what of them."""
    con, scope = scoped
    values = {**narrow.values(scope), "fold": fold}

    found = session_list(con, scope, fold, "newest", 1)

    assert found.total == fetch_row(con, plain.SESSIONS_TOTAL, values, SessionsTotal)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "each"])
def test_session_rows_equal_the_messages(scoped: tuple[duckdb.DuckDBPyConnection, Scope], fold: bool) -> None:
    """Every row in every order, the place where a text was found left out."""
    con, scope = scoped

    for sort in SORTS:
        assert _without_hits(session_rows(con, scope, fold, sort)) == _plain_sessions(con, scope, fold, sort)


def _without_hits(rows: list[SessionRow]) -> list[tuple[object, ...]]:
    """Return all but where a text was found."""
    return [tuple(getattr(row, name) for name in _SESSION_FIELDS) for row in rows]


def _plain_sessions(con: duckdb.DuckDBPyConnection, scope: Scope, fold: bool, sort: str) -> list[tuple[object, ...]]:
    """List sessions by the plain query."""
    values = {**narrow.values(scope), "fold": fold, "limit": None, "offset": 0, "aborted": ABORTED}
    sql = plain.SESSIONS[sort]
    cursor = con.execute(sql, {name: value for name, value in values.items() if f"${name}" in sql})
    columns = [column[0] for column in cursor.description or []]
    places = [columns.index(name) for name in _SESSION_FIELDS]
    return [tuple(row[place] for place in places) for row in cursor.fetchall()]


_SESSION_FIELDS = [field.name for field in fields(SessionRow) if field.name not in ("hit", "hit_place")]


def test_slowest_tools_equal_the_parts(scoped: tuple[duckdb.DuckDBPyConnection, Scope]) -> None:
    """Calls, failures and the exact percentile."""
    con, scope = scoped
    values = {**narrow.values(scope), "limit": None, "few": FEW_CALLS}

    assert slowest_tools(con, scope) == fetch_rows(con, plain.SLOWEST, values, ToolSpeed)


@pytest.mark.parametrize("limit", [None, 5])
def test_newest_errors_equal_the_parts(scoped: tuple[duckdb.DuckDBPyConnection, Scope], limit: int | None) -> None:
    """The same errors with the same words, in the same order."""
    con, scope = scoped
    values = {**narrow.values(scope), "limit": limit, "aborted": ABORTED}

    assert newest_errors(con, scope, limit) == fetch_rows(con, plain.NEWEST, values, ErrorEvent)


@pytest.mark.parametrize("stores", STORES)
def test_cost_ranks_equal_the_messages(stores: str, generated: Generated) -> None:
    """Colours stay where they were."""
    con = generated(stores)

    for dimension in costs.DIMENSIONS:
        truth = fetch_rows(con, plain.RANKS[dimension], {}, costs.RankedKey)
        assert costs.cost_ranks(con, dimension) == truth


@pytest.mark.parametrize("stores", STORES)
def test_names_equal_the_messages(stores: str, generated: Generated) -> None:
    """All names in the same order."""
    con = generated(stores)

    found = names(con)

    assert list(found.agents) == [name for (name,) in con.execute(plain.AGENTS).fetchall()]
    assert list(found.models) == [name for (name,) in con.execute(plain.MODELS).fetchall()]


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "each"])
def test_session_rows_damaged_trees_equal_the_climb(fold: bool, open_index: OpenIndex) -> None:
    """Circles, what hangs below them, missing parents, sessions without messages: no session is lost."""
    parents = {"a": "c", "b": "a", "c": "b", "d": "a", "e": "e", "f": "nobody", "g": "f", "h": None, "i": "h", "j": "i"}
    con = open_index(*(doc for name, parent in parents.items() for doc in _conversation(name, parent)))

    for scope in (Scope(), Scope(agents=("plan",)), Scope(agents=("build",))):
        for sort in SORTS:
            assert _without_hits(session_rows(con, scope, fold, sort)) == _plain_sessions(con, scope, fold, sort)


def _conversation(name: str, parent: str | None) -> list[Doc]:
    """Make a session with a prompt and an answer; every third one is empty."""
    number = ord(name) - ord("a")
    at = START_MS + number * 1_000_000
    docs = [session(f"ses_{name}", created=at, parentID=f"ses_{parent}" if parent else None)]
    if number % 3:
        docs.append(user(f"msg_{name}1", f"ses_{name}", created=at, agent="plan"))
        docs.append(assistant(f"msg_{name}2", f"ses_{name}", created=at + 1_000, cost=number))
    return docs


@pytest.mark.parametrize(
    "scope", [Scope(), Scope(text="x"), Scope(projects=("p",)), Scope(agents=("a",), models=("m",))]
)
def test_narrowed_leaves_out_what_is_not_set(scope: Scope) -> None:
    """Only the filters that are set are asked for, each with a value."""
    sql = narrow.narrowed(f"WITH {narrow.HITS}, {narrow.SLICED} SELECT * FROM sliced", scope)

    asked = {name for name in narrow.values(scope) if f"${name}" in sql}
    assert asked == {name for name, value in narrow.values(scope).items() if value} - {"tz"}

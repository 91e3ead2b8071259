"""The queries that are measured: the very functions that the pages call, asked what is hardest for them.

The only part of the indexer that knows the dashboard's queries.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import duckdb

from indexer import published
from indexer.benchmarks import story
from queries import (
    activity,
    benchmarks,
    budgets,
    cache,
    cache_report,
    code_changes,
    context_rent,
    contract,
    costs,
    data_quality,
    errors,
    failures,
    forecasts,
    health,
    indexing,
    ledger,
    narrow,
    overview,
    session_dump,
    session_figures,
    session_stamp,
    sessions,
    speeds,
    timeline,
    tool_reports,
    tools,
    transcript,
    tree_costs,
    waste,
    what_if,
)
from queries.period import Period, Scope, before, preset

TZ = "Europe/Berlin"
PAGE_ROWS = 100
_MEASURED = "cost_totals: all time"  # a query that every benchmark measures
_EVERY_PAGE = "every page"
_ANY = failures.Choice()
_TOOL = "bash"  # the one that is called most, nearly everywhere


@dataclass(frozen=True, slots=True)
class Subjects:
    """What the queries are asked about.

    Attributes:
        everything: No filter.
        month: The 30 days to the newest message.
        month_before: The 30 days before those.
        history_at: Twelve weeks before the newest message: what budgets look back on.
        agent: The month of the most used agent.
        text: Everything that holds a word.
        biggest: The session with most events, and those below it.
        typical: The session with the median number of events.
        run_id: The newest benchmark in the index. Empty: there is none.
    """

    everything: Scope
    month: Scope
    month_before: Period | None
    history_at: datetime
    agent: Scope
    text: Scope
    biggest: "Subject"
    typical: "Subject"
    run_id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """One session.

    Attributes:
        exchange_id: Its biggest exchange.
        trace_id: An event of that.
        marker: Of its timeline, as if that exchange had changed since.
    """

    session_id: str
    exchange_id: str
    trace_id: str
    marker: timeline.Marker


@dataclass(frozen=True, slots=True)
class Case:
    """One query that is measured.

    Attributes:
        page: Where it is run.
        query: A function of `queries`.
        about: What it is asked, in a few words. Empty: there is nothing to choose.
        arguments: What it takes after the connection.
        plain: What the story's schema is asked instead. None: it is asked the same.
    """

    page: str
    query: Callable[..., object]
    about: str
    arguments: Callable[[Subjects], tuple[object, ...]]
    plain: str | None = None

    @property
    def name(self) -> str:
        """Name it, for a person: no two have the same name."""
        return f"{self.query.__name__}: {self.about}" if self.about else self.query.__name__

    def ask(self, subjects: Subjects) -> Callable[[duckdb.DuckDBPyConnection], object]:
        """Prepare the query."""
        arguments = self.arguments(subjects)
        return lambda con: self.query(con, *arguments)

    def ask_story(self, subjects: Subjects) -> Callable[[duckdb.DuckDBPyConnection], object]:
        """Prepare what the story's schema is asked."""
        plain = self.plain
        if plain is None:
            return self.ask(subjects)
        scopes = [argument for argument in self.arguments(subjects) if isinstance(argument, Scope)]
        values = narrow.values(scopes[0] if scopes else Scope())
        used = {name: value for name, value in values.items() if f"${name}" in plain}
        return lambda con: con.execute(plain, used).fetchall()


def subjects(con: duckdb.DuckDBPyConnection) -> Subjects | None:
    """Choose what to ask about. None: the index holds no session with events."""
    row = con.execute("SELECT max(created_at) FROM messages").fetchone()
    newest = row[0] if row and row[0] else datetime(1970, 1, 1)
    month = preset("30d", TZ, newest)
    agents = health.names(con).agents[:1]
    sized = con.execute(
        "SELECT session_id FROM exchange_traces GROUP BY session_id ORDER BY count(*) DESC, session_id"
    ).fetchall()
    if not sized:
        return None
    return Subjects(
        everything=Scope(TZ),
        month=Scope(TZ, month),
        month_before=before(month, TZ, newest),
        history_at=forecasts.history_start(newest, TZ),
        agent=Scope(TZ, month, agents=agents),
        text=Scope(TZ, text="timeout"),
        biggest=_subject(con, sized[0][0]),
        typical=_subject(con, sized[len(sized) // 2][0]),
        run_id=runs[0].run_id if (runs := benchmarks.benchmark_runs(con)) else "",
    )


def _subject(con: duckdb.DuckDBPyConnection, session_id: str) -> Subject:
    """Look at one session."""
    row = con.execute(
        """
        SELECT exchange_id, min(trace_id) FROM exchange_traces WHERE session_id = $session_id
        GROUP BY exchange_id ORDER BY count(*) DESC, exchange_id LIMIT 1
        """,
        {"session_id": session_id},
    ).fetchone()
    found = timeline.timeline(con, session_id)
    if row is None or found is None:
        raise LookupError(f"{session_id} has events, but no timeline")
    exchange_id, trace_id = map(str, row)
    _, events = found.marker.exchanges[exchange_id]
    marker = replace(found.marker, exchanges={**found.marker.exchanges, exchange_id: (0, events)})
    return Subject(session_id, exchange_id, trace_id, marker)


def _scoped(
    page: str,
    query: Callable[..., object],
    about: str,
    plain: str | None,
    *before: object,
    after: tuple[object, ...] = (),
) -> list[Case]:
    """Ask for all time and for a month: what a person looks at.

    Args:
        page: Where it is run.
        query: Takes a scope.
        about: What else it is asked.
        plain: As in `Case`.
        before: Arguments before the scope.
        after: Arguments after it.
    """
    words = f"{about}, " if about else ""
    return [
        Case(page, query, f"{words}all time", lambda found: (*before, found.everything, *after), plain),
        Case(page, query, f"{words}30 days", lambda found: (*before, found.month, *after), plain),
    ]


def _of_session(page: str, query: Callable[..., object], *after: object) -> list[Case]:
    """Ask about the biggest session and about a typical one."""
    return [
        Case(page, query, "biggest session", lambda found: (found.biggest.session_id, *after)),
        Case(page, query, "typical session", lambda found: (found.typical.session_id, *after)),
    ]


def _always(page: str, query: Callable[..., object], about: str, plain: str | None) -> Case:
    """Ask for one thing by its name, whatever the index holds."""
    return Case(page, query, about, lambda found: (about,), plain)


# Prices of nobody: how long it takes does not depend on them.
_THREE_PRICES = tuple(
    what_if.ListPrice(f"provider/model-{number}", *(None,) * 6, *(Decimal(number) / 1_000_000,) * 5, Decimal())
    for number in (1, 2, 3)
)
_THREE_NAMES = tuple(price.model for price in _THREE_PRICES)

CASES: tuple[Case, ...] = (
    Case(_EVERY_PAGE, health.status, "", lambda found: ()),
    Case(_EVERY_PAGE, health.names, "", lambda found: (), story.NAMES),
    Case(_EVERY_PAGE, health.sources, "", lambda found: ()),
    Case(_EVERY_PAGE, health.knows_zone, "", lambda found: (TZ,)),
    Case("Overview", overview.overview, "all time", lambda found: (found.everything,), story.OVERVIEW),
    Case(
        "Overview",
        overview.overview,
        "30 days and those before",
        lambda found: (found.month, found.month_before),
        story.OVERVIEW,
    ),
    *_scoped("Overview", tools.slowest_tools, "", story.SLOWEST_TOOLS, after=(5,)),
    *_scoped("Overview", errors.newest_errors, "", story.NEWEST_ERRORS, after=(8,)),
    *_scoped("Overview", sessions.session_rows, "last active", None, after=(True, "last active", 8)),
    *_scoped("Costs", costs.cost_totals, "", story.COST_TOTALS),
    Case("Costs", costs.cost_totals, "one agent, 30 days", lambda found: (found.agent,), story.COST_TOTALS),
    *(
        case
        for by in costs.GROUPINGS
        for case in _scoped("Costs", costs.cost_rows, f"by {by}", story.COST_ROWS[by], by, after=(PAGE_ROWS,))
    ),
    *(
        case
        for by in costs.DIMENSIONS
        for case in _scoped("Costs", costs.cost_series, f"{by} by day", story.COST_SERIES[by], by, "day")
    ),
    *(_always("Costs", costs.cost_ranks, by, story.COST_RANKS[by]) for by in costs.DIMENSIONS),
    *_scoped("Costs", costs.unpriced_models, "", None),
    *_scoped("Costs", costs.cost_rows, "by model, list prices", None, "model", after=(PAGE_ROWS, 0, costs.LIST)),
    *_scoped("Costs", costs.cost_series, "model by day, list prices", None, "model", "day", after=(costs.LIST,)),
    *_scoped("What if", what_if.alternatives, "three models", None, _THREE_NAMES, _THREE_PRICES),
    Case("Activity", budgets.spend_quarters, "12 weeks", lambda found: (found.history_at,)),
    *_scoped("Activity", activity.week_hours, "", None),
    *_scoped("Activity", speeds.model_speeds, "", None),
    *_scoped("Activity", code_changes.code_changes, "", None),
    *_scoped("Activity", code_changes.project_changes, "", None),
    *_scoped("Activity", code_changes.directory_changes, "", None),
    *_scoped("Why this number", ledger.ledger, "", None),
    *_scoped("Why this number", ledger.ledger_rows, "cost of steps", None, "cost_steps", after=(PAGE_ROWS,)),
    *_scoped("Why this number", data_quality.version_quality, "", None),
    *_scoped("Cache", cache_report.cache_report, "", None, after=(PAGE_ROWS,)),
    *(case for by in cache.DIMENSIONS for case in _scoped("Cache", cache.cache_rows, f"by {by}", None, by)),
    *(
        case
        for by in cache.DIMENSIONS
        for case in _scoped("Cache", cache.cache_series, f"{by} by day", None, by, "day")
    ),
    *_scoped("Cache", cache.collapses, "", None, after=(PAGE_ROWS,)),
    *_scoped("Cache", context_rent.context_rent, "", None, after=(PAGE_ROWS,)),
    Case("Cache", context_rent.step_rents, "30 days", lambda found: (found.month,)),
    *_scoped("Sessions", sessions.session_list, "newest", story.SESSION_ROWS, after=(True, "newest", PAGE_ROWS)),
    *_scoped("Sessions", sessions.session_list, "cost", story.SESSION_ROWS, after=(True, "cost", PAGE_ROWS)),
    Case(_EVERY_PAGE, narrow.hits, benchmarks.TEXT_SEARCH, lambda found: (found.text.text,)),
    Case(
        "Sessions",
        sessions.session_list,
        benchmarks.TEXT_SEARCH,
        lambda found: (found.text, True, "newest", PAGE_ROWS),
        story.SESSION_ROWS_SEARCHED,
    ),
    *_of_session("Timeline", timeline.preview),
    *_of_session("Timeline", session_stamp.session_stamp),
    *_of_session("Timeline", timeline.timeline),
    Case("Timeline", timeline.events_since, "biggest session", lambda found: (found.biggest.marker,)),
    Case("Timeline", timeline.events_since, "typical session", lambda found: (found.typical.marker,)),
    Case(
        "Timeline",
        timeline.events_of,
        "biggest exchange",
        lambda found: (found.biggest.session_id, [found.biggest.exchange_id]),
    ),
    *_of_session("Timeline", waste.waste),
    Case("Timeline", transcript.transcript, "biggest exchange", lambda found: (found.biggest.exchange_id,)),
    Case("Timeline", transcript.transcript, "typical exchange", lambda found: (found.typical.exchange_id,)),
    Case("Timeline", transcript.piece, "", lambda found: (found.biggest.trace_id,)),
    *_of_session("Timeline", session_figures.session_figures),
    *_of_session("Timeline", session_figures.time_split),
    *_of_session("Timeline", sessions.session_detail, TZ),
    *_of_session("Timeline", sessions.session_models),
    *_of_session("Timeline", tree_costs.agent_costs),
    *_of_session("Timeline", session_dump.session_dump),
    *_scoped("Errors", failures.failure_totals, "", None, after=(_ANY,)),
    *(_always("Errors", failures.failure_ranks, by, None) for by in failures.RANKED),
    *(
        case
        for by in failures.GROUPINGS
        for case in _scoped("Errors", failures.failure_series, f"{by} by day", None, by, "day", after=(_ANY,))
    ),
    *(
        case
        for by in failures.GROUPINGS
        for case in _scoped("Errors", failures.failure_rows, f"by {by}", None, by, after=(_ANY,))
    ),
    *_scoped("Errors", failures.failure_patterns, "", None, after=(_ANY, PAGE_ROWS)),
    *_scoped("Errors", failures.failure_fields, "", None, after=(_ANY,)),
    *_scoped("Errors", failures.failure_groups, "by status code", None, "$.data.statusCode", after=(_ANY, PAGE_ROWS)),
    *_scoped("Errors", failures.failure_examples, "", None, after=(_ANY, None, 20)),
    *_scoped("Errors", failures.ended_spend, "", None, after=(_ANY,)),
    *_scoped("Errors", failures.recovered, "", None, after=(_ANY,)),
    *_scoped("Tools", tool_reports.call_totals, "", None),
    *(
        case
        for by in tool_reports.GROUPINGS
        for case in _scoped("Tools", tool_reports.call_reports, f"by {by}", None, by)
    ),
    *_scoped("Tools", tool_reports.latency_bins, "one tool", None, _TOOL),
    Case("Tools", tool_reports.latency_series, "one tool by day", lambda found: (_TOOL, "day", found.everything)),
    *_scoped("Tools", tool_reports.slowest_calls, "one tool", None, after=(_TOOL, 20)),
    *_scoped("Tools", tool_reports.file_uses, "", None, after=(None, PAGE_ROWS)),
    Case("Benchmarks", benchmarks.benchmark_runs, "", lambda found: ()),
    Case("Benchmarks", benchmarks.comparisons, "", lambda found: (found.run_id, benchmarks.STORY)),
    Case("Benchmarks", benchmarks.measured_plans, "", lambda found: (found.run_id, _MEASURED)),
    Case("Benchmarks", benchmarks.past_results, "", lambda found: (_MEASURED,)),
    Case("SQL", contract.tables, "", lambda found: (published.contract(),)),
    Case("Indexer", indexing.indexing, "", lambda found: ()),
    Case("Indexer", indexing.source_states, "", lambda found: (TZ,)),
    Case("Indexer", indexing.document_problems, "", lambda found: (PAGE_ROWS, 0)),
    Case("Indexer", indexing.history, "", lambda found: (TZ, 50)),
)

"""Is the index there, whole and up to date; which names does it know."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from queries.rows import fetch_row, fetch_rows


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What the index says about itself.

    Attributes:
        revision: Number of the last written batch.
        phase: What it did last: bulk, real-time, stopped or failed. A killed indexer leaves it behind.
        documents_total: Messages that the running pass has to look at. None before it is known.
        last_full_pass_at: End of the last complete pass, naive UTC. None while the first one runs.
        updated_at: Time of the last batch, naive UTC.
        is_sample: The bundled sample data, not the user's own.
        has_first_totals: What was spent is complete, although the first pass has not ended.
        unreadable: Documents that could not be read, or only in part.
        sources: Storages that were read.
        unreadable_sources: Storages that could not be read.
    """

    revision: int
    phase: str
    documents_total: int | None
    documents_done: int
    last_full_pass_at: datetime | None
    updated_at: datetime
    is_sample: bool
    has_first_totals: bool
    sessions: int
    messages: int
    parts: int
    unreadable: int
    sources: int
    unreadable_sources: int

    @property
    def is_partial(self) -> bool:
        """Tell whether the first pass has not ended, so that totals are too low, but for `has_first_totals`."""
        return self.last_full_pass_at is None or self.has_first_totals

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to show."""
        return not self.sessions and not self.messages


@dataclass(frozen=True, slots=True)
class Source:
    """A storage that the indexer looked at.

    Attributes:
        state: ok, empty or unreadable.
        reason: Why it is not ok, and what to do. None if it is.
    """

    kind: str
    path: str
    state: str
    reason: str | None
    sessions: int
    messages: int
    parts: int


@dataclass(frozen=True, slots=True)
class Project:
    """A project that some session belongs to.

    Attributes:
        project_id: `unknown` for sessions that name none.
        name: Given by the user, else the last part of its folder. None if neither is known.
    """

    project_id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Names:
    """Everything one can filter by, over all data.

    Attributes:
        agents: By number of messages, most first; `unknown` where messages name none.
        models: `provider/model`, alike.
    """

    agents: tuple[str, ...]
    models: tuple[str, ...]
    projects: tuple[Project, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """One name of a list."""

    is_agent: bool
    name: str


# What is materialized is planned apart: of all tables that are read side by side DuckDB tries every order, which took
# 7 ms for the eight of `status`.
SIZES = """
    sizes AS MATERIALIZED (
        SELECT (SELECT count(*) FROM sessions) AS sessions,
               (SELECT count(*) FROM messages) AS messages,
               (SELECT count(*) FROM parts)    AS parts,
               EXISTS (FROM first_slices)      AS has_first_totals
    )
"""


def status(con: duckdb.DuckDBPyConnection) -> IndexStatus:
    """Read the state of the index. Cheap: single rows and table sizes."""
    sql = f"""
        WITH {SIZES},
        known_sources AS MATERIALIZED (
            SELECT (SELECT count(*) FROM documents)                          AS unreadable,
                   (SELECT count(*) FROM sources WHERE state = 'ok')         AS sources,
                   (SELECT count(*) FROM sources WHERE state = 'unreadable') AS unreadable_sources
        )
        SELECT revision, phase, documents_total, documents_done, last_full_pass_at, updated_at, is_sample,
               sizes.*, known_sources.*
        FROM sync_state, sizes, known_sources
    """
    return fetch_row(con, sql, {}, IndexStatus)


def sources(con: duckdb.DuckDBPyConnection) -> list[Source]:
    """List the storages that were looked at, by path. Empty if the indexer has not looked yet."""
    sql = "SELECT kind, path, state, reason, sessions, messages, parts FROM sources ORDER BY path, kind"
    return fetch_rows(con, sql, {}, Source)


def names(con: duckdb.DuckDBPyConnection) -> Names:
    """List every agent, model and project that some message or session names."""
    named = """
        WITH recorded AS MATERIALIZED (
            SELECT kind, agent, provider_id, model_id, sum(messages) AS messages FROM usage_slices GROUP BY ALL
        )
        SELECT is_agent, name
        FROM (
            SELECT true AS is_agent, if(kind = 'other', agent, coalesce(agent, 'unknown')) AS name, messages
            FROM recorded
            UNION ALL
            SELECT false, if(kind = 'other', provider_id || '/' || model_id,
                             coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown')), messages
            FROM recorded
        )
        WHERE name IS NOT NULL
        GROUP BY is_agent, name
        ORDER BY is_agent, sum(messages) DESC, name
    """
    projects = """
        WITH used AS (SELECT coalesce(project_id, 'unknown') AS project_id, count(*) AS uses FROM sessions GROUP BY 1)
        SELECT project_id, coalesce(nullif(name, ''), nullif(parse_filename(worktree), '')) AS name
        FROM used LEFT JOIN projects USING (project_id)
        ORDER BY uses DESC, project_id
    """
    found = fetch_rows(con, named, {}, _Name)
    return Names(
        agents=tuple(row.name for row in found if row.is_agent),
        models=tuple(row.name for row in found if not row.is_agent),
        projects=tuple(fetch_rows(con, projects, {}, Project)),
    )


def knows_zone(con: duckdb.DuckDBPyConnection, tz: str) -> bool:
    """Tell whether days can be cut in a time zone. Browsers know more names than any list."""
    found = con.execute("SELECT count(*) FROM pg_timezone_names() WHERE name = $tz", {"tz": tz}).fetchone()
    return bool(found and found[0])

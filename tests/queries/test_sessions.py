"""The session list: what matches, what a row adds up, in which order, where the text was found."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from indexer import processors
from indexer.published import IndexReader
from queries import costs, narrow
from queries.period import Period, Scope
from queries.sessions import (
    SORTS,
    SessionList,
    SessionsTotal,
    session_detail,
    session_list,
    session_models,
    session_rows,
)
from tests import builders
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    part,
    session,
    step_finish,
    tokens,
    usd,
    user,
    write_json_tree,
    write_session_messages,
)
from tests.conftest import BuildIndex, OpenIndex
from tests.indexing import KNOW_SPEND_FIRST
from tests.pages.conftest import change
from tests.queries.test_costs import SCOPES, SETS

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]

PLAIN_HITS = """
    SELECT session_id FROM sessions WHERE contains(lower(title), lower($text))
    UNION
    SELECT body.session_id FROM part_bodies body JOIN parts USING (part_id)
    WHERE contains(lower(text), lower($text)) AND part_type = 'text' AND NOT is_synthetic AND NOT is_orphan
    UNION
    SELECT body.session_id FROM part_bodies body JOIN messages ON messages.message_id = body.part_id
    WHERE contains(lower(text), lower($text)) AND role = 'user'
    ORDER BY ALL
"""


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "each"])
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_session_rows_columns_add_up_to_costs(name: str, fold: bool, scope: Scope, real_index: RealIndex) -> None:
    """Under any filter the list sums to the Costs page, folded or not."""
    con = real_index(name)

    found = session_list(con, scope, fold, "newest")

    rows, total = found.rows, found.total
    whole = costs.cost_totals(con, scope)
    assert len(rows) == total.sessions == len({row.session_id for row in rows})
    assert sum((row.cost_recorded_usd or Decimal(0) for row in rows), Decimal(0)) == (whole.cost_recorded_usd or 0)
    assert sum(row.total_tokens for row in rows) == whole.total_tokens == total.total_tokens
    assert total.cost_recorded_usd == whole.cost_recorded_usd


@pytest.mark.parametrize("name", SETS)
def test_session_rows_unfiltered_hold_every_session(name: str, real_index: RealIndex) -> None:
    """Nothing is lost: not the empty, the forked, nor the child sessions."""
    con = real_index(name)
    (stored,) = con.execute("SELECT count(*) FROM sessions").fetchone() or (0,)

    each, folded = (session_list(con, Scope(), fold, "newest") for fold in (False, True))

    assert each.total.sessions == stored
    assert folded.total.sessions + folded.total.children == stored
    for row in each.rows:
        assert (row.total_tokens, row.cost_recorded_usd) == (row.session_tokens, row.session_cost_usd)


@pytest.mark.parametrize("sort", SORTS)
def test_session_list_pages_hold_every_row_once_in_order(sort: str, real_index: RealIndex) -> None:
    """Every order is total: pages neither repeat nor lose a row. Each has the total of all."""
    con = real_index("sqlite")

    whole = session_list(con, Scope(), True, sort)
    pages = [session_list(con, Scope(), True, sort, 30, at) for at in range(0, len(whole.rows), 30)]

    assert [row for page in pages for row in page.rows] == whole.rows
    assert {page.total for page in pages} == {whole.total}


def test_session_list_page_behind_the_last_one_is_the_first(open_index: OpenIndex) -> None:
    """As the widget has it that turns pages."""
    con = open_index(*family())

    found = session_list(con, Scope(), False, "cost", 2, 20)

    assert found == session_list(con, Scope(), False, "cost", 2)
    assert [row.session_id for row in found.rows] == ["ses_3", "ses_2"]


def test_session_list_nothing_matches_costs_nothing_that_is_known(open_index: OpenIndex) -> None:
    """Nothing was spent, rather than 0."""
    con = open_index(*family())

    found = session_list(con, Scope(agents=("nobody",)), True, "newest")

    assert found == SessionList(SessionsTotal(0, 0, None, 0), [])


def test_session_rows_orders_are_what_they_say(real_index: RealIndex) -> None:
    """Newest, dearest, longest first; what is not known comes last."""
    con = real_index("json")

    def column(sort: str, name: str) -> list[object]:
        """Return a column in an order, unknown values left out."""
        return [getattr(row, name) for row in session_rows(con, Scope(), True, sort) if getattr(row, name) is not None]

    for sort, name in (("newest", "started_utc"), ("last active", "last_active_utc"), ("cost", "cost_recorded_usd")):
        assert column(sort, name) == sorted(column(sort, name), reverse=True)  # type: ignore[type-var]
    for sort, name in (("tokens", "total_tokens"), ("active time", "active_ms"), ("errors", "errors")):
        assert column(sort, name) == sorted(column(sort, name), reverse=True)  # type: ignore[type-var]
    assert column("oldest", "started_utc") == column("newest", "started_utc")[::-1]
    titles = [str(title).lower() for title in column("title", "title")]
    assert titles == sorted(titles)


def family() -> list[Doc]:
    """Make a root with a child and a grandchild, each with one answer of another agent."""
    return [
        session("ses_1"),
        assistant("msg_1", "ses_1", agent="build", mode="build", usage=tokens(input=1), cost=1),
        session("ses_2", parentID="ses_1"),
        assistant("msg_2", "ses_2", agent="plan", mode="plan", usage=tokens(input=10), cost=2),
        session("ses_3", parentID="ses_2"),
        assistant("msg_3", "ses_3", agent="explore", mode="explore", usage=tokens(input=100), cost=4),
    ]


def test_session_rows_child_matches_root_shows_only_what_matches(open_index: OpenIndex) -> None:
    """A folded row holds the matching messages of its whole tree, beside the tree's own total."""
    con = open_index(*family())

    (row,) = session_rows(con, Scope(agents=("plan", "explore")), True, "newest")

    assert (row.session_id, row.children) == ("ses_1", 2)
    assert (row.cost_recorded_usd, row.total_tokens) == (usd("6"), 110)
    assert (row.session_cost_usd, row.session_tokens) == (usd("7"), 111)


def test_session_rows_not_folded_gives_each_session_its_row(open_index: OpenIndex) -> None:
    """With child sessions shown, each stands for itself."""
    con = open_index(*family())

    rows = session_rows(con, Scope(), False, "cost")

    assert [(row.session_id, row.cost_recorded_usd, row.children, row.is_child) for row in rows] == [
        ("ses_3", usd("4"), 0, True),
        ("ses_2", usd("2"), 1, True),
        ("ses_1", usd("1"), 1, False),
    ]


def test_session_rows_cycles_and_missing_parents_stand_for_themselves(open_index: OpenIndex) -> None:
    """Sessions that descend from themselves, or from one that is not stored, are neither lost nor doubled."""
    con = open_index(
        session("ses_1", parentID="ses_2"),
        session("ses_2", parentID="ses_1"),
        session("ses_3", parentID="ses_3"),
        session("ses_4", parentID="ses_gone"),
        session("ses_5", parentID="ses_4"),
        *(assistant(f"msg_{number}", f"ses_{number}", created=START_MS + number, cost=1) for number in range(1, 6)),
    )

    rows = session_rows(con, Scope(), True, "newest")

    assert sorted(row.session_id for row in rows) == ["ses_1", "ses_2", "ses_3", "ses_4"]
    assert sum(row.cost_recorded_usd or 0 for row in rows) == 5


def test_session_rows_user_message_alone_matches_with_nothing_spent(open_index: OpenIndex) -> None:
    """A session matches if any of its messages does, also a prompt without an answer."""
    con = open_index(session(), user(agent="plan"), assistant(cost=1))

    (row,) = session_rows(con, Scope(agents=("plan",)), True, "newest")

    assert (row.cost_recorded_usd, row.total_tokens, row.session_cost_usd) == (None, 0, usd("1"))


def test_session_rows_empty_session_matches_by_its_own_time(open_index: OpenIndex) -> None:
    """A session without messages is in its period, and no agent's."""
    con = open_index(session())

    def matches(scope: Scope) -> bool:
        """Tell whether the session is listed."""
        return bool(session_rows(con, scope, True, "newest"))

    assert matches(Scope(period=Period(datetime(2026, 1, 1), datetime(2026, 1, 2))))
    assert not matches(Scope(period=Period(datetime(2026, 1, 2), None)))
    assert not matches(Scope(agents=("build",)))


def test_session_rows_fork_copies_are_shown_and_counted_nowhere(open_index: OpenIndex) -> None:
    """A forked session shows what it inherited; its own numbers leave it out."""
    original = [user(), assistant(usage=tokens(input=10)), step_finish("prt_1", tokens(input=10))]
    con = open_index(
        session(), *original, session("ses_2", created=START_MS + 60_000), *copied(original, "ses_2", "_c")
    )

    rows = session_rows(con, Scope(), True, "newest")

    assert [(row.session_id, row.total_tokens, row.inherited_tokens, row.fork_copies) for row in rows] == [
        ("ses_2", 0, 10, 1),
        ("ses_1", 10, 0, 0),
    ]


@pytest.mark.parametrize(
    ("text", "place", "hit"),
    [
        ("SHIP", "title", "Ship it"),
        ("straße", "prompt", "go down the STRASSE or Straße"),
        ("forty-two", "answer", "the answer is forty-two"),
        ("=1+1", "answer", "then =1+1 <b> ![x](http://example.com/x.png)"),
    ],
)
def test_session_rows_text_is_found_and_quoted(text: str, place: str, hit: str, open_index: OpenIndex) -> None:
    """Titles, prompts and answers are searched in any case; the first place is quoted on one line."""
    con = open_index(
        session(title="Ship it"),
        user(),
        part("prt_1", "text", "msg_1u", text="go down\n\nthe  STRASSE or Straße"),
        assistant(),
        part("prt_2", "text", text="the answer is forty-two"),
        part("prt_3", "text", text="then =1+1 <b> ![x](http://example.com/x.png)"),
    )

    (row,) = session_rows(con, Scope(text=text), True, "newest")

    assert (row.hit_place, row.hit) == (place, hit)


def test_session_rows_text_nobody_typed_or_said_is_not_found(open_index: OpenIndex) -> None:
    """Reasoning, tool output and text that the client added are not searched."""
    con = open_index(
        session(),
        user(),
        part("prt_1", "text", "msg_1u", text="needle", synthetic=True),
        assistant(),
        part("prt_2", "reasoning", text="needle"),
    )

    assert session_rows(con, Scope(text="needle"), True, "newest") == []


def test_session_rows_text_of_an_orphan_is_found_once_its_message_is_there(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """The part itself is the same."""
    data_dir = write_json_tree(tmp_path / "data", [session(), part("prt_1", "text", "msg_1", text="needle")])
    found = []

    for docs in ([], [user("msg_1")]):
        write_json_tree(data_dir, docs)
        reader = IndexReader(build_index(data_dir))
        found.append(session_rows(reader.connection(), Scope(text="needle"), True, "newest"))
        reader.close()

    assert [[row.hit_place for row in rows] for rows in found] == [[], ["prompt"]]


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("needle", [("prompt", "Find the Needle")]),  # the first that was said
        ("haystack", [("answer", "In a Haystack")]),
        ("thought", []),
        ("notice", []),
        ("summary", []),
    ],
)
def test_session_rows_text_of_the_third_generation_is_found_in_prompts_and_answers(
    text: str, hits: list[tuple[str, str]], build_index: BuildIndex, tmp_path: Path
) -> None:
    """The items of answers are parts; a prompt is a row without a part. What no person typed is not searched."""
    content = [{"type": "text", "text": "In a Haystack"}, {"type": "reasoning", "text": "a thought, a needle"}]
    rows = [
        builders.row("msg_1", "user", 1, text="Find the\nNeedle"),
        builders.row("msg_2", "synthetic", 2, text="notice"),
        answer("msg_3", 3, content=content),
        builders.row("msg_4", "compaction", 4, summary="summary"),
    ]
    reader = IndexReader(build_index(write_session_messages(tmp_path / "data", [session(), *rows])))

    found = session_rows(reader.connection(), Scope(text=text), True, "newest")

    assert [(row.hit_place, row.hit) for row in found] == hits
    reader.close()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("text", ["THE", "e", "İ", "straße", "\n", "nowhere"])
def test_hits_are_the_sessions_whose_titles_or_texts_hold_it(name: str, text: str, real_index: RealIndex) -> None:
    """What is stored for the search finds what the texts themselves hold."""
    con = real_index(name)

    found = con.execute(f"WITH {narrow.HITS} FROM hits ORDER BY ALL", {"text": text}).fetchall()

    assert found == con.execute(PLAIN_HITS, {"text": text}).fetchall()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("text", ["the", "İ", "nowhere"])
def test_hits_known_before_give_the_same_answers(name: str, text: str, real_index: RealIndex) -> None:
    """A page looks a text up once, a single query by itself."""
    con = real_index(name)
    scope = Scope(text=text)

    known = replace(scope, hits=narrow.hits(con, text))

    assert session_list(con, known, True, "newest") == session_list(con, scope, True, "newest")
    assert costs.cost_totals(con, known) == costs.cost_totals(con, scope)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("text", ["the", "e", "İ", "nowhere"])
def test_hits_several_threads_find_what_one_finds(
    name: str, text: str, real_index: RealIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks at a part of all texts; of a session that two of them find, the first place counts."""
    con = real_index(name)
    alone = narrow.hits(con, text)
    monkeypatch.setattr(narrow, "_LEAST_TEXTS", 2)
    monkeypatch.setattr(processors, "usable", lambda: 3)

    together = narrow.hits(con, text)

    assert len(narrow._portions(con)) > 1
    assert together.sort_by("session_id").equals(alone.sort_by("session_id"))


def test_hits_long_and_short_texts_the_first_is_the_place(open_index: OpenIndex) -> None:
    """They are in columns of their own."""
    texts = {"prt_1": "nothing", "prt_2": "Needle " * 1_000, "prt_3": "a needle", "prt_4": "hay " * 2_000 + "STACK"}
    con = open_index(session(), assistant(), *(part(part_id, "text", text=text) for part_id, text in texts.items()))

    found = {text: narrow.hits(con, text)["first_said"].to_pylist() for text in ("needle", "a needle", "stack")}

    assert found == {"needle": ["prt_2"], "a needle": ["prt_3"], "stack": ["prt_4"]}


def test_session_rows_hit_in_a_long_text_is_cut_around_it(open_index: OpenIndex) -> None:
    """A hit deep in a megabyte of text is shown with a few words around it."""
    con = open_index(
        session(), assistant(), part("prt_1", "text", text="a " * 10_000 + "\u202eneedle</script> " + "b " * 500_000)
    )

    (row,) = session_rows(con, Scope(text="needle"), True, "newest")

    assert row.hit is not None
    assert row.hit.startswith("…a a") and "needle</script> b b" in row.hit and row.hit.endswith("…")
    assert len(row.hit) < 210


def test_session_rows_started_is_in_the_viewers_zone(open_index: OpenIndex) -> None:
    """Times are shown local, and kept in UTC beside."""
    con = open_index(session())

    (row,) = session_rows(con, Scope(tz="Asia/Kathmandu"), True, "newest")

    assert (row.started_at, row.started_utc) == (datetime(2026, 1, 1, 5, 45), datetime(2026, 1, 1))


def test_session_detail_shows_own_inherited_and_subtree_apart(open_index: OpenIndex) -> None:
    """Three sums that are never mixed."""
    con = open_index(*family())

    found = session_detail(con, "ses_1", "UTC")

    assert found is not None
    assert (found.cost_recorded_usd, found.inherited_cost_recorded_usd, found.subtree_cost_recorded_usd) == (
        usd("1"),
        None,
        usd("7"),
    )
    assert (found.total_tokens, found.inherited_total_tokens, found.subtree_total_tokens) == (1, 0, 111)
    assert (found.child_sessions, found.subtree_sessions) == (1, 3)


def test_session_detail_unknown_id_is_none(open_index: OpenIndex) -> None:
    """An id that is not in the index is no error."""
    assert session_detail(open_index(session()), "ses_nowhere' OR 1=1", "UTC") is None


@pytest.mark.parametrize("name", SETS)
def test_session_models_add_up_to_the_session(name: str, real_index: RealIndex) -> None:
    """The breakdown of a session is its own spend."""
    con = real_index(name)

    for row in session_rows(con, Scope(), False, "newest", 40):
        found = session_models(con, row.session_id)
        assert sum(entry.total_tokens for entry in found) == row.session_tokens
        assert sum((entry.cost_recorded_usd or Decimal(0) for entry in found), Decimal(0)) == (
            row.session_cost_usd or 0
        )


def test_session_models_two_models_are_two_rows(open_index: OpenIndex) -> None:
    """One row per agent and model, dearest first."""
    con = open_index(
        session(), assistant("msg_1", cost=0.25), assistant("msg_2", created=START_MS + 9, modelID="other", cost=0.5)
    )

    found = session_models(con, "ses_1")

    assert [(row.agent, row.model, row.cost_recorded_usd) for row in found] == [
        ("build", "acme/other", usd("0.5")),
        ("build", "acme/nova", usd("0.25")),
    ]


def test_session_rows_first_pass_not_ended_has_what_was_spent(tmp_path: Path, build_index: BuildIndex) -> None:
    """What matches a filter is never more than the session's total beside it, which may not be read so far."""
    first = [session(), user(), assistant(cost=1, usage=tokens(10, 5))]
    docs = [*first, session("ses_2", created=START_MS + 1), *copied(first[1:], "ses_2", "f")]
    path = build_index(write_json_tree(tmp_path / "opencode", docs))
    change(
        path,
        f"""
        {KNOW_SPEND_FIRST}
        UPDATE session_stats SET total_tokens = 0, cost_recorded_usd = NULL, fork_copies = 0, inherited_total_tokens = 0
        """,
    )

    with closing(IndexReader(path)) as reader:
        rows = session_rows(reader.connection(), Scope(), True, "newest")

    found = {row.session_id: (row.session_cost_usd, row.session_tokens, row.inherited_tokens) for row in rows}
    assert found == {"ses_1": (Decimal(1), 15, 0), "ses_2": (None, 0, 15)}
    assert [row.fork_copies for row in rows] == [1, 0]

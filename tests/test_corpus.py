"""The corpus generator: its shapes are OpenCode's, its sizes those of heavy users, and the index equals its truth."""

import hashlib
import json
import sqlite3
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from indexer.totals import read_totals
from tests.conftest import OpenIndex
from tests.corpus import SIZES, STORES, Plan, Store, plan_of, sessions, truth_of, write
from tests.corpus.__main__ import main
from tests.corpus.conversations import TURNS, Planner
from tests.corpus.model import Text
from tests.corpus.stores import part_sizes, pretty
from tests.corpus.texts import HOSTILE, texts_of

DataSet = Callable[[str], Path]


def small(parts: int, seed: int, generation: str = "json", big_session_traces: int = 0) -> Plan:
    """Plan a corpus of short texts, which is quick to write."""
    return Plan(parts, seed, STORES[generation], big_session_traces, text_scale=0.02)


def shapes_of(name: str, value: object) -> Iterator[str]:
    """List the fields of a document, those of objects inside it too, by name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{name}.{key}"
            if key not in ("input", "responseHeaders"):  # what a model or a server named
                yield from shapes_of(f"{name}.{key}", item)
    elif isinstance(value, list):
        for item in value:
            yield from shapes_of(f"{name}[]", item)


def document_shapes(kind: str, documents: Iterable[Mapping[str, Any]]) -> set[str]:
    """List the fields of all documents of a kind: roles of messages, types of parts and states of tools apart."""
    found: set[str] = set()
    for document in documents:
        state = document.get("state")
        name = (kind, document.get("role"), document.get("type"), state["status"] if isinstance(state, dict) else None)
        found.update(shapes_of("/".join(word for word in name if word), document))
    return found


def json_documents(data_dir: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Read every file of a kind from a tree."""
    for path in (data_dir / "storage" / kind).rglob("*.json"):
        yield json.loads(path.read_bytes())


def rows(data_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query a database without changing it."""
    connection = sqlite3.connect(f"file:{data_dir / 'opencode.db'}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def fingerprint(data_dir: Path) -> str:
    """Hash the names and the content of all files."""
    digest = hashlib.sha256()
    for path in sorted(data_dir.rglob("*")):
        digest.update(str(path.relative_to(data_dir)).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


# --- the index equals the truth


@pytest.mark.parametrize(("generation", "seed"), [(generation, seed) for seed, generation in enumerate(STORES, 1)])
def test_write_any_stores_index_equals_truth(generation: str, seed: int, tmp_path: Path, open_index: OpenIndex) -> None:
    """Counts, grand totals, every session with what it inherited, every model: exact, in every mix of stores."""
    truth = write(small(500, seed, generation), tmp_path / "data")

    con = open_index(tmp_path / "data")

    expected, found = truth.totals(), cast(dict[str, Any], read_totals(con))
    for totals in found["per_session"].values():
        del totals["unrecorded_messages"]  # the truth has no opinion
    assert {name: found[name] for name in expected} == expected
    assert con.execute("SELECT count(*) FROM documents").fetchone() == (0,)
    assert con.execute("SELECT count(*) FROM parts WHERE is_orphan").fetchone() == (truth.orphan_parts,)
    assert con.execute("SELECT count(*) FROM messages WHERE is_total_mismatch").fetchone() == (0,)


def test_write_delegations_link_parents_and_children(tmp_path: Path) -> None:
    """Child sessions hang on their parents by the delegating call, forks name no parent."""
    write(small(3_000, 4, "sqlite"), tmp_path)

    parents = dict(rows(tmp_path, "SELECT id, parent_id FROM session"))
    calls = rows(
        tmp_path,
        """
        SELECT session_id, json_extract(data, '$.state.metadata.sessionId') FROM part
        WHERE json_extract(data, '$.tool') = 'task' AND json_extract(data, '$.state.metadata.sessionId') IS NOT NULL
        """,
    )
    children = {child for child, parent in parents.items() if parent is not None}
    assert children <= {child for session_id, child in calls if parents.get(child) == session_id}
    assert set(parents.values()) - {None} <= set(parents)
    assert {child for _, child in calls} - set(parents), "a delegation whose child was deleted"
    assert not rows(tmp_path, "SELECT 1 FROM session WHERE title LIKE '%(fork #%' AND parent_id IS NOT NULL")


# --- what is in it


@pytest.mark.parametrize("generation", STORES)
def test_sessions_moderate_corpus_holds_every_content(generation: str) -> None:
    """Every kind of turn, family and fate is there as soon as a corpus has a few thousand parts."""
    planner = Planner(Plan(12_000, 5, STORES[generation]))
    contents: set[str] = set()
    fates: set[str] = set()
    for family in planner.families():
        contents.update(word for session in family for word in session.contents)
        fates.update("both" if len(session.stores) > 1 else session.stores[0] for session in family)

    wanted = {"child", "nested child", "resumed child", "parallel children", "deleted child", "fork", "fork of a fork"}
    wanted |= {"continued fork", "answers without a prompt", "delegation to an unknown agent"}
    if generation != "session_message":
        wanted |= set(TURNS)
    if generation != "session_message" and Store.JSON not in STORES[generation]:
        wanted -= {"undone", "negative"}  # only 1.1 leaves parts behind, and stores negative counts
    if Store.SESSION_MESSAGE in STORES[generation]:
        wanted.add("compaction between exchanges")
    if len(STORES[generation]) > 1:
        wanted.add("message that the copy has unfinished")
        assert fates == {"both", *STORES[generation]}
    assert wanted <= contents


def test_write_mixed_some_ids_in_both_some_in_one(tmp_path: Path) -> None:
    """Sessions were migrated, continued after that, left behind, or are new; migrated rows are stamped anew."""
    write(small(2_500, 6, "mixed"), tmp_path)

    tree = {path.stem for path in (tmp_path / "storage/session").rglob("*.json")}
    tree_messages = {path.stem: path.parent.name for path in (tmp_path / "storage/message").rglob("*.json")}
    database = {session_id for (session_id,) in rows(tmp_path, "SELECT id FROM session")}
    messages = dict(rows(tmp_path, "SELECT id, session_id FROM message"))
    assert tree & database and tree - database and database - tree
    both = tree & database
    only_rows = {session for message, session in messages.items() if message not in tree_messages}
    only_files = {session for message, session in tree_messages.items() if message not in messages}
    assert only_rows & both, "continued after the migration"
    assert only_files & both, "continued with the old client"
    assert both - only_rows - only_files, "only migrated"
    stamps = rows(
        tmp_path,
        """
        SELECT m.id FROM message m JOIN part p ON p.message_id = m.id
        WHERE p.time_created = m.time_updated AND p.time_updated = m.time_updated
        """,
    )
    assert {message_id for (message_id,) in stamps} <= set(tree_messages)


def test_write_all_stores_session_in_each(tmp_path: Path) -> None:
    """Some sessions are in three stores; rows of 2.0 are numbered from 1 and name the origin of forks."""
    write(small(2_000, 7, "all"), tmp_path)

    tree = {path.stem for path in (tmp_path / "storage/session").rglob("*.json")}
    old = {session_id for (session_id,) in rows(tmp_path, "SELECT id FROM session")}
    new = {session_id for (session_id,) in rows(tmp_path, "SELECT id FROM session_v2")}
    assert tree & old & new and new - old - tree
    gaps = "SELECT 1 FROM session_message GROUP BY session_id HAVING count(*) <> max(seq) OR min(seq) <> 1"
    assert not rows(tmp_path, gaps)
    forks = rows(tmp_path, "SELECT fork_session_id FROM session_v2 WHERE title LIKE '%(fork #%'")
    assert forks and {origin for (origin,) in forks} <= new


# --- the same shapes as real data


def test_write_json_shapes_are_those_of_real_data(tmp_path: Path, data_set: DataSet) -> None:
    """No document has a field that 1.1 does not write, and every file is pretty-printed as 1.1 does."""
    write(small(2_500, 8), tmp_path)

    for kind in ("project", "session", "message", "part"):
        made = document_shapes(kind, json_documents(tmp_path, kind))
        assert made - document_shapes(kind, json_documents(data_set("json"), kind)) == set()
    for path in list((tmp_path / "storage").rglob("*.json"))[::7]:
        text = path.read_text(encoding="utf-8")
        again = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        assert text == again.encode("utf-8", "backslashreplace").decode()


def test_write_sqlite_shapes_are_those_of_real_data(tmp_path: Path, data_set: DataSet) -> None:
    """The schema is that of 1.18 and no row has a field that 1.18 does not write."""
    write(small(2_500, 9, "sqlite"), tmp_path)

    schema = "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    assert rows(tmp_path, schema) == rows(data_set("sqlite"), schema)
    for (table,) in rows(tmp_path, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        columns = f"PRAGMA table_info({table})"
        assert rows(tmp_path, columns) == rows(data_set("sqlite"), columns)
    for kind in ("message", "part"):
        sql = f"SELECT data FROM {kind}"
        real = document_shapes(kind, (json.loads(data) for (data,) in rows(data_set("sqlite"), sql)))
        made = document_shapes(kind, (json.loads(data) for (data,) in rows(tmp_path, sql)))
        assert made - real == set()
    assert rows(tmp_path, "PRAGMA foreign_key_check") == []


def test_write_sqlite_session_columns_are_sums_over_messages(tmp_path: Path) -> None:
    """Columns of a session hold what its finished steps used, as OpenCode keeps them."""
    write(small(1_500, 10, "sqlite"), tmp_path)

    differing = """
        SELECT s.id FROM session s LEFT JOIN (
            SELECT session_id, sum(json_extract(data, '$.cost')) AS cost FROM message GROUP BY 1
        ) m ON m.session_id = s.id
        WHERE abs(s.cost - coalesce(m.cost, 0)) > 1e-9
    """
    assert rows(tmp_path, differing) == []
    assert rows(tmp_path, "SELECT count(*) FROM session WHERE tokens_input <> 0") != [(0,)]


# --- the sizes of heavy users


def test_part_sizes_moderate_corpus_follow_heavy_users() -> None:
    """Mean about 6 KB a part, one in a hundred above about 60 KB, some of 5 MB; most parts are small."""
    plan = Plan(40_000, 11)

    sizes = sorted(part_sizes(sessions(plan), texts_of(plan.seed)))

    assert 5_000 <= statistics.fmean(sizes) <= 7_500
    assert sizes[len(sizes) // 2] < 2_000
    assert 50_000 <= sizes[len(sizes) * 99 // 100] <= 75_000
    assert 1 <= sum(size > 5_000_000 for size in sizes) <= 12


def test_sessions_moderate_corpus_lengths_have_a_long_tail() -> None:
    """Half of the sessions are short, a few hold most of what happened."""
    lengths = sorted(sum(len(message.parts) for message in session.messages) for session in sessions(Plan(40_000, 12)))

    assert lengths[len(lengths) // 2] < 60
    assert lengths[-1] > 1_500
    assert sum(lengths[-len(lengths) // 10 :]) > sum(lengths) / 2


def test_plan_of_m_has_the_size_of_a_heavy_user() -> None:
    """About 900 sessions, 38 thousand messages, 150 thousand parts, one session of 20 thousand traces."""
    plan = plan_of("M", "json")

    truth = truth_of(plan)

    assert truth.parts == pytest.approx(150_000, rel=0.05)
    assert truth.messages == pytest.approx(38_000, rel=0.1)
    assert truth.sessions == pytest.approx(900, rel=0.15)
    assert truth.contents["big session"] == 1


def test_write_big_session_has_its_traces(tmp_path: Path, open_index: OpenIndex) -> None:
    """One session has at least as many traces as asked for, by the index's count."""
    write(small(600, 13, "sqlite", 1_500), tmp_path / "data")

    con = open_index(tmp_path / "data")

    longest = con.execute("SELECT max(n) FROM (SELECT count(*) AS n FROM exchange_traces GROUP BY session_id)")
    (traces,) = longest.fetchone() or (0,)
    assert 1_500 <= traces < 1_700


def test_plan_of_named_sizes_grow_tenfold() -> None:
    """S, M and L are what benchmarks compare; the long session is in those that have room for it."""
    assert [parts for parts, _ in SIZES.values()] == [2_000, 150_000, 1_000_000]
    assert truth_of(plan_of("S", "all")).parts == pytest.approx(2_000, rel=0.3)


# --- the same again


@pytest.mark.parametrize("generation", ["json", "all"])
def test_write_same_plan_twice_is_the_same_to_the_byte(generation: str, tmp_path: Path) -> None:
    """A corpus depends on nothing but its plan; another seed gives other ids."""
    plan = small(400, 14, generation)

    first, second = write(plan, tmp_path / "a"), write(plan, tmp_path / "b")

    assert first == second
    assert first.totals() == truth_of(plan).totals()
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert not set(first.per_session) & set(truth_of(Plan(400, 15, STORES[generation])).per_session)


def test_cut_longer_than_a_pool_has_the_asked_length() -> None:
    """Texts have the length that was asked for, whatever it is, and are not one piece repeated."""
    texts = texts_of(1)

    text = texts.cut(Text("code", 7, 5_000_000))

    assert len(text) == 5_000_000
    assert len({text[at : at + 200] for at in range(0, 1_000_000, 200)}) > 4_900
    assert {texts.cut(Text("hostile", number, 5))[:20] for number in range(len(HOSTILE))} == {
        f"{hostile} "[:20] for hostile in HOSTILE
    }


def test_pretty_any_value_equals_the_standard_library() -> None:
    """The fast writer of indented JSON writes what the standard library writes."""
    value = {"a": [], "b": {}, "c": [1, {"d": None, "e": [True, 1e-8, -2.5]}], "ü": '\u0000"\\\n☃'}

    assert pretty(value) == json.dumps(value, indent=2, ensure_ascii=False)


# --- the command line


def test_main_small_corpus_prints_its_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is the truth of what was written; a second corpus in the same folder is refused."""
    arguments = ["--size", "S", "--generation", "sqlite", "--text-scale", "0.02", "--out", str(tmp_path)]

    main(arguments)

    printed = json.loads(capsys.readouterr().out)
    assert rows(tmp_path, "SELECT count(*) FROM part") == [(printed["parts"],)]
    assert printed["tokens"] == truth_of(plan_of("S", "sqlite")).totals()["tokens"]
    assert printed["document_bytes"] > 0
    with pytest.raises(SystemExit):
        main(arguments)
    assert "holds OpenCode storage already" in capsys.readouterr().err

"""What the settings leave out: never indexed, removed where it was, and back when the setting is gone."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from indexer import kept_spend, settings
from indexer.activity import read_activity
from indexer.checks import Place, thorough
from indexer.database import Database
from indexer.exclusion import Exclusion, Rule, narrowed
from indexer.publish import Publisher
from indexer.published import IndexReader
from indexer.service import read_once
from indexer.sources import Source
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_v1 import SqliteV1
from indexer.status import report
from indexer.storages import find_sources, open_storages
from tests.agreement import differences
from tests.builders import (
    PROJECT,
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    damaged,
    part,
    project,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
    write_sqlite,
)
from tests.conftest import Once
from tests.corpus import STORES, Plan, write
from tests.following import following

Write = Callable[[Path, Sequence[Doc]], Path]

DIARY = "d" * 40
USAGE = tokens(100, 20, total=120)
WRITERS: dict[str, Write] = {"json": write_json_tree, "sqlite": write_sqlite, "session_message": write_session_messages}
SECRET = ("diary", "ses_d", "ses_dc", "msg_d", "prt_d", "poet", "muse", "confess")


def public() -> list[Doc]:
    """A project that is indexed, with a fork of the private session that was moved here."""
    return [
        project(name="shop"),
        session(),
        user(),
        part("prt_1", "text", "msg_1u", text="hello"),
        assistant(usage=USAGE, cost=0.25),
        step_finish("prt_2", USAGE),
        session("ses_fork", created=START_MS + 90_000),
        *copied(private_answer(), "ses_fork", "_f"),
    ]


def private_answer() -> list[Doc]:
    """An answer in the private project."""
    return [
        assistant("msg_p2", "ses_d", parent="msg_p1", created=START_MS + 7, usage=USAGE, cost=0.5),
        step_finish("prt_p2", USAGE, "msg_p2", "ses_d", cost=0.5),
    ]


def private() -> list[Doc]:
    """A project that is left out, with a child session and parts whose message is gone."""
    folder = "/home/dev/private/diary"
    return [
        project(DIARY, worktree="/home/dev/private/diary", name="diary"),
        session("ses_d", project_id=DIARY, title="dear diary", directory=folder),
        user("msg_d1", "ses_d", agent="poet", model={"providerID": "muse", "modelID": "m"}),
        part("prt_d1", "text", "msg_d1", "ses_d", text="dear diary"),
        *private_answer(),
        part("prt_d3", "tool", "msg_p2", "ses_d", tool="confess", state={"status": "completed", "input": {}}),
        session("ses_dc", project_id=DIARY, parentID="ses_d", directory=folder),
        assistant("msg_d4", "ses_dc", agent="poet", usage=USAGE, cost=2, providerID="muse"),
        part("prt_d5", "text", "msg_d9", "ses_d", text="dear diary, without its message"),
    ]


def public_rows() -> list[Doc]:
    """The same as rows of the third generation."""
    return [
        project(name="shop"),
        session(),
        row("msg_1", "user", 1, text="hello"),
        answer("msg_2", 2, usage=USAGE),
    ]


def private_rows() -> list[Doc]:
    """The same as rows of the third generation."""
    return [
        project(DIARY, worktree="/home/dev/private/diary", name="diary"),
        session("ses_d", project_id=DIARY, title="dear diary", directory="/home/dev/private/diary"),
        row("msg_d1", "user", 1, "ses_d", text="dear diary"),
        answer("msg_d2", 2, "ses_d", usage=USAGE, agent="poet", content=[{"type": "text", "text": "dear diary"}]),
    ]


def docs_of(generation: str) -> tuple[list[Doc], list[Doc]]:
    """Return what is indexed and what is left out, for a generation."""
    return (public_rows(), private_rows()) if generation == "session_message" else (public(), private())


def load(index: Path, *data_dirs: Path, excluded: Sequence[str] = ()) -> Path:
    """Run one full pass, as `bulk` does."""
    with Database.open(index) as database:
        database.exclusion = Exclusion(excluded)
        publisher = Publisher(database)
        read_once(database, publisher, data_dirs, lambda done, total: None)
        publisher.close()
    return index


def everything(index: Path) -> str:
    """Return all values of all tables, but those of the storages' own paths."""
    reader = IndexReader(index)
    con = reader.connection()
    try:
        tables = con.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'index_db'").fetchall()
        names = {name for (name,) in tables} - {"sources", "sync_events"}
        return "\n".join(f"{name}: {con.execute(f'SELECT * FROM {name}').fetchall()}" for name in sorted(names))
    finally:
        con.close()
        reader.close()


@pytest.mark.parametrize(
    ("generation", "pattern"),
    [
        *(("json", pattern) for pattern in (DIARY, "diary", "dia*", "/home/dev/private", "/home/dev/private/*")),
        *(("sqlite", pattern) for pattern in (DIARY, "dia*")),
        *(("session_message", pattern) for pattern in ("diary", "/home/dev/private/*")),
    ],
)
def test_load_excluded_project_leaves_nothing_in_the_index(
    generation: str, pattern: str, tmp_path: Path, once: Once, no_retries: None
) -> None:
    """By id, name or path; as if it had never been there."""
    kept, left_out = docs_of(generation)
    both = WRITERS[generation](tmp_path / "both", [*kept, *left_out])

    def load_alone(folder: Path) -> None:
        """Index what is kept, as if there were nothing else."""
        load(folder / "index.duckdb", WRITERS[generation](folder / "opencode", kept))

    index = load(tmp_path / "index.duckdb", both, excluded=[pattern])

    found = differences(index, once(f"kept-{generation}", load_alone) / "index.duckdb")
    assert {table for table, _ in found.items()} <= {"sources"}, found  # another path
    assert [word for word in SECRET if word in everything(index)] == []


@pytest.mark.parametrize("generation", WRITERS)
def test_load_project_indexed_before_is_removed_and_comes_back(
    generation: str, tmp_path: Path, no_retries: None
) -> None:
    """The same index as if the setting had always been there, and as if it had never been."""
    kept, left_out = docs_of(generation)
    data_dir = WRITERS[generation](tmp_path / "opencode", [*kept, *left_out])
    never = load(tmp_path / "never.duckdb", data_dir)
    always = load(tmp_path / "always.duckdb", data_dir, excluded=["diary"])
    index = load(tmp_path / "index.duckdb", data_dir)

    load(index, data_dir, excluded=["diary"])
    removed, words = differences(index, always), [word for word in SECRET if word in everything(index)]
    load(index, data_dir)

    assert (removed, words) == ({}, [])
    assert differences(index, never) == {}


def test_load_copies_in_several_generations_are_left_out_together(tmp_path: Path, no_retries: None) -> None:
    """A partial migration: the session's document is in one storage, messages of it in all; one copy decides."""
    data_dir = write_json_tree(tmp_path / "opencode", [doc for doc in private() if doc.id != "ses_d"])
    write_sqlite(data_dir, [*public(), *private()])

    index = load(tmp_path / "index.duckdb", data_dir, excluded=["diary"])

    assert [word for word in SECRET if word in everything(index)] == []
    assert "ses_1" in everything(index)


def test_load_folder_of_a_session_is_left_out_and_its_project_is_not(tmp_path: Path, no_retries: None) -> None:
    """Sessions outside of any repository share one project; and what is deleted in one may be needed in another."""
    data_dir = write_json_tree(
        tmp_path / "opencode",
        [
            project("global", worktree="/"),
            session("ses_1", directory="/home/dev/notes", project_id="global"),
            user(),
            session("ses_d", directory="/home/dev/private/diary/2026", project_id="global"),
            user("msg_d1", "ses_d"),
        ],
    )

    index = load(tmp_path / "index.duckdb", data_dir, excluded=["/home/dev/private"])

    assert "ses_d" not in everything(index) and "msg_d1" not in everything(index)
    assert "'global'" in everything(index) and "ses_1" in everything(index)


def test_load_damaged_parts_without_a_message_are_not_named(
    tmp_path: Path, no_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing in them says of which session they are; beside one that does, they belong to it."""
    caplog.set_level(logging.DEBUG)
    unknown = damaged(part("prt_d7", "text", "msg_d7", "ses_d"), b'{"id":"prt_d7","sessionID":"ses_d"')
    shop = [part("prt_4", "text", "msg_4", text="undone"), damaged(part("prt_5", "text", "msg_4"), b"{")]
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private(), unknown, *shop])

    index = load(tmp_path / "index.duckdb", data_dir, excluded=["diary"])

    said = everything(index) + caplog.text
    assert [word for word in SECRET if word in said] == []
    assert "prt_5" in said


def test_load_what_cannot_be_listed_of_an_excluded_session_is_not_named(
    tmp_path: Path, no_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the ledger nor in the log; that of another session is."""
    caplog.set_level(logging.DEBUG)
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private()])
    storage = data_dir / "storage"
    for folder in ("message/ses_d/msg_d6", f"session/{DIARY}/ses_d6", "message/ses_1/msg_6"):
        (storage / f"{folder}.json").mkdir()
    shutil.copy(storage / "message" / "ses_1" / "msg_1u.json", storage / "message" / "ses_d")

    index = load(tmp_path / "index.duckdb", data_dir, excluded=["diary"])

    said = everything(index) + caplog.text
    assert [word for word in SECRET if word in said] == []
    assert "message/ses_1/msg_6.json" in said


def test_load_copies_of_an_excluded_original_count_themselves(tmp_path: Path, no_retries: None) -> None:
    """They are all there is of the request."""
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private()])
    index = load(tmp_path / "index.duckdb", data_dir)

    copies = [copies_of(index)]
    load(index, data_dir, excluded=["diary"])
    copies.append(copies_of(index))
    load(index, data_dir)
    copies.append(copies_of(index))

    assert copies == [["msg_p2_f"], [], ["msg_p2_f"]]


def copies_of(index: Path) -> list[str]:
    """List the messages that count as copies."""
    reader = IndexReader(index)
    con = reader.connection()
    try:
        found = con.execute("SELECT message_id FROM messages WHERE is_fork_copy ORDER BY ALL").fetchall()
        return [message_id for (message_id,) in found]
    finally:
        con.close()
        reader.close()


def test_load_deleted_session_is_removed_from_the_backup_too(tmp_path: Path, no_retries: None) -> None:
    """What OpenCode deleted is in no storage: the index itself says where it belonged."""
    data_dir = write_sqlite(tmp_path / "opencode", [*public(), *private()])
    index = load(tmp_path / "index.duckdb", data_dir)
    (data_dir / "opencode.db").unlink()
    write_sqlite(data_dir, [*public(), private()[0]])
    load(index, data_dir)
    before = kept_spend.read(kept_spend.kept_spend_path(index))

    load(index, data_dir, excluded=["diary"])

    after = kept_spend.read(kept_spend.kept_spend_path(index))
    assert before is not None and before.rows["sessions"] == 2
    assert after is not None and set(after.rows.values()) == {0}
    assert [word for word in SECRET if word in everything(index)] == []


def test_load_large_project_in_three_generations_is_removed_as_if_it_had_never_been(
    tmp_path: Path, no_retries: None
) -> None:
    """A generated history: child sessions, forks, copies of one session in several storages."""
    write(Plan(1_500, stores=STORES["all"], text_scale=0.02), tmp_path / "opencode")
    data_dir = tmp_path / "opencode"
    index = load(tmp_path / "index.duckdb", data_dir)
    left_out = largest_project(index)
    always = load(tmp_path / "always.duckdb", data_dir, excluded=[left_out])

    load(index, data_dir, excluded=[left_out])

    assert differences(index, always) == {}
    assert left_out not in everything(index)


def largest_project(index: Path) -> str:
    """Return the project with the most sessions."""
    reader = IndexReader(index)
    con = reader.connection()
    try:
        found = con.execute("SELECT project_id FROM sessions GROUP BY ALL ORDER BY count(*) DESC, project_id LIMIT 1")
        return str((found.fetchone() or ("",))[0])
    finally:
        con.close()
        reader.close()


@pytest.mark.parametrize("generation", WRITERS)
def test_follow_changes_of_an_excluded_project_are_not_indexed(
    generation: str, tmp_path: Path, no_retries: None
) -> None:
    """Live as in a full pass; what changes beside it is."""
    kept, left_out = docs_of(generation)
    write_docs = WRITERS[generation]
    data_dir = write_docs(tmp_path / "opencode", kept[:2])

    with following(tmp_path / "index.duckdb", data_dir, excluded=["/home/dev/private"]) as indexer:
        indexer.start()
        write_docs(data_dir, left_out)
        write_docs(data_dir, kept[2:])
        indexer.sees("FROM messages WHERE message_id = $id", id=kept[3].message_id)
        write_docs(data_dir, [session("ses_last")])
        indexer.sees("FROM sessions WHERE session_id = 'ses_last'")

    assert [word for word in SECRET if word in everything(tmp_path / "index.duckdb")] == []
    said = read_activity(tmp_path / "index.duckdb")
    assert said is not None and said.excluded_projects == 1


def test_follow_session_that_moves_into_an_excluded_folder_is_removed(tmp_path: Path, no_retries: None) -> None:
    """Not flagged as deleted: it is left out from then on."""
    moving = [
        session("ses_m", title="plans"),
        user("msg_m", "ses_m"),
        part("prt_m", "text", "msg_m", "ses_m", text="x"),
    ]
    data_dir = write_sqlite(tmp_path / "opencode", [*public(), *moving])
    private_project, moved = private()[0], session("ses_m", project_id=DIARY, updated=START_MS + 99_000)

    with following(tmp_path / "index.duckdb", data_dir, excluded=["diary"]) as indexer:
        indexer.start()
        indexer.sees("FROM sessions WHERE session_id = 'ses_m'")
        write_sqlite(data_dir, [private_project, moved])
        indexer.sees("SELECT 1 WHERE NOT EXISTS (FROM sessions WHERE session_id = 'ses_m')")

    assert [
        word for word in ("ses_m", "msg_m", "prt_m", "plans") if word in everything(tmp_path / "index.duckdb")
    ] == []


def test_load_texts_that_were_removed_are_wiped_out_of_the_file(tmp_path: Path, no_retries: None) -> None:
    """A full pass does so at its end."""
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private()])
    index = load(tmp_path / "index.duckdb", data_dir)
    before = files_with(b"dear diary", tmp_path / "index.duckdb.d")

    load(index, data_dir, excluded=["diary"])

    assert before != []
    assert files_with(b"dear diary", tmp_path / "index.duckdb.d") == []


def files_with(text: bytes, folder: Path) -> list[str]:
    """List the files below a folder that have some bytes in them."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_check_left_out_sessions_are_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_retries: None
) -> None:
    """The check reads the same settings as the indexer."""
    (tmp_path / "settings.toml").write_text('[exclude]\nprojects = ["diary"]', encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(tmp_path / "settings.toml"))
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private()])
    index = load(tmp_path / "index.duckdb", data_dir, excluded=settings.excluded_projects())

    found = thorough(Place(index, (data_dir,)), sample=None)

    assert {check.name: check.state for check in found}["content"] == "ok"


def test_check_older_copy_in_a_folder_that_is_left_out_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_retries: None
) -> None:
    """The newer storage is listed first, and its copy does not tell: the session has moved since it was migrated."""
    (tmp_path / "settings.toml").write_text('[exclude]\nprojects = ["/home/dev/old"]', encoding="utf-8")
    monkeypatch.setenv("ANALYTICS_CONFIG", str(tmp_path / "settings.toml"))
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(directory="/home/dev/old")])
    write_sqlite(data_dir, public())
    index = load(tmp_path / "index.duckdb", data_dir, excluded=settings.excluded_projects())

    found = thorough(Place(index, (data_dir,)), sample=None)

    assert {check.name: check.state for check in found}["content"] == "ok"


def test_inventory_each_storage_is_read_once_for_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To list one storage all of them are read, and once more each for every later list of its own."""
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private()])
    write_sqlite(data_dir, [*public(), *private()])
    read: list[str] = []
    for reader in (JsonTree, SqliteV1):
        sessions = reader.sessions

        def noted(source: Source, ids: object = None, sessions: Callable[..., object] = sessions) -> object:
            """Note that all sessions of a storage are read."""
            if ids is None:
                read.append(source.kind)
            return sessions(source, ids)

        monkeypatch.setattr(reader, "sessions", noted)
    sources = narrowed(find_sources([data_dir]), Exclusion(["diary"]))

    first = [source.inventory().sessions for source in sources], sorted(read)
    read.clear()
    second = [source.inventory().sessions for source in sources], sorted(read)

    assert first == second == ([["ses_1", "ses_fork"]] * 2, ["json_tree", "sqlite_v1"])


def test_open_storages_nothing_excluded_reads_sources_as_they_are(tmp_path: Path) -> None:
    """No cost for whoever leaves nothing out."""
    with Database.open(tmp_path / "index.duckdb") as database:
        sources = find_sources([write_json_tree(tmp_path / "opencode", public())])
        storages = open_storages(database, sources)

        assert [storage.source for storage in storages] == sources


@pytest.mark.parametrize(
    ("pattern", "is_left_out"),
    [
        (PROJECT, True),
        (PROJECT[:10], False),
        ("shop", True),
        ("SHOP", False),
        ("s*", True),
        ("/home/dev/shop", True),
        ("/home/dev/shop/", True),
        ("/home/dev", True),
        ("/home/*/shop", True),
        ("*/shop", True),
        ("~/shop", True),
        ("~", True),
        ("/home/dev/sh", False),
        ("/home/dev/shop/*", False),
        ("/elsewhere/shop", False),
    ],
)
def test_rule_names_project_by_id_name_and_path(
    pattern: str, is_left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path means the folder and all below it, a name the whole of it."""
    monkeypatch.setenv("HOME", "/home/dev")

    assert Rule.of([pattern]).names_project(PROJECT, None, "/home/dev/shop") is is_left_out


def test_status_says_how_much_is_left_out(tmp_path: Path, no_retries: None) -> None:
    """Counts, and no names."""
    data_dir = write_json_tree(tmp_path / "opencode", [*public(), *private()])
    found = report(load(tmp_path / "index.duckdb", data_dir, excluded=["diary"]))

    assert dict(found.lines())["excluded"] == "1 projects, 2 sessions: the settings leave them out"
    assert json.loads(json.dumps(found.as_json()["excluded"])) == {"projects": 1, "sessions": 2}

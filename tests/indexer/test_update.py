"""Looking at changed documents: how they are put into transactions."""

from pathlib import Path

import pytest

from indexer import update
from indexer.changes import Changes
from indexer.database import Database
from indexer.storages import find_sources, open_storages
from tests.builders import project, session, user, write_json_tree


@pytest.mark.parametrize(("sessions_first", "transactions"), [(update.SESSIONS_FIRST, 1), (10, 2)])
def test_apply_many_messages_at_once_sessions_are_written_first_only_if_they_take_long(
    sessions_first: int, transactions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live change of more messages than are read at once is one transaction: each derives its sessions anew."""
    monkeypatch.setattr(update, "SESSIONS_FIRST", sessions_first)
    messages = {f"msg_{number:03}": "ses_1" for number in range(update.MESSAGES_PER_READ + 20)}
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), *map(user, messages)])
    with Database.open(tmp_path / "index.duckdb") as database:
        storages = open_storages(database, find_sources([data_dir]))
        before = database.revision

        done = update.apply(database, storages, Changes(sessions={"ses_1"}, messages={**messages}), may_postpone=True)

        assert done.written == len(messages)
        assert database.revision - before == transactions

"""A generator of OpenCode storage of any size and generation, with its own truth: `write(Plan(...), folder)`."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tests.corpus.conversations import Planner
from tests.corpus.model import Plan, Session, Store
from tests.corpus.stores import open_stores
from tests.corpus.texts import texts_of
from tests.corpus.truth import Truth

__all__ = ["SIZES", "STORES", "Plan", "Session", "Store", "Truth", "plan_of", "sessions", "truth_of", "write"]

# parts, traces of the one long session
SIZES = {"S": (2_000, 0), "M": (150_000, 20_000), "L": (1_000_000, 20_000)}
STORES = {
    "json": (Store.JSON,),
    "sqlite": (Store.SQLITE,),
    "session_message": (Store.SESSION_MESSAGE,),
    "mixed": (Store.JSON, Store.SQLITE),
    "all": (Store.JSON, Store.SQLITE, Store.SESSION_MESSAGE),
}


def plan_of(size: str, generation: str, seed: int = 1) -> Plan:
    """Name a plan: a size of `SIZES` in the stores of `STORES`."""
    parts, big_session_traces = SIZES[size]
    return Plan(parts, seed, STORES[generation], big_session_traces)


def sessions(plan: Plan) -> Iterator[Session]:
    """Plan the sessions of a corpus, family by family, without making any text."""
    return chain.from_iterable(Planner(plan).families())


def truth_of(plan: Plan) -> Truth:
    """Count what an index of a corpus must say, without writing it."""
    truth = Truth()
    for session in sessions(plan):
        truth.add(session)
    return truth


def write(plan: Plan, data_dir: Path) -> Truth:
    """Write a corpus as a data folder of OpenCode. Only one family of sessions is in memory at a time.

    Args:
        plan: What to write.
        data_dir: Folder without OpenCode storage; made if it does not exist.

    Returns:
        What an index of it must say.
    """
    truth = Truth()
    writers = open_stores(plan, data_dir, texts_of(plan.seed), truth)
    for session in sessions(plan):
        truth.add(session)
        for writer in writers:
            writer.write(session)
    for writer in writers:
        writer.close()
    return truth

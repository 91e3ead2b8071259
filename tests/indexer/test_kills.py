"""An indexer that is killed at any moment: what is published can be read, and the next start goes on from there.

`make stress` does the same hundreds of times.
"""

from pathlib import Path

import pytest

from tests.stress import child, kills
from tests.stress.kills import BULK, PUBLICATION, REAL_TIME, START, TRANSACTION, Life

MOST_TRIES = 15  # a kill at a random moment may hit something else


@pytest.mark.parametrize(
    ("kind", "count", "seed"), [(BULK, 3, 1), (TRANSACTION, 3, 2), (PUBLICATION, 2, 3), (REAL_TIME, 2, 4)]
)
def test_run_killed_any_moment_next_start_equals_fresh_index(tmp_path: Path, kind: str, count: int, seed: int) -> None:
    """Published revisions open and balance all the time; after a restart nothing is lost, doubled or changed."""
    with Life(tmp_path / "life", seed, parts=100) as life:
        while sum(kill.hit == kind for kill in life.kills) < count and len(life.kills) < MOST_TRIES:
            life.kill(kind)

        life.check()

    assert sum(kill.hit == kind for kill in life.kills) == count, life.kills
    assert life.watcher.opened > 0
    assert not life.watcher.failures


@pytest.mark.parametrize(
    ("said", "hit", "phase", "is_unlogged"),
    [
        ("", START, START, False),
        ("TKE", START, START, False),
        ("TKEB", BULK, BULK, False),
        ("TKEBU", BULK, BULK, True),
        ("TKEBUT", TRANSACTION, BULK, True),
        ("TKEBT", TRANSACTION, BULK, False),
        ("TKEBTK", TRANSACTION, BULK, False),
        ("TKEBUTKEC", PUBLICATION, BULK, True),
        ("TKEBUTKECLYSV", BULK, BULK, False),
        ("TKEBTKERTKECLY", PUBLICATION, REAL_TIME, False),
        ("TKEBTKERTKECLYS", REAL_TIME, REAL_TIME, False),
    ],
)
def test_classify_everything_said_names_what_was_hit(said: str, hit: str, phase: str, is_unlogged: bool) -> None:
    """The last step that was told decides; a step that is over counts as the phase around it."""
    found = kills.classify(list(said))

    assert (found.hit, found.phase, found.is_unlogged) == (hit, phase, is_unlogged)


def test_child_letters_are_distinct() -> None:
    """One letter stands for one step."""
    letters = [child.BULK, child.REAL_TIME, child.OPEN, child.COMMIT, child.ENDED]
    letters += [child.COPIED, child.LINKED, child.POINTED, child.SWAPPED, child.UNLOGGED, child.LOGGED]

    assert len(set(letters)) == len(letters)

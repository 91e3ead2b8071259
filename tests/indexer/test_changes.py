"""What may have changed, and the queue in which it waits."""

import threading

from indexer.changes import ChangeQueue, Changes


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin at 1,000 ms."""
        self.now_ms = 1_000

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms


def test_changes_nothing_named_is_nothing_to_look_at() -> None:
    """Everything is something, but names no document."""
    assert (bool(Changes()), len(Changes())) == (False, 0)
    assert (bool(Changes(is_everything=True)), len(Changes(is_everything=True))) == (True, 0)


def test_changes_every_kind_counts() -> None:
    """One document each."""
    each = [
        Changes({"prj"}),
        Changes(sessions={"ses"}),
        Changes(messages={"msg": None}),
        Changes(touched_sessions={"s"}),
    ]

    assert [(bool(changes), len(changes)) for changes in each] == [(True, 1)] * 4


def test_add_named_twice_is_one_document() -> None:
    """All kinds are united."""
    changes = Changes({"p1"}, {"s1"}, {"m1": "s1"}, {"t1"})

    changes.add(Changes({"p1", "p2"}, {"s1"}, {"m1": "s1", "m2": ""}, {"t2"}, is_everything=True))

    assert changes == Changes({"p1", "p2"}, {"s1"}, {"m1": "s1", "m2": ""}, {"t1", "t2"}, is_everything=True)


def test_add_message_without_its_session_keeps_the_known_one() -> None:
    """A part tells its message only; the file of the message tells its session, too."""
    changes = Changes(messages={"m1": "s1", "m2": None, "m3": None})

    changes.add(Changes(messages={"m1": None, "m2": "s2", "m3": None, "m4": None}))

    assert changes.messages == {"m1": "s1", "m2": "s2", "m3": None, "m4": None}


def test_add_message_of_another_session_names_the_later_one() -> None:
    """It was moved."""
    changes = Changes(messages={"m1": "s1"})

    changes.add(Changes(messages={"m1": "s2"}))

    assert changes.messages == {"m1": "s2"}


def test_put_nothing_wakes_nobody() -> None:
    """A watcher that is asked ten times a second mostly has nothing to tell."""
    queue = ChangeQueue(Clock())

    queue.put(Changes())

    assert (queue.wait(0), queue.waiting) == (False, (0, None))


def test_take_named_twice_comes_once_with_the_time_of_the_first() -> None:
    """The oldest notice tells how late the dashboard is."""
    clock = Clock()
    queue = ChangeQueue(clock)
    queue.put(Changes(sessions={"s1"}))
    clock.now_ms += 500
    queue.put(Changes(sessions={"s1", "s2"}, is_everything=True))

    waiting = queue.waiting
    taken = queue.take()

    assert waiting == (3, 1_000)
    assert taken == (Changes(sessions={"s1", "s2"}, is_everything=True), 1_000)
    assert (queue.take(), queue.waiting) == ((Changes(), None), (0, None))


def test_take_what_is_put_afterwards_waits_for_the_next_time() -> None:
    """What was taken belongs to who took it."""
    queue = ChangeQueue(Clock())
    put = Changes(messages={"m1": None})
    queue.put(put)

    taken, _ = queue.take()
    queue.put(Changes(messages={"m2": None}))

    assert (taken.messages, put.messages, queue.take()[0].messages) == ({"m1": None}, {"m1": None}, {"m2": None})


def test_wait_other_thread_puts_is_woken() -> None:
    """Long before the time is up."""
    queue = ChangeQueue(Clock())
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(queue.wait(60)))
    waiting.start()

    queue.put(Changes(projects={"p1"}))
    waiting.join(30)

    assert answers == [True]


def test_wake_nothing_put_ends_one_wait() -> None:
    """Also one that begins only after it; the next one waits for something to be put."""
    queue = ChangeQueue(Clock())

    queue.wake()
    woken, waited = queue.wait(60), queue.wait(0.01)
    queue.put(Changes(projects={"p1"}))

    assert (woken, waited, queue.wait(60)) == (False, False, True)


def test_put_many_threads_loses_nothing() -> None:
    """Every watcher has a thread of its own."""
    queue = ChangeQueue(Clock())
    taken = Changes()

    def put(number: int) -> None:
        """Put a hundred messages, one by one."""
        for each in range(100):
            queue.put(Changes(messages={f"m{number}-{each}": None}))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.add(queue.take()[0])
    taken.add(queue.take()[0])

    assert len(taken) == 800

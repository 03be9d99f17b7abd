from __future__ import annotations

from crawling.service.kafka import Record
from kafka_monitor.offsets import AGAIN, DURABLE, MOST_WAITING, Offsets


class Clock:
    """A clock that the test sets forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(offset: int, partition: int = 0) -> Record:
    return Record("in", partition, offset, None, b"", (), 0.0)


def test_what_redis_holds_is_due_when_it_has_held_it_long_enough() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    assert offsets.wait() is None
    offsets.hold([record(7), record(8), record(3, partition=1)])

    assert offsets.due() == {}
    assert offsets.wait() == DURABLE
    clock.now += DURABLE

    assert offsets.due() == {("in", 0): 9, ("in", 1): 4}
    assert offsets.wait() == 0


def test_only_what_is_due_is_due_until_it_is_committed() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    offsets.hold([record(1)])
    clock.now += 1
    offsets.hold([record(2)])
    clock.now += 1
    offsets.hold([record(3)])
    clock.now += DURABLE - 1

    assert offsets.due() == offsets.due() == {("in", 0): 3}
    clock.now += 1
    offsets.committed()
    assert offsets.due() == {("in", 0): 4}
    offsets.committed()
    assert offsets.due() == {}
    assert offsets.wait() is None


def test_a_partition_that_is_lost_is_not_committed() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    offsets.hold([record(1), record(1, partition=1)])
    clock.now += DURABLE

    offsets.keep({("in", 1)})

    assert offsets.due() == {("in", 1): 2}


def test_no_more_is_read_than_the_tracker_remembers() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    offsets.hold([record(0)])
    offsets.hold([record(MOST_WAITING - 1), record(0, partition=1)])
    assert not offsets.is_full()
    offsets.hold([record(MOST_WAITING)])

    assert offsets.is_full()
    clock.now += DURABLE
    offsets.due()
    offsets.committed()
    assert not offsets.is_full()


def test_what_redis_may_have_lost_is_read_again_from_before_the_commits_of_late() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    offsets.hold([record(5), record(6), record(3, partition=1)])
    clock.now += DURABLE
    assert offsets.due()
    offsets.committed()
    clock.now += AGAIN - 1
    offsets.hold([record(7), record(8)])
    clock.now += 1
    assert not offsets.due()
    offsets.committed()

    assert offsets.is_watched()
    assert offsets.of_late() == {("in", 0): 5, ("in", 1): 3}
    clock.now += DURABLE
    assert offsets.is_watched()
    assert offsets.of_late() == {("in", 0): 7}


def test_what_is_read_again_is_held_and_committed_anew() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    offsets.hold([record(5), record(6)])
    clock.now += DURABLE
    assert offsets.due()
    offsets.committed()
    offsets.hold([record(7)])
    offsets.rewound(offsets.of_late())

    assert offsets.of_late() == {}
    assert offsets.wait() is None
    offsets.hold([record(5)])
    assert offsets.of_late() == {("in", 0): 5}
    clock.now += DURABLE
    assert offsets.due() == {("in", 0): 6}


def test_nothing_is_watched_when_the_last_commit_is_long_ago() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    assert not offsets.is_watched()
    offsets.hold([record(5)])
    clock.now += DURABLE
    assert offsets.due()
    offsets.committed()
    clock.now += AGAIN
    assert offsets.is_watched()

    clock.now += 1

    assert not offsets.is_watched()
    assert offsets.of_late() == {}


def test_no_more_is_read_again_than_the_tracker_remembers() -> None:
    clock = Clock()
    offsets = Offsets(clock)
    for first in (0, MOST_WAITING):
        offsets.hold([record(first), record(first + MOST_WAITING - 1)])
        clock.now += DURABLE
        assert offsets.due()
        offsets.committed()

    assert offsets.of_late() == {("in", 0): MOST_WAITING}

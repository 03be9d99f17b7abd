from __future__ import annotations

import time

import pytest

from crawling.held_lease import HeldLease
from crawling.lease_buffer import MAX_LATE, LeaseBuffer
from crawling.tracker.tracker import CrawlId, CrawlOptions, Lease

SOON = 3600.0


def held(
    url: str, *, priority: int = 0, start: float = 0.0, latest: float = float("inf")
) -> HeldLease:
    """Return a lease whose times count from now."""
    now = time.monotonic()
    return HeldLease(
        Lease(
            crawl=CrawlId("link", "app", "crawl"),
            options=CrawlOptions(),
            rid=url.encode(),
            token="t",
            url=url,
            domain="example.com",
            fingerprint=url.encode(),
            priority=priority,
            depth=0,
            attempts=0,
            start=now + start,
            latest=now + latest,
        )
    )


@pytest.fixture
def buffer() -> LeaseBuffer:
    return LeaseBuffer()


def urls(buffer: LeaseBuffer) -> list[str]:
    popped = iter(buffer.pop, None)
    return [each.lease.url for each in popped]


def test_the_most_urgent_comes_first_and_equals_in_order(buffer: LeaseBuffer) -> None:
    for url, priority in (("a", 1), ("b", 5), ("c", 1), ("d", 5)):
        buffer.add(held(url, priority=priority))

    assert urls(buffer) == ["b", "d", "a", "c"]


def test_nothing_starts_before_its_time_however_urgent(buffer: LeaseBuffer) -> None:
    waiting = held("later", priority=9, start=SOON)
    buffer.add(waiting)
    buffer.add(held("now"))

    assert buffer.startable == 1
    assert urls(buffer) == ["now"]
    assert buffer.next_start == waiting.lease.start
    assert len(buffer) == 1


def test_what_waits_starts_when_its_time_has_come(buffer: LeaseBuffer) -> None:
    buffer.add(held("soon", start=0.02))
    assert buffer.pop() is None

    deadline = time.monotonic() + 5
    while not (found := urls(buffer)) and time.monotonic() < deadline:
        pass

    assert found == ["soon"]
    assert buffer.next_start is None


def test_clearing_gives_back_all(buffer: LeaseBuffer) -> None:
    buffer.add(held("now"))
    buffer.add(held("later", start=SOON))
    assert buffer.startable == 1

    assert {each.lease.url for each in buffer.clear()} == {"now", "later"}
    assert not buffer


def test_a_lease_in_time_is_not_lost(buffer: LeaseBuffer) -> None:
    assert not buffer.is_lost(held("a", latest=SOON))


def test_a_request_that_is_always_late_is_sent_in_the_end(buffer: LeaseBuffer) -> None:
    late = held("a", latest=-1)

    assert [buffer.is_lost(late) for _ in range(MAX_LATE + 1)] == [True] * MAX_LATE + [False]
    # Asked again on its way out.
    assert not buffer.is_lost(late)
    assert buffer.is_lost(held("another", latest=-1))


def test_a_request_that_was_sent_may_be_late_again(buffer: LeaseBuffer) -> None:
    late = held("a", latest=-1)
    for _ in range(MAX_LATE):
        buffer.is_lost(late)

    buffer.sent(late)

    assert buffer.is_lost(late)

"""Many workers at once: nothing is lent twice, nothing is lost, no throttle is broken."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.tracker import Outcome
from tests.integration.tracking import CRAWL, balanced, books, offer, submit, until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from crawling.tracker.tracker import Lease, Tracker, TrackerConfig
    from tests.integration.tracking import MakeTracker

WORKERS = 50
#: Event loops, each in a thread of its own with a tracker of its own.
LOOPS = 4
DOMAINS = 500
REQUESTS = 10_000
#: What busy processes may disagree by about Redis's clock; on one host there is one clock.
CLOCKS = {"sqlite": 0.0005, "unix": 0.04, "redis+cluster": 0.04}


@dataclass
class Record:
    """What the workers saw; all loops write to it, one append at a time."""

    held: dict[tuple[str, bytes], str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    starts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, lease: Lease, worker: str) -> None:
        holder = self.held.setdefault((lease.domain, lease.rid), worker)
        assert holder == worker, f"{lease.url} was lent to {holder} and to {worker}"
        self.starts[lease.domain].append(lease.start)

    def finish(self, lease: Lease) -> None:
        del self.held[lease.domain, lease.rid]
        self.done.append(lease.url)


async def work(tracker: Tracker, worker: str, record: Record) -> None:
    """Lease and settle until the crawl is over; a first page leads to all of its domain."""
    while True:
        leases, wait = await tracker.lease(worker, 16, "link")
        for lease in leases:
            record.take(lease, worker)
        await asyncio.sleep(0)
        for lease in leases:
            # Before the tracker hears of it: from then on another worker may hold it.
            record.finish(lease)
        outcomes = [Outcome(lease, "done", status=200, links=links(lease)) for lease in leases]
        assert all(await tracker.settle(worker, outcomes))
        if not leases:
            if (await books(tracker)).state == "finished":
                return
            await tracker.idle(0.2 if wait is None else min(wait, 0.2))


def links(lease: Lease) -> list[Any]:
    if lease.depth:
        return []
    pages = range(REQUESTS // DOMAINS)
    return [offer(str(page), lease.domain, priority=60, depth=1) for page in pages[1:]]


async def audit(tracker: Tracker) -> int:
    """Check the books again and again until the crawl is over; return how often."""
    count = 0
    while (await books(tracker)).state != "finished":
        await balanced(tracker)
        count += 1
        await asyncio.sleep(0.02)
    return count


async def race(tracker: Tracker, name: str, workers: int, record: Record) -> int:
    auditing = asyncio.create_task(audit(tracker))
    await asyncio.gather(
        *(work(tracker, f"{name}-{number}", record) for number in range(workers))
    )
    return await auditing


def run_in_loops(url: str, config: TrackerConfig, record: Record) -> int:
    """Race in several event loops, each with a tracker and a part of the workers."""

    async def part(number: int) -> int:
        tracker = tracker_at(url, config)
        await tracker.open()
        try:
            return await race(tracker, f"loop-{number}", WORKERS // LOOPS + 1, record)
        finally:
            await tracker.close()

    def run(coroutine: Coroutine[Any, Any, int]) -> int:
        return asyncio.run(coroutine)

    with ThreadPoolExecutor(LOOPS) as threads:
        return sum(threads.map(run, [part(number) for number in range(LOOPS)]))


async def raced(tracker: Tracker, url: str, record: Record) -> None:
    """Submit one page of each domain, let the workers race, and check what is always true."""
    await submit(tracker, *(offer("0", f"{number}.example") for number in range(DOMAINS)))
    if url == "sqlite://":
        audits = await race(tracker, "loop", WORKERS, record)
    else:
        audits = await asyncio.to_thread(run_in_loops, url, tracker.config, record)

    assert audits > 0
    assert record.held == {}
    assert max(Counter(record.done).values()) == 1
    assert len(record.done) == REQUESTS
    status = await books(tracker)
    assert (status.done, status.accepted, status.state) == (REQUESTS, REQUESTS, "finished")
    assert len(await tracker.events()) == 1


async def test_fifty_workers_fetch_each_request_once(
    make_tracker: MakeTracker, tracker_url: str
) -> None:
    tracker = await make_tracker(concurrency=8, lease_timeout=60.0)

    await raced(tracker, tracker_url, Record())


async def test_fifty_workers_together_keep_every_throttle(
    make_tracker: MakeTracker, tracker_url: str
) -> None:
    tracker = await make_tracker(
        concurrency=8, lease_timeout=60.0, hits=5, window=0.5, moderated=False
    )
    record = Record()

    await raced(tracker, tracker_url, record)

    error = CLOCKS[tracker_url.partition("://")[0]]
    for starts in record.starts.values():
        starts.sort()
        sixth_later = zip(starts, starts[5:], strict=False)
        assert min(later - earlier for earlier, later in sixth_later) >= 0.5 - error


async def test_fifty_workers_together_keep_their_distance(
    make_tracker: MakeTracker, tracker_url: str
) -> None:
    tracker = await make_tracker(concurrency=8, lease_timeout=60.0, hits=20, window=2.0)
    record = Record()

    await raced(tracker, tracker_url, record)

    error = CLOCKS[tracker_url.partition("://")[0]]
    for starts in record.starts.values():
        starts.sort()
        assert min(later - earlier for earlier, later in pairwise(starts)) >= 0.102 - error


async def test_dead_workers_among_fifty_lose_nothing(make_tracker: MakeTracker) -> None:
    """Each worker dies with its first leases, and comes back under a new name."""
    tracker = await make_tracker(lease_timeout=0.3)
    await submit(tracker, *(offer("0", f"{number}.example") for number in range(100)))
    record = Record()
    late: list[tuple[str, Lease]] = []
    for number in range(10):
        leases, _ = await tracker.lease(f"dead-{number}", 5, "link")
        late += [(f"dead-{number}", lease) for lease in leases]

    async def all_are_back() -> bool:
        await tracker.reclaim()
        await balanced(tracker)
        return (await books(tracker)).leased == 0

    await until(all_are_back)
    racing = asyncio.create_task(race(tracker, "alive", 10, record))
    for worker, lease in late:
        assert await tracker.settle(worker, [Outcome(lease, "done", status=200)]) == [False]
    await racing

    assert len(late) == 50
    assert len(set(record.done)) == len(record.done) == 100 * (REQUESTS // DOMAINS)
    assert (await books(tracker)).done == len(record.done)


@pytest.mark.parametrize("tracker_kind", ["file", "redis"], indirect=True)
async def test_one_last_place_in_a_window_goes_to_one_worker(
    make_tracker: MakeTracker,
) -> None:
    trackers = [await make_tracker(hits=3, window=100.0, moderated=False) for _ in range(8)]
    await submit(trackers[0], *(offer(str(number)) for number in range(100)))

    answers = await asyncio.gather(
        *(tracker.lease(f"worker-{n}", 1, "link") for n in range(50) for tracker in trackers)
    )

    assert sum(len(answer.leases) for answer in answers) == 3
    await balanced(trackers[0])
    assert (await books(trackers[0], CRAWL)).leased == 3

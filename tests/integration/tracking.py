"""The steps that the tests of the trackers are made of.

Each step checks the ledger of every crawl when it is done, and that an audit finds nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from crawling.tracker.tracker import CrawlId, Offer, Outcome
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from crawling.tracker.tracker import CrawlStatus, Event, Kind, Lease, Tracker

CRAWL = CrawlId("link", "tests", "first")
OTHER = CrawlId("link", "tests", "second")
WORKER = "worker-1"


class MakeTracker(Protocol):
    async def __call__(self, **changes: object) -> Tracker: ...


def offer(path: str, domain: str = "a.example", priority: int = 70, **fields: Any) -> Offer:
    url = f"http://{domain}/{path}"
    return Offer(
        url=url,
        domain=domain,
        fingerprint=fingerprint(url),
        priority=priority,
        depth=fields.pop("depth", 0),
        **fields,
    )


def offers(count: int, domain: str = "a.example", **fields: Any) -> list[Offer]:
    return [offer(str(number), domain, **fields) for number in range(count)]


def paths(leases: Iterable[Lease]) -> list[str]:
    return [lease.url.rpartition("/")[2] for lease in leases]


async def books(tracker: Tracker, crawl: CrawlId = CRAWL) -> CrawlStatus:
    status = await tracker.crawl(crawl)
    assert status is not None, f"{crawl} is unknown"
    return status


async def balanced(tracker: Tracker) -> None:
    for crawl in await tracker.crawls():
        status = await books(tracker, crawl)
        assert status.balanced, status
        columns = (status.queued, status.delayed, status.leased, status.done)
        assert min(*columns, status.failed, status.dropped, status.duplicates) >= 0, status
        assert sum(status.statuses.values()) == status.done, status
        assert sum(status.by_depth.values()) == status.done + status.failed, status
        assert sum(status.reasons.values()) == status.failed + status.dropped, status
    assert await tracker.audit() == []


async def submit(tracker: Tracker, *seeds: Offer, crawl: CrawlId = CRAWL, **how: Any) -> int:
    submitted = await tracker.submit(crawl, seeds, **how)
    await balanced(tracker)
    return submitted.queued


async def lease(
    tracker: Tracker, limit: int = 100, *, worker: str = WORKER, spiderid: str = "link"
) -> list[Lease]:
    """Lease until there is nothing more at this moment, or *limit* is reached."""
    leases: list[Lease] = []
    wait: float | None = 0.0
    while wait == 0 and len(leases) < limit:
        granted, wait = await tracker.lease(worker, limit - len(leases), spiderid)
        leases += granted
    await balanced(tracker)
    return leases


async def settle(
    tracker: Tracker, lease: Lease, kind: Kind = "done", *, worker: str = WORKER, **how: Any
) -> bool:
    """Settle one lease; a page that is done has status 200 and links if any."""
    if kind == "done":
        how = {"status": 200, "size": 100, **how}
    elif kind in {"failed", "dropped", "retry"}:
        how = {"reason": {"dropped": "robots"}.get(kind, "timeout"), **how}
    accepted = await tracker.settle(worker, [Outcome(lease, kind, **how)])
    await balanced(tracker)
    return accepted[0]


async def fetch_all(tracker: Tracker, links: Sequence[Offer] = ()) -> list[str]:
    """Fetch until nothing is left; the first page has *links*."""
    fetched: list[str] = []
    while leases := await lease(tracker):
        for leased in leases:
            assert await settle(tracker, leased, links=() if fetched else links)
            fetched.append(leased.url)
    return fetched


async def finished(tracker: Tracker) -> list[Event]:
    """Return the events that tell of the end of crawls."""
    if tracker.config.shards > 1:
        # Over shards a crawl may end in the next sweep only.
        await tracker.sweep()
    events = await tracker.events(limit=1000)
    return [event for event in events if event.body["action"] == "finished"]


async def sweep(tracker: Tracker) -> None:
    while await tracker.sweep():
        await balanced(tracker)
    await balanced(tracker)


async def until(
    condition: Callable[[], Awaitable[Any]], *, timeout: float = 10.0, every: float = 0.005
) -> Any:
    """Ask *condition* again and again; return its first true answer."""
    deadline = time.monotonic() + timeout
    while not (answer := await condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(every)
    return answer

"""What commands and `fleet top` do to a crawl, and how they say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawling.tracker.tracker import CrawlId, Tracker


class Done(NamedTuple):
    """What an action did: for people, and as JSON."""

    text: str
    result: dict[str, Any]


async def stop(tracker: Tracker, crawl: CrawlId) -> Done:
    dropped = await tracker.stop(crawl)
    return Done(f"stopped, {dropped} requests dropped", {"dropped": dropped})


async def pause(tracker: Tracker, crawl: CrawlId) -> Done:
    paused = await tracker.pause(crawl)
    return Done("paused" if paused else "was not running", {"changed": paused})


async def resume(tracker: Tracker, crawl: CrawlId) -> Done:
    resumed = await tracker.resume(crawl)
    return Done("goes on" if resumed else "was not paused", {"changed": resumed})


async def retry(tracker: Tracker, crawl: CrawlId, reason: str = "", domain: str = "") -> Done:
    queued = await tracker.retry(crawl, reason, domain)
    return Done(f"{queued} requests queued again", {"queued": queued})


#: What needs no more than a crawl.
ACTIONS: dict[str, Callable[[Tracker, CrawlId], Awaitable[Done]]] = {
    "stop": stop,
    "pause": pause,
    "resume": resume,
    "retry": retry,
}

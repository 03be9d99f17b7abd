"""What Prometheus is told of a whole fleet, held against the tracker's own figures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from crawling.service.metrics import TrackerCollector
from crawling.tracker.tracker import CrawlId, worker_name
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    books,
    lease,
    offer,
    offers,
    settle,
    submit,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawling.tracker.tracker import CrawlStatus, Tracker
    from tests.integration.tracking import MakeTracker

DOMAINS, OLDEST = "fleet_domains", "fleet_oldest_queued_seconds"


async def told(tracker: Tracker) -> dict[tuple[str, str], float]:
    """Return what a scrape gets: the value of each name and state."""
    collector = TrackerCollector(lambda: tracker, asyncio.get_running_loop())
    registry = CollectorRegistry()
    registry.register(collector)
    families = await asyncio.to_thread(lambda: list(registry.collect()))
    return {
        (sample.name, sample.labels.get("state", "")): sample.value
        for family in families
        for sample in family.samples
    }


def of(samples: dict[tuple[str, str], float], name: str) -> dict[str, float]:
    """Return what of a name is not 0, by state."""
    return {state: value for (each, state), value in samples.items() if each == name and value}


async def test_domains_are_told_by_what_keeps_them(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    for number in range(3):
        await submit(tracker, *offers(2, f"{number}.example"))
    await submit(tracker, *offers(2, "blocked.example"))
    await tracker.block("blocked.example")
    await lease(tracker)
    await submit(tracker, offer("new", "new.example"), crawl=OTHER)

    assert of(await told(tracker), DOMAINS) == {"ready": 1, "resting": 3, "blocked": 1}


async def test_more_than_a_thousand_ready_domains_are_told(tracker: Tracker) -> None:
    await tracker.submit(CRAWL, [offer("page", f"{number}.example") for number in range(1201)])

    assert of(await told(tracker), DOMAINS) == {"ready": 1201}


async def test_nothing_is_ready_where_every_crawl_is_paused_and_nobody_works(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(2))
    assert of(await told(tracker), DOMAINS) == {"ready": 1}

    await tracker.pause(CRAWL)

    assert of(await told(tracker), DOMAINS) == {}


async def test_what_a_crawl_has_handed_to_another_spider_is_told(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(lease_timeout=60.0)
    await lease(tracker, worker=worker_name("wandering"), spiderid="wandering")
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, links=[offer("next", "b.example", spiderid="wandering")])

    samples = await told(tracker)

    assert of(samples, DOMAINS) == {"ready": 1}
    assert samples[OLDEST, ""] > 0


async def test_requests_are_told_as_they_are_in_the_books(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=100.0)
    await submit(tracker, *offers(6), offer("refused", rule="deny"))
    await submit(tracker, *offers(3, "b.example", priority=9), crawl=OTHER)
    held = await lease(tracker, 5)
    await settle(tracker, held[0])
    await settle(tracker, held[1], "failed")
    await settle(tracker, held[2], "retry")

    columns = "queued delayed leased done failed dropped".split()
    total = Counter[str]()
    for crawl in (CRAWL, OTHER):
        status = await books(tracker, crawl)
        total.update({column: getattr(status, column) for column in columns})
    assert set(total) == set(+total), "each column has something in it"
    assert of(await told(tracker), "fleet_requests") == dict(total)


async def test_crawls_are_told_by_their_state_and_the_oldest_of_those_that_run(
    tracker: Tracker,
) -> None:
    crawls = [CrawlId("link", "tests", str(number)) for number in range(4)]
    for crawl in crawls:
        await submit(tracker, *offers(1), crawl=crawl)
        await aged(partial(books, tracker, crawl))
    await tracker.pause(crawls[0])
    await tracker.stop(crawls[1])
    oldest = await books(tracker, crawls[2])
    began = time.time()

    samples = await told(tracker)

    assert of(samples, "fleet_crawls") == {"running": 2, "paused": 1, "stopped": 1}
    assert samples["fleet_crawls_running", ""] == 2
    age = samples["fleet_oldest_crawl_seconds", ""]
    assert began - oldest.started <= age <= time.time() - oldest.started


async def test_the_oldest_queued_request_is_told_by_its_age(tracker: Tracker) -> None:
    assert (await told(tracker))[OLDEST, ""] == 0
    await submit(tracker, offer("first", "a.example", priority=1))
    await tracker.sweep()

    async def is_old() -> bool:
        since = await tracker.oldest_queued("link")
        return since is not None and time.time() - since > 1

    await until(is_old)
    await submit(tracker, offer("later", "b.example", priority=9))
    since = await tracker.oldest_queued("link")
    assert since is not None
    began = time.time()

    age = (await told(tracker))[OLDEST, ""]

    assert 1 < began - since <= age <= time.time() - since


async def aged(look: Callable[[], Awaitable[CrawlStatus]]) -> None:
    """Return when the crawl is older than a look at a tracker takes."""

    async def is_old() -> bool:
        return time.time() - (await look()).started > 0.5

    await until(is_old)


async def test_workers_are_told_while_they_live_and_those_in_trouble(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(lease_timeout=60.0)
    for worker in ("one", "two", "three"):
        await lease(tracker, worker=worker)
    await tracker.renew("two", "Kafka does not answer")
    await tracker.leave("three")

    samples = await told(tracker)

    assert samples["fleet_workers", ""] == 2
    assert samples["fleet_workers_troubled", ""] == 1
    assert samples["fleet_tracker_up", ""] == 1


async def test_a_worker_that_was_not_heard_of_for_long_is_not_told(tracker: Tracker) -> None:
    await lease(tracker)

    async def is_gone() -> bool:
        return (await told(tracker))["fleet_workers", ""] == 0

    await until(is_gone)
    assert len(await tracker.workers()) == 1

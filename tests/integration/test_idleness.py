"""Why a worker, or a domain, has nothing in flight: each reason, on every tracker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crawling.idle_report import idle_text, idle_workers, waiting_of, worker_json, worker_text
from crawling.tracker.idleness import Idle, of_domain
from crawling.tracker.tracker import NOTHING_TOLD, Vitals
from tests.integration.tracking import CRAWL, OTHER, books, lease, offer, offers, settle, submit

if TYPE_CHECKING:
    import pytest

    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker

WORKER = "host:1:link:ab"


async def why(tracker: Tracker) -> tuple[list[str], list[str]]:
    """Return the reasons of the domains of the one crawl, and of all workers."""
    waiting = await waiting_of(tracker, await books(tracker))
    workers = await idle_workers(tracker)
    return [each.idle.why for each in waiting], [idle.why for _, idle in workers]


async def test_nothing_to_lease(tracker: Tracker) -> None:
    await lease(tracker, worker=WORKER)
    await submit(tracker, offer("a"))
    [held] = await lease(tracker, worker="host:2:link:cd")

    assert await why(tracker) == ([], ["elsewhere", "busy"])
    [domain] = await tracker.domains("link")
    assert of_domain(domain) == Idle("elsewhere")

    await settle(tracker, held, worker="host:2:link:cd")
    assert await why(tracker) == ([], ["empty", "empty"])


async def test_a_throttle_tells_until_when(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    await submit(tracker, *offers(3))
    [held] = await lease(tracker, worker=WORKER)
    await settle(tracker, held, worker=WORKER)

    [waiting] = await waiting_of(tracker, await books(tracker))
    [(_, idle)] = await idle_workers(tracker)

    assert (waiting.domain, waiting.queued) == ("a.example", 2)
    assert waiting.idle == idle
    assert idle.why == "throttled"
    assert 90 < (idle.until or 0) - time.time() < 103
    assert idle_text(idle).startswith("throttled until 20")


async def test_a_domain_that_was_pushed_back_tells_until_when(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    [held] = await lease(tracker, 1, worker=WORKER)
    await settle(tracker, held, "retry", busy=True, retry_after=50.0, worker=WORKER)
    await lease(tracker, worker=WORKER)

    [waiting] = await waiting_of(tracker, await books(tracker))
    [(_, idle)] = await idle_workers(tracker)

    assert waiting.idle == idle
    assert idle.why == "deferred"
    assert 40 < (idle.until or 0) - time.time() < 51


async def test_domains_behind_the_best_tell_why_too(
    make_tracker: MakeTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawling.idle_report.MOST_DOMAINS", 1)
    tracker = await make_tracker(hits=1, window=100.0)
    names = [f"{letter}.example" for letter in "abc"]
    await submit(
        tracker, *(offer(f"{name}{n}", domain=name) for name in names for n in range(2))
    )
    for held in await lease(tracker, worker=WORKER):
        await settle(tracker, held, worker=WORKER)

    waiting = await waiting_of(tracker, await books(tracker))

    assert sorted(each.domain for each in waiting) == names
    assert {each.idle.why for each in waiting} == {"throttled"}


async def test_paused_and_blocked(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await tracker.pause(CRAWL)
    assert await why(tracker) == (["paused"], [])
    await lease(tracker, worker=WORKER)
    assert (await why(tracker))[0] == ["paused"]

    await tracker.resume(CRAWL)
    assert (await why(tracker))[0] == ["ready"]
    await tracker.block("a.example")
    await lease(tracker, worker=WORKER)
    assert await why(tracker) == (["blocked"], ["blocked"])


async def test_what_is_of_paused_crawls_alone_is_paused(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await submit(tracker, offer("more"), crawl=OTHER)
    await tracker.pause(CRAWL)

    [mixed] = await tracker.domains("link")
    await tracker.pause(OTHER)
    [alone] = await tracker.domains("link")

    assert [of_domain(mixed).why, of_domain(alone).why] == ["ready", "paused"]


async def test_as_many_in_flight_as_may_be(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(concurrency=1)
    await submit(tracker, *offers(3))
    await lease(tracker, worker="host:2:link:cd")
    await lease(tracker, worker=WORKER)

    waiting, workers = await why(tracker)

    assert (waiting, sorted(workers)) == (["elsewhere"], ["busy", "elsewhere"])


async def test_a_worker_tells_its_pages_rate_and_memory(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(lease_timeout=60.0)
    await submit(tracker, *(offer("page", f"{n}.example") for n in range(8)))
    await lease(tracker, 1, worker=WORKER)
    assert [worker.vitals for worker in await tracker.workers()] == [NOTHING_TOLD]

    told = Vitals(pages=12, rate=0.25, memory=98_304_000)
    assert await tracker.renew(WORKER, vitals=told)
    assert [worker.vitals for worker in await tracker.workers()] == [told]
    # Of shards, some are new to the worker: they have not been told yet.
    await lease(tracker, worker=WORKER)
    [pair] = await idle_workers(tracker)
    assert pair[0].vitals == told
    assert "holds 8  12 pages, 0.2/s, 98.3 MB  alive for" in worker_text(*pair)
    shown = worker_json(*pair)
    assert (shown["pages"], shown["rate"], shown["memory"]) == told
    assert "vitals" not in shown

    assert await tracker.renew(WORKER)
    assert [worker.vitals for worker in await tracker.workers()] == [told]
    await tracker.leave(WORKER)
    await lease(tracker, 1, worker=WORKER)
    assert [worker.vitals for worker in await tracker.workers()] == [NOTHING_TOLD]


async def test_a_worker_tells_its_trouble(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(lease_timeout=60.0)
    await submit(tracker, *offers(3))
    await lease(tracker, 1, worker=WORKER)

    assert await tracker.renew(WORKER, "output kafka is down: away")
    [(worker, idle)] = await idle_workers(tracker)
    assert (worker.trouble, idle.why) == ("output kafka is down: away", "trouble")
    assert idle_text(idle) == "output kafka is down: away"

    assert await tracker.renew(WORKER)
    [(worker, idle)] = await idle_workers(tracker)
    assert (worker.trouble, idle.why) == ("", "busy")

    await tracker.renew(WORKER, "again")
    await tracker.leave(WORKER)
    assert await tracker.workers() == []
    await lease(tracker, 1, worker=WORKER)
    assert [worker.trouble for worker in await tracker.workers()] == [""]

"""Looking at a tracker, and waiting for it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING

from crawling.tracker.tracker import CrawlId, CrawlOptions, Source, Submission, worker_name
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    WORKER,
    books,
    lease,
    offer,
    offers,
    settle,
    submit,
    until,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Offer, Trace, Tracker
    from tests.integration.tracking import MakeTracker


async def traced(tracker: Tracker, path: str) -> Trace:
    return await tracker.trace(CRAWL, offer(path).fingerprint)


async def test_the_oldest_request_is_that_which_waits_longest(tracker: Tracker) -> None:
    assert await tracker.oldest_queued("link") is None
    began = time.time()
    await submit(tracker, offer("first", domain="a.example", priority=1))
    await tracker.sweep()
    came = time.time()
    await asyncio.sleep(1.5)
    await submit(tracker, offer("later", domain="b.example", priority=9))

    oldest = await tracker.oldest_queued("link")

    assert oldest is not None
    assert began - 0.1 <= oldest <= came + 0.1
    assert await tracker.oldest_queued("wandering") is None
    await lease(tracker)
    assert await tracker.oldest_queued("link") is None


async def test_what_is_paused_is_not_the_oldest(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    await tracker.pause(CRAWL)
    await lease(tracker)

    assert await tracker.oldest_queued("link") is None


async def test_what_rests_may_be_the_oldest(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=60.0)
    await submit(tracker, *offers(2))
    await tracker.sweep()
    began = time.time()
    await asyncio.sleep(1.5)
    assert len(await lease(tracker)) == 1

    oldest = await tracker.oldest_queued("link")

    assert oldest is not None
    assert oldest <= began + 0.1


async def test_what_nobody_offered_is_unseen(tracker: Tracker) -> None:
    assert (await traced(tracker, "page")).state == "unseen"
    await submit(tracker, offer("page"), crawl=OTHER)
    assert (await traced(tracker, "page")).state == "unseen"
    await submit(tracker, offer("other"))
    assert (await traced(tracker, "page")).state == "unseen"


async def test_a_trace_follows_a_request_to_its_end(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=0.05)
    await submit(tracker, offer("page", depth=2))
    queued = await traced(tracker, "page")
    assert (queued.state, queued.reason, queued.worker) == ("queued", None, None)

    [page] = await lease(tracker, worker="me")
    leased = await traced(tracker, "page")
    assert (leased.state, leased.worker) == ("leased", "me")

    await settle(tracker, page, "retry", worker="me")
    delayed = await traced(tracker, "page")
    assert (delayed.state, delayed.attempts, delayed.depth) == ("delayed", 1, 2)
    assert delayed.priority == 60
    assert delayed.next_try is not None
    assert 0 < delayed.next_try - time.time() < 0.1


async def test_a_trace_of_what_has_ended_tells_why(tracker: Tracker) -> None:
    await submit(tracker, *offers(3), offer("refused", rule="deny"))
    done, failed, dropped = await lease(tracker)
    await settle(tracker, done)
    await settle(tracker, failed, "failed", reason="http_502")
    await settle(tracker, dropped, "dropped", reason="robots")

    assert (await traced(tracker, "0")).state == "done"
    ends = [await traced(tracker, path) for path in ("1", "2", "refused")]
    assert [(each.state, each.reason) for each in ends] == [
        ("failed", "http_502"),
        ("dropped", "robots"),
        ("dropped", "deny"),
    ]


async def test_a_trace_shows_the_last_of_several_requests_for_one_url(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("page"))
    [first] = await lease(tracker)
    await submit(tracker, offer("page"))
    assert (await traced(tracker, "page")).state == "queued"

    await settle(tracker, first)
    assert (await traced(tracker, "page")).state == "queued"

    [second] = await lease(tracker)
    await settle(tracker, second, "failed")
    assert (await traced(tracker, "page")).state == "failed"


async def test_domains_are_listed_best_first(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    await submit(tracker, *offers(3, "resting.example", priority=99))
    [resting] = await lease(tracker)
    await submit(tracker, *offers(2, "low.example", priority=10))
    await submit(tracker, *offers(4, "high.example", priority=90), crawl=OTHER)

    domains = await tracker.domains("link")

    assert [(each.domain, each.queued, each.leased) for each in domains] == [
        ("high.example", 4, 0),
        ("low.example", 2, 0),
        ("resting.example", 2, 1),
    ]
    assert [each.opens is None for each in domains] == [True, True, False]
    assert 0 < (domains[-1].opens or 0) - time.time() < 103
    assert {each.spiderid for each in domains} == {"link"}
    assert resting.domain == "resting.example"


async def test_no_more_domains_are_listed_than_asked_for(tracker: Tracker) -> None:
    await submit(tracker, *(offer("page", f"{number}.example") for number in range(20)))

    assert len(await tracker.domains("link", limit=7)) == 7
    assert len(await tracker.domains("link")) == 20
    assert await tracker.domains("id") == []


async def test_a_domain_at_its_cap_is_listed(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(concurrency=2)
    await submit(tracker, *offers(5))
    await lease(tracker)

    [domain] = await tracker.domains("link")

    assert (domain.queued, domain.leased) == (3, 2)


async def test_a_domain_whose_work_is_all_in_flight_is_listed(tracker: Tracker) -> None:
    await submit(tracker, *offers(2))
    leases = await lease(tracker)
    [domain] = await tracker.domains("link")
    assert (domain.queued, domain.leased) == (0, 2)

    for each in leases:
        await settle(tracker, each)

    assert await tracker.domains("link") == []


async def test_a_stopped_crawl_has_nothing_queued_anywhere(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await submit(tracker, *offers(2), crawl=OTHER)

    await tracker.stop(CRAWL)

    [domain] = await tracker.domains("link")
    assert domain.queued == 2


async def test_no_more_failures_are_listed_than_asked_for(tracker: Tracker) -> None:
    await submit(tracker, *offers(5))
    for each in await lease(tracker):
        await settle(tracker, each, "failed")

    assert len(await tracker.failures(CRAWL, limit=3)) == 3
    assert len(await tracker.failures(CRAWL)) == 5


async def test_lease_of_nothing_waits_for_other_events(tracker: Tracker) -> None:
    assert await tracker.lease("worker-1", 8, "link") == ([], None)


async def test_idle_returns_at_once_when_something_is_queued(tracker: Tracker) -> None:
    leases, _ = await tracker.lease("worker-1", 8, "link")
    assert leases == []
    waiting = asyncio.create_task(tracker.idle(60.0))
    await asyncio.sleep(0)
    begun = time.monotonic()

    await submit(tracker, offer("page"))
    await asyncio.wait_for(_leasable(tracker, waiting), 10)

    assert time.monotonic() - begun < 0.4


async def _leasable(tracker: Tracker, waiting: asyncio.Task[None]) -> None:
    await waiting
    while not await lease(tracker):
        await tracker.idle(60.0)


async def test_idle_returns_when_what_was_queued_since_the_last_lease_may_be_had(
    tracker: Tracker,
) -> None:
    await tracker.lease("worker-1", 8, "link")
    await submit(tracker, offer("page"))

    await asyncio.wait_for(tracker.idle(60.0), 5)

    assert len(await lease(tracker)) == 1


async def test_idle_returns_after_its_timeout(tracker: Tracker) -> None:
    await tracker.lease("worker-1", 8, "link")
    begun = time.monotonic()

    await tracker.idle(0.05)

    assert time.monotonic() - begun < 5


async def test_what_is_queued_is_told_by_domain_with_its_priorities(tracker: Tracker) -> None:
    await submit(tracker, *offers(3), offer("x", priority=-9))
    await submit(tracker, *offers(2), crawl=OTHER)
    await lease(tracker, 1)
    await submit(tracker, offer("y", "b.example", 40))

    queued = {each.domain: each for each in await tracker.queued(CRAWL)}

    assert queued == {
        "a.example": ("a.example", 3, 70, -9),
        "b.example": ("b.example", 1, 40, 40),
    }


async def test_nothing_is_queued_of_a_crawl_that_is_stopped_or_unknown(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(3))
    await tracker.stop(CRAWL)

    assert await tracker.queued(CRAWL) == []
    assert await tracker.queued(OTHER) == []


async def test_crawls_are_found_by_spider_type_and_application(tracker: Tracker) -> None:
    names = [
        CrawlId("link", "app", "1"),
        CrawlId("link", "app*", "2"),
        CrawlId("link", "other", "app"),
        CrawlId("l[i]nk", "app", "3:4"),
    ]
    for name in names:
        await submit(tracker, offer("a"), crawl=name)

    assert set(await tracker.crawls()) == set(names)
    assert await tracker.crawls("link", "app") == names[:1]
    assert await tracker.crawls("link", "app*") == names[1:2]
    assert set(await tracker.crawls(appid="app")) == {names[0], names[3]}
    assert await tracker.crawls("l[i]nk") == names[3:]


async def test_the_settings_of_domains_are_told_as_they_were_given(tracker: Tracker) -> None:
    await tracker.limit("a.example", 10, 60.0, 0.5)
    await tracker.limit("b.example", 5, 1.5)
    await tracker.block("b.example")
    await tracker.block("c.example")
    await tracker.limit("d.example", 3, 1.0)
    await tracker.limit("d.example", 0, 0.0)
    await tracker.block("e.example")
    await tracker.block("e.example", blocked=False)

    assert await tracker.domain_settings() == [
        ("a.example", 10, 60.0, 0.5, False),
        ("b.example", 5, 1.5, 1.0, True),
        ("c.example", 0, 0.0, 1.0, True),
    ]


async def test_how_often_domains_were_pushed_back_is_told(tracker: Tracker) -> None:
    assert (await tracker.treatment()).deferrals == 0

    for domain in ("a.example", "b.example", "a.example"):
        await tracker.defer(domain, 60.0)

    assert await tracker.treatment() == ([], 3)


async def test_a_worker_says_where_it_is(tracker: Tracker) -> None:
    name = worker_name("a:b")
    await submit(tracker, offer("a"))
    await lease(tracker, worker=name)
    await lease(tracker, worker="somebody")

    status = {worker.worker: worker for worker in await tracker.workers()}

    assert (status[name].host, status[name].spiderid) == (socket.gethostname(), "a:b")
    assert (status[name].pid, status[name].leased) == (str(os.getpid()), 1)
    assert (status["somebody"].host, status["somebody"].spiderid) == ("", "")


async def test_what_a_worker_holds_is_told_longest_held_first(tracker: Tracker) -> None:
    began = time.time()
    await submit(tracker, offer("é?a=1", depth=300), offer("b", "b.example", 20))
    await submit(tracker, offer("c", "c.example", -5, extras=b"x"), crawl=OTHER)
    # Shards take turns, whatever the priority.
    first = await lease(tracker, 2)
    await asyncio.sleep(0.05)
    [last] = await lease(tracker, 1)
    await lease(tracker, worker="idle")

    held = await tracker.held(WORKER)

    assert held is not None
    assert {each.url for each in held[:2]} == {each.url for each in first}
    assert held[2].url == last.url
    assert {
        (each.crawl, each.url, each.domain, each.priority, each.depth) for each in held
    } == {
        (CRAWL, "http://a.example/é?a=1", "a.example", 70, 300),
        (CRAWL, "http://b.example/b", "b.example", 20, 0),
        (OTHER, "http://c.example/c", "c.example", -5, 0),
    }
    assert {each.attempts for each in held} == {0}
    assert began - 0.1 <= held[0].since <= held[1].since < held[2].since <= time.time() + 0.1
    assert await tracker.held("idle") == []


async def test_what_a_worker_holds_has_its_attempts(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=0.01)
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "retry")
    await until(lambda: lease(tracker))

    [again] = await tracker.held(WORKER) or []

    assert (again.url, again.attempts) == ("http://a.example/page", 1)


async def test_a_worker_holds_nothing_that_it_gave_back(tracker: Tracker) -> None:
    assert await tracker.held(WORKER) is None
    await submit(tracker, *offers(3))
    done, *_ = await lease(tracker)
    await settle(tracker, done)
    assert len(await tracker.held(WORKER) or []) == 2

    await tracker.leave(WORKER)

    assert await tracker.held(WORKER) is None


async def test_no_more_is_told_of_what_a_worker_holds_than_asked_for(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(hits=0, concurrency=1000)
    pages = [offer(str(number), f"{number % 7}.example") for number in range(1000)]
    await tracker.submit(CRAWL, pages)
    await until(lambda: holds(tracker, 1000))
    everything = await tracker.held(WORKER, limit=1000) or []
    assert {each.url for each in everything} == {page.url for page in pages}

    for limit in (1, 7, 999):
        some = await tracker.held(WORKER, limit) or []
        assert len(some) == len(set(some)) == limit
        assert set(some) <= set(everything)
        assert [each.since for each in some] == sorted(each.since for each in some)


async def holds(tracker: Tracker, count: int) -> bool:
    await tracker.lease(WORKER, 500, "link")
    [worker] = await tracker.workers()
    return worker.leased == count


async def test_many_submissions_are_done_in_order_and_once_each(tracker: Tracker) -> None:
    def submissions(digest: str) -> list[Submission]:
        return [
            Submission(
                CrawlId("link", "app", str(number)),
                [offer(str(number), priority=number)],
                CrawlOptions(maxdepth=number),
                source=Source("incoming", 0, number, digest),
            )
            for number in range(120)
        ]

    first = await tracker.submit_all(submissions("x"))
    again = await tracker.submit_all(submissions("x"))
    anew = await tracker.submit_all(submissions("y"))

    assert first == anew == [(1, False)] * 120
    assert again == [(0, True)] * 120
    status = await books(tracker, CrawlId("link", "app", "7"))
    assert (status.queued, status.options.maxdepth) == (2, 7)


async def test_a_submission_finds_what_those_before_it_have_left(tracker: Tracker) -> None:
    def known(*offers: Offer, maxdepth: int | None = None) -> Submission:
        options = None if maxdepth is None else CrawlOptions(maxdepth=maxdepth)
        return Submission(CRAWL, offers, options, entry="known")

    deep, deeper = offer("deep", depth=3), offer("deeper", depth=3)
    # A worker has the first options at hand.
    await tracker.submit_all([known(offer("0"), maxdepth=1)])
    assert [each.options.maxdepth for each in await lease(tracker)] == [1]

    done = await tracker.submit_all(
        [
            known(offer("1"), maxdepth=2),
            known(deep),
            known(deeper, maxdepth=3),
            known(offer("1"), offer("2")),
            Submission(CRAWL, [offer("1")]),
        ]
    )

    assert [each.queued for each in done] == [1, 0, 1, 1, 1]
    status = await books(tracker)
    assert (status.queued, status.duplicates) == (4, 1)
    assert status.reasons == {"depth": 1}
    assert {each.options.maxdepth for each in await lease(tracker, 4)} == {3}

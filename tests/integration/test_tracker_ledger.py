"""Rules 6 and 7: the books of a crawl, its end, and what is delivered twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crawling.tracker.tracker import Source
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    balanced,
    books,
    fetch_all,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    sweep,
    until,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker

SOURCE = Source("demo.incoming", 0, 17, "digest")


async def test_each_request_is_in_one_column(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=100.0)
    await submit(tracker, *offers(6))
    done, failed, dropped, delayed, _ = await lease(tracker, 5)
    await settle(tracker, done)
    await settle(tracker, failed, "failed")
    await settle(tracker, dropped, "dropped")
    await settle(tracker, delayed, "retry")

    status = await books(tracker)

    assert (status.queued, status.delayed, status.leased) == (1, 1, 1)
    assert (status.done, status.failed, status.dropped) == (1, 1, 1)
    assert (status.accepted, status.outstanding, status.balanced) == (6, 3, True)


async def test_statuses_reasons_and_bytes_are_counted(tracker: Tracker) -> None:
    await submit(tracker, *offers(5))
    first, second, third, fourth, fifth = await lease(tracker)
    await settle(tracker, first, status=200, size=10)
    await settle(tracker, second, status=200, size=20)
    await settle(tracker, third, status=404, size=3)
    await settle(tracker, fourth, "failed", reason="http_500")
    await settle(tracker, fifth, "dropped", reason="x_too_boring")

    status = await books(tracker)

    assert status.statuses == {200: 2, 404: 1}
    assert status.reasons == {"http_500": 1, "x_too_boring": 1}
    assert status.size == 33


async def test_what_has_ended_is_counted_by_depth_and_by_status(tracker: Tracker) -> None:
    depths = [0, 0, 1, 2, 1, 31, 32, 33, 70_000]
    await submit(tracker, *(offer(str(n), depth=depth) for n, depth in enumerate(depths)))
    leases = {int(each.url.rpartition("/")[2]): each for each in await lease(tracker)}
    await settle(tracker, leases[0], "dropped")
    await settle(tracker, leases[1], "failed", reason="http_404")
    await settle(tracker, leases[2], status=404)
    await settle(tracker, leases[3], "failed", reason="dns")
    await settle(tracker, leases[4], "retry")
    for n in range(5, 9):
        assert await settle(tracker, leases[n], status=200)
        assert not await settle(tracker, leases[n], status=200)

    status = await books(tracker)

    assert status.by_depth == {0: 1, 1: 1, 2: 1, 31: 1, 32: 3}
    assert list(status.by_depth) == [0, 1, 2, 31, 32]
    assert status.by_status == {200: 4, 404: 2}


async def test_what_is_retried_has_not_ended(tracker: Tracker) -> None:
    await submit(tracker, offer("0"), offer("1", depth=1))
    for leased in await lease(tracker):
        await settle(tracker, leased, "failed", reason="http_500")

    await tracker.retry(CRAWL)

    status = await books(tracker)
    assert (status.by_depth, status.by_status) == ({}, {})
    for leased in await lease(tracker):
        await settle(tracker, leased)
    assert (await books(tracker)).by_depth == {0: 1, 1: 1}


async def test_a_refused_link_is_accepted_and_dropped_once(tracker: Tracker) -> None:
    await submit(tracker, *offers(2))
    first, second = await lease(tracker)
    refused = offer("x.jpg", rule="extension")
    await settle(tracker, first, links=[refused, refused])
    await settle(tracker, second, links=[refused])

    status = await books(tracker)

    assert (status.accepted, status.dropped, status.duplicates) == (3, 1, 2)
    assert status.reasons == {"extension": 1}
    assert await lease(tracker) == []


async def test_a_page_and_its_links_are_one_step(tracker: Tracker) -> None:
    await submit(tracker, offer("seed"))
    [seed] = await lease(tracker)

    await settle(tracker, seed, links=offers(3))

    status = await books(tracker)
    assert (status.state, status.done, status.queued) == ("running", 1, 3)
    assert await tracker.events() == []


async def test_a_crawl_is_finished_with_its_last_request(tracker: Tracker) -> None:
    await submit(tracker, *offers(2))
    first, second = await lease(tracker)
    await settle(tracker, first)
    assert (await books(tracker)).state == "running"

    await settle(tracker, second)

    status = await books(tracker)
    assert status.state == "finished"
    assert status.ended is not None
    assert status.started <= status.ended <= time.time() + 1


async def test_the_end_is_one_event_with_the_totals(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    done, failed, dropped = await lease(tracker)
    await settle(tracker, failed, "failed", reason="dns")
    await settle(tracker, dropped, "dropped", reason="robots")
    await settle(tracker, done, size=1234, links=[offer("0")])

    [event] = await tracker.events()

    body = dict(event.body)
    assert 0 <= body.pop("elapsed") < 10
    assert abs(body.pop("server_time") - time.time()) < 10
    assert body == {
        "action": "finished",
        "spiderid": "link",
        "appid": "tests",
        "crawlid": "first",
        "state": "finished",
        "accepted": 3,
        "done": 1,
        "failed": 1,
        "dropped": 1,
        "duplicates": 1,
        "reasons": {"dns": 1, "robots": 1},
        "statuses": {"200": 1},
        "bytes": 1234,
        "epoch": 1,
    }


async def test_events_are_read_in_order_from_where_one_was(tracker: Tracker) -> None:
    crawls = [CRAWL._replace(crawlid=str(number)) for number in range(12)]
    for crawl in crawls:
        await submit(tracker, offer("page", rule="deny"), crawl=crawl)

    first = await tracker.events(limit=5)
    rest = await tracker.events(after=first[-1].id)

    names = [event.body["crawlid"] for event in first + rest]
    assert names == [crawl.crawlid for crawl in crawls]
    assert await tracker.events(after=rest[-1].id) == []


async def test_a_submit_that_is_refused_as_a_whole_finishes_the_crawl(tracker: Tracker) -> None:
    assert await submit(tracker, offer("page", rule="private_address")) == 0

    status = await books(tracker)
    assert (status.state, status.accepted, status.dropped) == ("finished", 1, 1)
    assert len(await tracker.events()) == 1


async def test_a_finished_crawl_begins_a_new_epoch_with_a_new_seed(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    await fetch_all(tracker)

    await submit(tracker, offer("more"))

    status = await books(tracker)
    assert (status.state, status.epoch, status.ended) == ("running", 2, None)
    assert (status.accepted, status.done, status.queued) == (2, 1, 1)
    await fetch_all(tracker)
    assert [event.body["epoch"] for event in await tracker.events()] == [1, 2]


async def test_a_finished_crawl_stays_so_when_nothing_is_queued(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    await fetch_all(tracker)

    await submit(tracker, offer("page"), entry="known")

    status = await books(tracker)
    assert (status.state, status.epoch) == ("finished", 1)
    assert len(await tracker.events()) == 1


async def test_what_failed_begins_a_new_epoch_when_it_is_retried(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "failed")

    assert await tracker.retry(CRAWL) == 1

    await balanced(tracker)
    status = await books(tracker)
    assert (status.state, status.epoch, status.queued) == ("running", 2, 1)
    await fetch_all(tracker)
    assert [event.body["epoch"] for event in await tracker.events()] == [1, 2]


async def test_a_held_crawl_does_not_finish_before_its_last_batch(tracker: Tracker) -> None:
    await submit(tracker, offer("1"), hold=60)
    await fetch_all(tracker)
    assert (await books(tracker)).state == "running"
    await submit(tracker, offer("2"), hold=60)
    await fetch_all(tracker)
    assert await tracker.events() == []

    await submit(tracker)

    assert (await books(tracker)).state == "finished"
    assert len(await tracker.events()) == 1


async def test_a_crawl_whose_submitter_died_finishes_when_its_hold_runs_out(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("1"), hold=0.05)
    await fetch_all(tracker)

    async def finished() -> bool:
        await sweep(tracker)
        return (await books(tracker)).state == "finished"

    await until(finished)

    assert len(await tracker.events()) == 1


async def test_the_same_message_creates_its_seeds_once(tracker: Tracker) -> None:
    first = await tracker.submit(CRAWL, offers(3), source=SOURCE)
    again = await tracker.submit(CRAWL, offers(3), source=SOURCE)

    assert (first.queued, first.repeated) == (3, False)
    assert (again.queued, again.repeated) == (0, True)
    assert (await books(tracker)).accepted == 3


async def test_the_same_offset_of_a_topic_that_was_made_anew_is_another_message(
    tracker: Tracker,
) -> None:
    await tracker.submit(CRAWL, offers(3), source=SOURCE)

    other = SOURCE._replace(digest="other")
    assert await tracker.submit(CRAWL, offers(3), source=other) == (3, False)


async def test_each_partition_and_offset_is_a_message_of_its_own(tracker: Tracker) -> None:
    sources = [
        SOURCE,
        SOURCE._replace(partition=1),
        SOURCE._replace(offset=18),
        SOURCE._replace(topic="demo.other"),
    ]

    for source in sources:
        assert await tracker.submit(CRAWL, [offer("page")], source=source) == (1, False)
    for source in sources:
        assert await tracker.submit(CRAWL, [offer("page")], source=source) == (0, True)


async def test_crawls_keep_books_of_their_own(tracker: Tracker) -> None:
    third = CRAWL._replace(appid="other app")
    await submit(tracker, *offers(3))
    await submit(tracker, *offers(2), crawl=OTHER)
    await submit(tracker, *offers(1), crawl=third)

    for leased in await lease(tracker):
        if leased.crawl == OTHER:
            await settle(tracker, leased)

    assert (await books(tracker)).leased == 3
    assert (await books(tracker, OTHER)).state == "finished"
    assert (await books(tracker, third)).leased == 1
    assert sorted(await tracker.crawls()) == sorted([CRAWL, OTHER, third])


async def test_an_unknown_crawl_has_no_books(tracker: Tracker) -> None:
    assert await tracker.crawl(CRAWL) is None
    assert await tracker.crawls() == []
    assert await tracker.failures(CRAWL) == []


async def test_names_may_hold_any_character(tracker: Tracker) -> None:
    odd = CRAWL._replace(appid="a:b%c {d}", crawlid="{x}:1:queue é\0")
    await submit(tracker, offer("page"), crawl=odd)
    await submit(tracker, offer("page"), crawl=odd._replace(crawlid="{x}"))

    leases = await lease(tracker)

    assert [each.crawl for each in leases] == [odd, odd._replace(crawlid="{x}")]
    assert paths(leases) == ["page", "page"]
    assert await tracker.crawls() == [odd, odd._replace(crawlid="{x}")]

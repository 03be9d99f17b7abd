"""What only a tracker over shards can get wrong: every crash between two of its steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from crawling.exceptions import ConfigError, RequestError, Unavailable
from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.sharded_tracker import ShardedTracker
from crawling.tracker.tracker import CrawlOptions, Outcome, Source, Submission
from tests.integration.conftest import EAGER
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    balanced,
    books,
    fetch_all,
    finished,
    lease,
    offer,
    settle,
    submit,
    sweep,
    until,
)
from tests.servers.redis_fleets import redis_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.shard import Shard
    from crawling.tracker.tracker import CrawlId, Leased

SHARDS = 4
DOMAINS = [f"{name}.example" for name in "abcdefghijkl"]


@asynccontextmanager
async def sharded(url: str, shards: int = SHARDS) -> AsyncIterator[ShardedTracker]:
    tracker = tracker_at(url, replace(EAGER, shards=shards))
    assert isinstance(tracker, ShardedTracker)
    await tracker.open()
    try:
        yield tracker
    finally:
        await tracker.close()


@pytest.fixture
async def tracker(redis: Redis, redis_url: str) -> AsyncIterator[ShardedTracker]:
    redis.ping()
    async with sharded(redis_url) as opened:
        yield opened


async def dies(*_: object, **__: object) -> None:
    raise Unavailable("the process died here, or the shard is away")


def away_from_home(tracker: ShardedTracker, crawl: CrawlId = CRAWL) -> list[str]:
    """Return domains in two different shards, neither of them the crawl's home."""
    found: dict[Shard, str] = {}
    for domain in DOMAINS:
        found.setdefault(tracker._shard_of(domain), domain)
    found.pop(tracker._home(crawl), None)
    return list(found.values())


async def test_domains_are_divided_among_all_shards(tracker: ShardedTracker) -> None:
    await submit(tracker, *(offer("0", domain) for domain in DOMAINS))

    queued = [
        sum(each.queued for each in await shard.queued(CRAWL)) for shard in tracker.shards
    ]

    assert sum(queued) == len(DOMAINS)
    assert min(queued) > 0


async def test_links_and_redirects_go_to_their_shards_and_each_page_is_fetched_once(
    tracker: ShardedTracker,
) -> None:
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("seed", here))
    [seed] = await lease(tracker)
    await settle(tracker, seed, links=[offer("link", domain) for domain in DOMAINS])
    await settle(tracker, seed, links=[offer("late", there)])
    fetched = []
    while leases := await lease(tracker, 1):
        if leases[0].domain == here:
            await settle(tracker, leases[0], "redirect", next=offer("moved", there))
        else:
            await settle(tracker, leases[0])
            fetched.append(leases[0].url)

    assert (await tracker.trace(CRAWL, offer("link", here).fingerprint)).state == "done"
    assert Counter(fetched) == Counter(
        [offer("link", domain).url for domain in DOMAINS if domain != here]
        + [offer("moved", there).url]
    )
    status = await books(tracker)
    assert (status.accepted, status.done) == (1 + len(DOMAINS), 1 + len(DOMAINS))
    [event] = await finished(tracker)
    assert event.body["accepted"] == event.body["done"] == 1 + len(DOMAINS)


async def test_a_url_that_has_moved_is_known_and_may_be_come_back_to(
    tracker: ShardedTracker,
) -> None:
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("a", here))
    [page] = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("b", there))
    assert await submit(tracker, offer("a", here), entry="known") == 0
    [page] = await lease(tracker)

    await settle(tracker, page, "redirect", next=offer("a", here))

    [page] = await lease(tracker)
    assert page.url == offer("a", here).url
    await settle(tracker, page)
    assert (await books(tracker)).accepted == 1


async def test_a_redirect_to_what_is_known_elsewhere_is_a_duplicate(
    tracker: ShardedTracker,
) -> None:
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("a", here), offer("b", there))
    pages = {page.domain: page for page in await lease(tracker)}

    await settle(tracker, pages[here], "redirect", next=offer("b", there))

    status = await books(tracker)
    assert (status.accepted, status.leased, status.reasons) == (2, 1, {"duplicate": 1})


async def test_a_redirect_that_is_settled_again_is_one_request(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard that it leaves was away for a moment, so the worker settles once more."""
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("a", here))
    [page] = await lease(tracker)
    outcome = Outcome(page, "redirect", next=offer("b", there))

    with monkeypatch.context() as patch:
        patch.setattr(tracker._shard_of(here), "settle_here", dies)
        with pytest.raises(Unavailable):
            await tracker.settle("worker-1", [outcome])
    assert await tracker.settle("worker-1", [outcome]) == [True]

    assert len(await fetch_all(tracker)) == 1
    status = await books(tracker)
    assert (status.accepted, status.done, status.reasons) == (1, 1, {})


async def test_links_whose_page_was_not_settled_are_found_again_and_queued_once(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies between the two steps; another one fetches the page again."""
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("seed", here))
    [seed] = await lease(tracker)

    shard = tracker._shard_of(here)
    with monkeypatch.context() as patch:
        patch.setattr(shard, "settle_here", dies)
        with pytest.raises(Unavailable):
            await tracker.settle(
                "worker-1", [Outcome(seed, "done", status=200, links=[offer("x", there)])]
            )
    await tracker.leave("worker-1")
    await balanced(tracker)

    fetched = await fetch_all(tracker, [offer("x", there)])

    assert sorted(fetched) == sorted([offer("seed", here).url, offer("x", there).url])
    assert (await books(tracker)).state == "finished"
    assert len(await finished(tracker)) == 1


async def test_a_submitter_that_dies_delays_the_end_and_loses_no_seed(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawling.tracker.sharded_tracker.SUBMIT_HOLD", 0.5)
    domains = away_from_home(tracker)
    source = Source("topic", 0, 7, "digest")
    ends = tracker._shard_of(domains[1])

    seeds = [offer("seed", domain) for domain in domains]
    with monkeypatch.context() as patch:
        patch.setattr(ends, "enter", dies)
        with pytest.raises(Unavailable):
            await tracker.submit(CRAWL, seeds, source=source)
    assert len(await fetch_all(tracker)) == len(domains) - 1
    assert (await books(tracker)).state == "running"

    again = await tracker.submit(CRAWL, seeds, source=source)
    third = await tracker.submit(CRAWL, seeds, source=source)

    assert (again.queued, third.queued, third.repeated) == (1, 0, True)
    await fetch_all(tracker)

    async def is_over() -> bool:
        await sweep(tracker)
        return (await books(tracker)).state == "finished"

    await until(is_over)
    assert [event.body["done"] for event in await finished(tracker)] == [len(domains)]


async def test_an_end_that_nobody_wrote_is_written_by_the_next_sweep(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(tracker, *(offer("0", domain) for domain in DOMAINS))
    leases = await lease(tracker)

    with monkeypatch.context() as patch:
        patch.setattr(tracker, "_end_quiet", dies)
        for leased in leases:
            with suppress(Unavailable):
                await tracker.settle("worker-1", [Outcome(leased, "done", status=200)])
    assert (await books(tracker)).state == "running"

    await sweep(tracker)

    assert (await books(tracker)).state == "finished"
    assert len(await finished(tracker)) == 1


async def test_an_end_that_stopped_at_the_home_is_completed(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = away_from_home(tracker)
    await submit(tracker, *(offer("0", domain) for domain in domains))
    leases = await lease(tracker)

    other = tracker._shard_of(domains[0])
    with monkeypatch.context() as patch:
        patch.setattr(other, "close_epoch", dies)
        with pytest.raises(Unavailable):
            await tracker.settle(
                "worker-1", [Outcome(each, "done", status=200) for each in leases]
            )
    await sweep(tracker)

    assert len(await finished(tracker)) == 1
    assert all(book.fin == 1 for book in (await tracker._books(CRAWL)).values() if book)
    # What it finds in a new epoch goes to a shard that was closed in the old one.
    assert await submit(tracker, offer("1", domains[1])) == 1
    await fetch_all(tracker, [offer("2", domains[0])])
    assert [event.body["epoch"] for event in await finished(tracker)] == [1, 2]
    assert (await books(tracker)).done == len(domains) + 2


async def test_a_stop_that_was_told_to_some_is_completed(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = away_from_home(tracker)
    await submit(tracker, *(offer("0", domain) for domain in domains))

    other = tracker._shard_of(domains[0])
    with monkeypatch.context() as patch:
        patch.setattr(other, "flag_here", dies)
        with pytest.raises(Unavailable):
            await tracker.stop(CRAWL)

    async def is_over() -> bool:
        await sweep(tracker)
        return (await books(tracker)).dropped == len(domains)

    await until(is_over)
    await sweep(tracker)
    assert [event.body["state"] for event in await finished(tracker)] == ["stopped"]


async def test_links_that_meet_a_paused_crawl_in_a_new_shard_wait(
    tracker: ShardedTracker,
) -> None:
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("0", here))
    [page] = await lease(tracker)
    assert await tracker.pause(CRAWL)

    await settle(tracker, page, links=[offer("1", there)])

    assert await lease(tracker) == []
    assert await tracker.resume(CRAWL)
    assert [each.domain for each in await lease(tracker)] == [there]


async def test_two_commands_at_once_leave_one_state_everywhere(
    tracker: ShardedTracker,
) -> None:
    await submit(tracker, *(offer("0", domain) for domain in DOMAINS))

    for _ in range(20):
        await asyncio.gather(tracker.pause(CRAWL), tracker.resume(CRAWL))
        states = {book.status.state for book in (await tracker._books(CRAWL)).values() if book}
        assert len(states) == 1


async def test_new_options_hold_in_all_shards_at_once(tracker: ShardedTracker) -> None:
    await submit(tracker, *(offer("0", domain) for domain in DOMAINS))
    changed = CrawlOptions(maxdepth=5, shared={"useragent": "x"})

    await submit(tracker, options=changed)

    assert {
        leased.options for leased in await lease(tracker) if not leased.options.shared
    } == set()


async def test_a_late_worker_adds_nothing_to_a_closed_crawl(tracker: ShardedTracker) -> None:
    here, there, *_ = away_from_home(tracker)
    await submit(tracker, offer("0", here))
    [late] = await lease(tracker)
    await tracker.leave("worker-1")
    await fetch_all(tracker)

    link = [offer("late", there)]
    assert await tracker.settle("worker-1", [Outcome(late, "done", links=link)]) == [False]
    shard = tracker._shard_of(there)
    entered = await shard.enter(CRAWL, link, late.options, entry="link", epoch=1, revision=1)

    assert (await books(tracker)).state == "finished"
    # A shard that has never met the crawl cannot know; it then ends once more, in the books.
    assert entered.queued in {0, 1}


async def test_one_shard_that_takes_a_worker_for_dead_takes_it_from_all(
    tracker: ShardedTracker,
) -> None:
    await submit(tracker, *(offer("0", domain) for domain in DOMAINS))
    leases = await lease(tracker)
    assert len(leases) == len(DOMAINS)
    await tracker.shards[0].leave("worker-1")

    assert not await tracker.renew("worker-1")

    assert len(await lease(tracker, worker="worker-2")) == len(DOMAINS)


async def test_a_batch_of_submissions_is_done_once_and_in_order(
    tracker: ShardedTracker,
) -> None:
    batch = [
        Submission(crawl, [offer(str(n), domain)], source=Source("t", 0, n, str(n)))
        for n, domain in enumerate(DOMAINS)
        for crawl in (CRAWL, OTHER)[n % 2 :][:1]
    ]

    first = await tracker.submit_all(batch)
    again = await tracker.submit_all(batch)

    assert [each.queued for each in first] == [1] * len(batch)
    assert all(each.repeated for each in again)
    assert len(await lease(tracker)) == len(batch)


async def test_a_limit_on_all_pages_is_refused(tracker: ShardedTracker) -> None:
    with pytest.raises(RequestError, match="max_pages is not possible with TRACKER_SHARDS"):
        await tracker.submit(CRAWL, [offer("0")], CrawlOptions(max_pages=3))


@pytest.mark.parametrize(("had", "wanted"), [(4, 3), (4, 1), (1, 4)])
async def test_another_number_of_shards_is_refused(
    redis: Redis, redis_url: str, had: int, wanted: int
) -> None:
    redis.ping()
    first = tracker_at(redis_url, replace(EAGER, shards=had))
    await first.open()
    await first.close()
    second = tracker_at(redis_url, replace(EAGER, shards=wanted))

    with pytest.raises(ConfigError, match=f"TRACKER_SHARDS: must be {had}, .* not {wanted}"):
        await second.open()


async def test_links_are_with_a_replica_before_their_page_is_settled(tmp_path: Path) -> None:
    """The master of the links' shard dies right after: its replica knows them."""
    with redis_cluster(tmp_path, replicas=True) as cluster:
        async with sharded(cluster.url) as tracker:
            here, there, *_ = away_from_home(tracker)
            await submit(tracker, offer("seed", here))
            [seed] = await lease(tracker)
            assert await tracker._shard_of(there).replicas.count() == 1
            links = [offer(str(n), there) for n in range(50)]
            await settle(tracker, seed, links=links)

            cluster.owner(tracker._shard_of(there).keys.meta).kill()

            async def all_are_there() -> bool:
                try:
                    status = await tracker.crawl(CRAWL)
                except Unavailable:
                    return False
                return status is not None and status.accepted == 51

            await until(all_are_there, timeout=60, every=0.2)


async def test_a_worker_that_has_not_heard_from_a_shard_yet_is_not_dead(
    tracker: ShardedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews while its first lease is on its way."""
    await submit(tracker, *(offer("0", domain) for domain in DOMAINS))
    slow = tracker.shards[0]
    ask, renewed = slow.lease, list[bool]()

    async def renew_first(*args: Any) -> Leased:
        renewed.append(await tracker.renew("worker-1"))
        return await ask(*args)

    monkeypatch.setattr(slow, "lease", renew_first)
    leases = await lease(tracker)

    assert len(leases) == len(DOMAINS)
    assert all([await settle(tracker, leased) for leased in leases])

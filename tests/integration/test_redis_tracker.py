"""What only the Redis tracker can get wrong."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError, Unavailable
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.keys import Keys
from crawling.tracker.redis_views import CONNECTIONS
from crawling.tracker.tracker import (
    CrawlId,
    CrawlOptions,
    Outcome,
    Source,
    Submission,
    TrackerConfig,
)
from tests.integration.redis_fleet import LASTING, all_keys, pattern_of, redis_tracker
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    WORKER,
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
    from collections.abc import Iterator

    from redis import Redis

    from crawling.tracker.redis_tracker import RedisTracker


@pytest.fixture
def full_redis(redis: Redis) -> Iterator[Redis]:
    """Yield a Redis whose memory a test may declare full."""
    yield redis
    redis.config_set("maxmemory", 0)


async def test_scripts_that_redis_forgot_are_sent_again(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("page"))
        redis.script_flush()

        assert paths(await lease(tracker)) == ["page"]


async def test_leases_of_a_crawl_that_is_gone_hide_no_others(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, concurrency=1000) as tracker:
        await submit(tracker, *offers(300))
        await lease(tracker, 300)
        [lost] = redis.scan_iter("fleet:crawl:*")
        await submit(tracker, *offers(5, "b.example"), crawl=OTHER)
        await lease(tracker, 5)
        redis.delete(lost)

        for limit in (1, 2, 5, 500):
            held = await tracker.held(WORKER, limit) or []
            assert len(held) == min(limit, 5)
            assert {each.crawl for each in held} == {OTHER}


async def test_calls_that_are_cut_off_keep_no_connection(redis: Redis, redis_url: str) -> None:
    late = Submission(CRAWL, [offer("late")])
    async with redis_tracker(redis_url) as tracker:
        for number in range(CONNECTIONS + 1):
            await submit(tracker, offer(f"page{number}"))
            redis.client_pause(30)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(tracker.submit_all([late]), 0.01)

        assert len(await lease(tracker, 1)) == 1


async def test_books_that_count_no_depths_yet_go_on(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(2))
        _, failed = await lease(tracker)
        await settle(tracker, failed, "failed")
        for book in redis.scan_iter("fleet:crawl:*"):
            redis.hdel(book, "depth:0")

        await tracker.retry(CRAWL)
        assert (await books(tracker)).by_depth == {}
        await tracker.leave(WORKER)
        leases = (await tracker.lease(WORKER, 9, "link")).leases
        await tracker.settle(WORKER, [Outcome(each, "done") for each in leases])

        # What was not counted before its retry is not counted after it.
        assert (await books(tracker)).by_depth == {0: 1}


async def test_a_full_redis_takes_no_seeds_but_leases_and_settles(
    full_redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(3))
        before = all_keys(full_redis)
        full_redis.config_set("maxmemory", 1)

        with pytest.raises(Unavailable, match="OutOfMemory"):
            await tracker.submit(OTHER, offers(2))
        assert all_keys(full_redis) == before
        pages = await lease(tracker)
        assert len(pages) == 3
        assert await settle(tracker, pages[0], links=offers(2, "b.example"))
        assert await settle(tracker, pages[1], "failed")
        assert await tracker.leave("worker-1") == 1
        assert await tracker.stop(CRAWL) == 3
        await sweep(tracker)
        assert not redis_lists(full_redis)


def redis_lists(redis: Redis) -> list[str]:
    return [key for key in all_keys(redis) if redis.type(key) == b"list"]


async def test_a_redis_that_evicts_is_refused(redis: Redis, redis_url: str) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError, match="noeviction, not allkeys-lru"):
            await open_tracker(redis_url, TrackerConfig())
    finally:
        redis.config_set("maxmemory-policy", "noeviction")


async def test_two_who_open_it_at_once_share_it(redis: Redis, redis_url: str) -> None:
    redis.ping()
    one, other = await asyncio.gather(
        *(open_tracker(redis_url, TrackerConfig()) for _ in range(2))
    )

    assert one is other
    await close_tracker(redis_url)
    assert await other.crawls() == []
    await close_tracker(redis_url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere/redis.sock"])
async def test_a_redis_that_is_away_is_unavailable(url: str) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await open_tracker(url, TrackerConfig())


async def test_no_key_of_a_crawl_is_left_when_it_is_forgotten(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, dupefilter_timeout=0.0) as tracker:
        await live_a_full_life(tracker)
        await until(lambda: forgotten(tracker))

        assert all_keys(redis) <= LASTING
        assert await tracker.crawls() == []


async def live_a_full_life(tracker: RedisTracker) -> None:
    """Take two crawls through everything that leaves a mark."""
    links = [offer(str(n), f"{n % 7}.example", depth=n % 4) for n in range(500)]
    limits = CrawlOptions(maxdepth=2, domain_max_pages=40, max_pages=230)
    await submit(tracker, offer("seed"), offer("moved"), options=limits)
    await submit(tracker, *offers(50, "stopped.example"), crawl=OTHER)
    seed, moved, other = await lease(tracker, 3)
    await settle(tracker, seed, links=links)
    await settle(tracker, moved, "redirect", next=offer("to", "new.example"))
    await tracker.pause(OTHER)
    await lease(tracker, 1, worker="dead")
    await tracker.leave("dead")
    for leased in await lease(tracker, 20):
        await settle(tracker, leased, "failed")
    assert await tracker.retry(CRAWL) == 20
    await tracker.resume(OTHER)
    await settle(tracker, other)
    await tracker.stop(OTHER)
    await fetch_all(tracker)


async def forgotten(tracker: RedisTracker) -> bool:
    await sweep(tracker)
    return not await tracker.crawls()


async def test_every_key_has_a_documented_name(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url, ip="10.0.0.1", hits=100) as tracker:
        await live_a_full_life_by_address(tracker)

        unknown = [key for key in all_keys(redis) if pattern_of(key) is None]
        assert unknown == []


async def live_a_full_life_by_address(tracker: RedisTracker) -> None:
    await tracker.submit(CRAWL, offers(200), CrawlOptions(domain_max_pages=500))
    await tracker.submit(
        CrawlId("link", "another", CRAWL.crawlid), offers(2), source=Source("in", 0, 7, "x")
    )
    await tracker.limit("b.example", 5, 1.0)
    await tracker.block("c.example")
    granted, _ = await tracker.lease("worker-1", 5, "link")
    await tracker.settle("worker-1", [Outcome(granted[0], "retry", "timeout", busy=True)])


async def test_with_a_tag_every_key_begins_with_it(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url, tag="{0}", dupefilter_timeout=0.0) as tracker:
        await live_a_full_life(tracker)

        assert [key for key in all_keys(redis) if not key.startswith("{0}")] == []
        assert Keys("{0}").meta in all_keys(redis)


async def test_two_tags_are_two_trackers(redis: Redis, redis_url: str) -> None:
    async with (
        redis_tracker(redis_url, tag="{0}") as one,
        redis_tracker(redis_url, tag="{1}") as other,
    ):
        await submit(one, offer("page"))

        assert await lease(other) == []
        assert paths(await lease(one)) == ["page"]
    assert redis.exists("{0}fleet:meta", "{1}fleet:meta") == 2


async def test_a_million_paused_requests_do_not_slow_a_lease(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("paused"))
        await fill_the_lane(redis, 1_000_000)
        await tracker.pause(CRAWL)
        await submit(tracker, offer("ours", priority=10), crawl=OTHER)
        redis.config_resetstat()

        assert paths(await lease(tracker, 1)) == ["ours"]

        commands = redis.info("commandstats")
        assert commands["cmdstat_evalsha"]["usec"] < 20_000
        assert await tracker.resume(CRAWL)
        assert paths(await lease(tracker, 1)) == ["paused"]


async def fill_the_lane(redis: Redis, length: int) -> None:
    """Copy the one request that waits: to submit so many would take half a minute."""
    [lane] = redis_lists(redis)
    redis.eval(
        "local m = redis.call('LINDEX', KEYS[1], 0) "
        "for _ = 2, ARGV[1] do redis.call('RPUSH', KEYS[1], m) end "
        "for _, column in ipairs({'accepted', 'queued'}) do "
        "redis.call('HINCRBY', KEYS[2], column, ARGV[1] - 1) end",
        2,
        lane,
        "fleet:crawl:1",
        length,
    )
    assert redis.llen(lane) == length


async def test_a_stopped_backlog_is_freed_by_the_lane(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("stopped"))
        await fill_the_lane(redis, 1_000_000)
        redis.config_resetstat()

        await tracker.stop(CRAWL)
        await sweep(tracker)

        commands = redis.info("commandstats")
        assert commands["cmdstat_evalsha"]["usec"] < 20_000
        assert redis_lists(redis) == []


async def test_a_resting_domain_is_not_made_ready_by_new_requests(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, hits=1, window=60.0) as tracker:
        await submit(tracker, *offers(2))
        await lease(tracker)

        await submit(tracker, offer("urgent", priority=99))

        assert redis.zscore("fleet:resting:link", "a.example") is not None
        assert redis.zscore("fleet:ready:link", "a.example") is None


async def test_looking_for_paused_requests_uses_up_no_hit(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url, hits=1, window=60.0) as tracker:
        await submit(tracker, offer("page"))
        await tracker.pause(CRAWL)
        assert await lease(tracker) == []
        await tracker.resume(CRAWL)

        assert paths(await lease(tracker)) == ["page"]


async def test_a_topic_that_was_made_anew_is_taken_in(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        for offset in range(5):
            await submit(
                tracker, offer(f"old-{offset}"), source=Source("in", 0, offset, f"old {offset}")
            )

        again = await tracker.submit(CRAWL, [offer("new")], source=Source("in", 0, 2, "new"))
        repeat = await tracker.submit(CRAWL, [offer("new")], source=Source("in", 0, 2, "new"))

        assert (again.queued, again.repeated) == (1, False)
        assert (repeat.queued, repeat.repeated) == (0, True)


async def test_a_long_message_that_was_cut_off_is_taken_in_from_there(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        source = Source("in", 0, 2, "message")
        await tracker.submit(CRAWL, offers(1000), source=source, hold=10.0)

        whole = await tracker.submit(CRAWL, offers(1500), source=source)

        assert (whole.queued, whole.repeated) == (500, False)
        assert (await books(tracker)).accepted == 1500


async def test_what_was_in_flight_at_a_stop_is_known_to_the_crawl_that_goes_on(
    redis: Redis, redis_url: str
) -> None:
    """Its number is below the mark under which everything waiting was dropped."""
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("flying"), offer("waiting"))
        [flying] = await lease(tracker, 1)
        await tracker.stop(CRAWL)
        await submit(tracker, offer("again"))
        [again] = await lease(tracker, 1)

        await settle(tracker, again, links=[offer("flying")])
        assert (await books(tracker)).duplicates == 1
        await settle(tracker, flying, "released")
        assert (await tracker.trace(CRAWL, flying.fingerprint)).state == "queued"

        [flying] = await lease(tracker)
        await settle(tracker, flying, links=[offer("waiting"), offer("flying")])
        assert paths(await lease(tracker)) == ["waiting"]


async def test_scripts_that_are_flushed_all_the_time_are_an_outage(
    redis: Redis, redis_url: str
) -> None:
    """Between the moment when Redis is sent a script and its call, it may be flushed again."""
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            redis.script_flush()

    refused = 0
    async with redis_tracker(redis_url) as tracker:
        thread = threading.Thread(target=flush)
        thread.start()
        try:
            for number in range(300):
                while True:
                    try:
                        await tracker.submit(CRAWL, [offer(str(number))], entry="known")
                    except Unavailable:
                        refused += 1
                    else:
                        break
        finally:
            stop.set()
            thread.join()

        assert refused
        assert (await books(tracker)).queued == 300

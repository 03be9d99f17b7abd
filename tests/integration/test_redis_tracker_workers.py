"""Workers of the Redis tracker: connections that break, waking up, addresses."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from crawling.exceptions import Unavailable
from crawling.tracker.redis_records import pack
from crawling.tracker.scripts import read_script
from crawling.tracker.tracker import Outcome
from tests.integration.redis_fleet import all_keys, redis_tracker
from tests.integration.tracking import (
    balanced,
    books,
    finished,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from crawling.tracker.redis_tracker import RedisTracker
    from crawling.tracker.tracker import Kind


async def test_an_answer_that_got_lost_leaves_no_lease_behind(
    redis: Redis, redis_url: str
) -> None:
    """The worker would renew, for ever, a lease that it has never heard of."""
    pid = cast("dict[str, int]", redis.info("server"))["process_id"]
    async with redis_tracker(f"{redis_url}?socket_timeout=0.2", lease_timeout=60.0) as tracker:
        await submit(tracker, offer("page"))
        assert await lease(tracker, spiderid="warm up") == []
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match="does not answer"):
                await tracker.lease("worker-1", 1, "link")
        finally:
            os.kill(pid, signal.SIGCONT)

        [page] = await until(lambda: lease(tracker, 1))

        assert await settle(tracker, page)
        assert (await books(tracker)).state == "finished"


async def test_a_new_connection_starts_the_watch_over(redis: Redis, redis_url: str) -> None:
    """All deadlines have passed when Redis was away, and yet nobody is dead."""
    async with redis_tracker(redis_url, lease_timeout=0.3) as tracker:
        await submit(tracker, offer("page"))
        await lease(tracker)
        assert await tracker.reclaim() == 0
        seen = time.monotonic()
        redis.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: passed(seen + 0.3))

        again = time.monotonic()
        assert await reclaim_at_last(tracker) == 0

        assert await until(tracker.reclaim) == 1
        assert time.monotonic() - again >= 0.29


async def passed(moment: float) -> bool:
    return time.monotonic() >= moment


async def reclaim_at_last(tracker: RedisTracker) -> int:
    """Reclaim, once the broken connection has been noticed."""
    while True:
        try:
            return await tracker.reclaim()
        except Unavailable:
            await asyncio.sleep(0)


async def test_reclaim_takes_all_leases_of_the_dead_before_it_queues_any(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(1200))
        held = await lease(tracker, 1200, worker="dead")
        redis.zadd("fleet:workers", {"dead": 1})

        await until(tracker.reclaim)

        outcomes = [Outcome(page, "done", status=200) for page in held]
        assert not any(await tracker.settle("dead", outcomes))
        assert (await books(tracker)).queued == 1200
        assert paths(await lease(tracker, 10)) == [str(n) for n in range(10)]


async def test_an_idle_worker_is_woken_by_new_work(redis: Redis, redis_url: str) -> None:
    async with (
        redis_tracker(redis_url) as tracker,
        redis_tracker(redis_url) as monitor,
    ):
        assert (await tracker.lease("worker-1", 1, "link")).wait is None
        begun = time.monotonic()
        waiting = asyncio.create_task(tracker.idle(60.0))
        await asyncio.sleep(0)

        await submit(monitor, offer("page"))
        await waiting

        # A poll comes after 2.5 s at the earliest.
        assert time.monotonic() - begun < 2.0
        assert paths(await lease(tracker)) == ["page"]


async def test_work_for_one_wakes_one(redis: Redis, redis_url: str) -> None:
    async with (
        redis_tracker(redis_url) as one,
        redis_tracker(redis_url) as two,
        redis_tracker(redis_url) as monitor,
    ):
        for tracker, worker in ((one, "worker-1"), (two, "worker-2")):
            await tracker.lease(worker, 1, "link")

        await submit(monitor, offer("page"))

        assert redis.zcard("fleet:idle:link") == 1


async def test_each_address_has_a_throttle_of_its_own(redis: Redis, redis_url: str) -> None:
    async with (
        redis_tracker(redis_url, hits=1, ip="10.0.0.1") as one,
        redis_tracker(redis_url, hits=1, ip="10.0.0.2") as two,
    ):
        await submit(one, *offers(3), *offers(1, "b.example"))

        assert paths(await lease(one)) == ["0", "0"]
        assert paths(await lease(two, worker="worker-2")) == ["1"]
        await submit(two, *offers(1, "c.example"))
        assert [page.domain for page in await lease(one)] == ["c.example"]


async def test_an_address_that_joins_later_sees_all_domains(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, hits=1, ip="10.0.0.1") as one:
        await submit(one, *(offer(str(n), f"{n}.example") for n in range(50)))
        await submit(one, *(offer(f"{n}-2", f"{n}.example") for n in range(50)))
        assert len(await lease(one)) == 50
        async with redis_tracker(redis_url, hits=1, ip="10.0.0.2") as two:
            assert len(await lease(two, worker="worker-2")) == 50


async def test_a_dead_worker_that_wakes_up_registers_anew(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(2))
        await lease(tracker, 1)
        await until(tracker.reclaim)
        assert not await tracker.renew("worker-1")

        assert paths(await lease(tracker, 1)) == ["0"]

        assert await tracker.renew("worker-1")


async def test_a_worker_that_renewed_meanwhile_is_not_declared_dead(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("page"))
        [page] = await lease(tracker)
        [before] = await tracker.workers()
        suspects = pack([("worker-1", round(before.deadline * 1000) - 1)])

        answer = redis.eval(read_script("reclaim"), 1, tracker.keys.meta, suspects, 10)

        assert answer == [0, 0]
        assert await settle(tracker, page)


@contextmanager
def taken_back(redis: Redis) -> Iterator[None]:
    """Take back what the block wrote, as a failover to a replica that lags does."""
    keys = all_keys(redis)
    before = [(key, redis.dump(key)) for key in keys]
    yield
    redis.flushall()
    for key, value in before:
        redis.restore(key, 0, value or b"")


@pytest.mark.parametrize("kind", ["done", "failed", "released", "retry"])
async def test_the_end_of_a_lease_that_a_failover_took_back_is_made_good(
    redis: Redis, redis_url: str, kind: Kind
) -> None:
    async with redis_tracker(redis_url, lease_timeout=60.0) as tracker:
        await submit(tracker, *offers(3))
        held = await lease(tracker)
        with taken_back(redis):
            await settle(tracker, held[0], kind)
        assert (await books(tracker)).leased == 3

        assert await tracker.renew("worker-1", held=held[1:])

        await balanced(tracker)
        assert (await books(tracker)).leased == 2
        [again] = await lease(tracker)
        assert again.url == held[0].url
        assert [await settle(tracker, one) for one in (again, *held[1:])] == [True] * 3
        assert len(await finished(tracker)) == 1


async def test_a_lease_that_a_failover_took_back_is_settled_by_nobody(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, lease_timeout=60.0) as tracker:
        await submit(tracker, *offers(2))
        [first] = await lease(tracker, 1)
        with taken_back(redis):
            [second] = await lease(tracker, 1)

        assert await tracker.renew("worker-1", held=[first, second])

        assert not await settle(tracker, second)
        [again] = await lease(tracker)
        assert again.url == second.url


async def test_what_was_not_told_or_is_another_life_is_not_taken_back(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, lease_timeout=60.0) as tracker:
        await submit(tracker, *offers(2))
        held = await lease(tracker)

        assert await tracker.renew("worker-1")
        async with redis_tracker(redis_url, lease_timeout=60.0) as other:
            assert await other.renew("worker-1", held=[])

        assert [await settle(tracker, one) for one in held] == [True, True]


async def test_what_is_lent_while_a_renewal_is_on_its_way_stays(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, lease_timeout=60.0) as tracker:
        await submit(tracker, *offers(300))
        settled = list[bool]()
        while len(settled) < 300:
            renewal = tracker.renew_as_of(tracker.called, "worker-1", "", [])
            granted, _ = await asyncio.gather(tracker.lease("worker-1", 7, "link"), renewal)
            settled += [await settle(tracker, one) for one in granted.leases]

        assert settled == [True] * 300

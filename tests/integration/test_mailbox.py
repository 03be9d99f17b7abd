"""The letters of Redis monitors: each gets to one of them, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crawling.exceptions import Unavailable
from crawling.tracker.redis_tracker import RedisTracker
from crawling.tracker.tracker import (
    CrawlId,
    CrawlOptions,
    Outcome,
    Source,
    TrackerConfig,
)
from tests.integration.tracking import (
    CRAWL,
    WORKER,
    lease,
    offer,
    offers,
    settle,
    submit,
    sweep,
    until,
)
from tests.servers.redis_fleets import Server, redis_alone, redis_replicas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.mailbox import Letter, Mailbox

CONFIG = TrackerConfig(hits=0, concurrency=1000, retry_delay=0.0, lease_timeout=0.2)
#: Seconds after which letters of the dead are claimed, in most tests.
SOON = 0.2


@pytest.fixture
async def tracker(redis: Redis, redis_url: str) -> AsyncIterator[RedisTracker]:
    tracker = RedisTracker(redis_url, CONFIG)
    await tracker.open()
    yield tracker
    await tracker.close()


@asynccontextmanager
async def opened(
    tracker: RedisTracker, name: str, after: float = 30.0
) -> AsyncIterator[Mailbox]:
    [mailbox] = tracker.mailboxes(name, claim_after=after)
    await mailbox.open()
    yield mailbox


@asynccontextmanager
async def monitor_of(server: Server) -> AsyncIterator[tuple[RedisTracker, Mailbox]]:
    tracker = RedisTracker(f"redis://127.0.0.1:{server.port}/0", CONFIG)
    await tracker.open()
    try:
        async with opened(tracker, "one") as mailbox:
            yield tracker, mailbox
    finally:
        await tracker.close()


def bodies(letters: list[Letter]) -> list[dict[str, Any]]:
    return [letter.body for letter in letters]


async def test_a_request_is_posted_once_however_often_its_message_comes(
    tracker: RedisTracker,
) -> None:
    source, other = Source("incoming", 0, 7, "abc"), Source("incoming", 0, 7, "other")
    async with opened(tracker, "one") as mailbox:
        assert await mailbox.post([({"uuid": "1"}, source)]) == [True]
        assert await mailbox.post([({"uuid": "1"}, source), ({"uuid": "2"}, other)]) == [
            False,
            True,
        ]
        assert await mailbox.post([({"uuid": "3"}, None)] * 2) == [True, True]

        letters = await mailbox.requests(10, 0.1)

        assert [letter.body["uuid"] for letter in letters] == ["1", "2", "3", "3"]
        assert not any(letter.again for letter in letters)


async def test_a_letter_is_there_until_it_is_answered(
    tracker: RedisTracker, redis: Redis
) -> None:
    async with opened(tracker, "one") as mailbox:
        await mailbox.post([({"uuid": str(number)}, None) for number in range(3)])
        letters = await mailbox.requests(10, 0.1)
        assert redis.xlen("fleet:control") == 3

        await mailbox.answered([letter.id for letter in letters])

        assert redis.xlen("fleet:control") == 0
        assert await mailbox.requests(10, 0.01) == []


async def test_monitors_share_the_letters(tracker: RedisTracker) -> None:
    async def read(mailbox: Mailbox, found: list[str]) -> None:
        while letters := await mailbox.requests(7, 0.3):
            found += [letter.body["uuid"] for letter in letters]
            await mailbox.answered([letter.id for letter in letters])

    found: list[str] = []
    async with opened(tracker, "one") as one, opened(tracker, "two") as two:
        await one.post([({"uuid": str(number)}, None) for number in range(500)])
        await asyncio.gather(read(one, found), read(two, found))

    assert Counter(found) == Counter(map(str, range(500)))


async def test_what_a_dead_monitor_left_is_handed_to_another(tracker: RedisTracker) -> None:
    async with opened(tracker, "dead") as dead, opened(tracker, "alive", SOON) as alive:
        await dead.post([({"uuid": "1"}, None), ({"uuid": "2"}, None)])
        first, _ = await dead.requests(10, 0.1)
        await dead.answered([first.id])

        [letter] = await until(lambda: alive.requests(10, 0.01))

        assert (letter.body, letter.again) == ({"uuid": "2"}, True)


async def test_what_waited_before_the_first_monitor_came_is_read(
    tracker: RedisTracker, redis: Redis
) -> None:
    await tracker.mailboxes("nobody")[0].post([({"uuid": "1"}, None)])
    await submit(tracker, offer("a"))
    [leased] = await lease(tracker)
    await settle(tracker, leased)

    async with opened(tracker, "one") as mailbox:
        assert bodies(await mailbox.requests(10, 0.1)) == [{"uuid": "1"}]
        [event] = bodies(await mailbox.news(10, 0.1))

    assert (event["action"], event["done"]) == ("finished", 1)


async def test_nothing_is_cut_off_while_there_is_a_monitor(
    tracker: RedisTracker, redis: Redis
) -> None:
    async with opened(tracker, "one") as mailbox:
        redis.xadd("fleet:outbox", {"body": "{}"})
        pipeline = redis.pipeline()
        for _ in range(100_500):
            pipeline.xadd("fleet:outbox", {"body": "{}"})
        pipeline.execute()
        await submit(tracker, offer("a"))
        [leased] = await lease(tracker)
        await settle(tracker, leased)

        assert redis.xlen("fleet:outbox") == 100_502
        assert len(await mailbox.news(3, 0.1)) == 3


async def test_an_expired_crawl_is_told_with_what_it_gave_up(tracker: RedisTracker) -> None:
    async with opened(tracker, "one") as mailbox:
        await submit(tracker, *offers(3), options=CrawlOptions(expires=1.0), entry="known")
        await submit(tracker, *offers(3), crawl=CrawlId("link", "a", "late"))
        await tracker.expire(CrawlId("link", "a", "late"))
        await sweep(tracker)

        events = bodies(await mailbox.news(10, 0.1))

    expired = {e["crawlid"]: e["total_expired"] for e in events if e["action"] == "expired"}
    assert expired == {"first": 0, "late": 3}
    assert {e["crawlid"] for e in events if e["action"] == "finished"} == {"first", "late"}


async def test_each_request_that_failed_for_good_is_told(tracker: RedisTracker) -> None:
    shared = CrawlOptions(shared={"attrs": {"k": 1}})
    async with opened(tracker, "one") as mailbox:
        await submit(tracker, offer("a"), offer("b"), options=shared)
        first, second = await lease(tracker)
        await settle(tracker, first, "failed", reason="http_503", detail="503")
        await settle(tracker, second, "failed", reason="dns", detail="no such host")

        letters = await mailbox.failures(10, 0.1)
        one, two = bodies(letters)
        await mailbox.reported([letter.id for letter in letters])
        assert await mailbox.failures(10, 0.01) == []

    assert (one["url"], one["reason"], one["status_code"]) == (first.url, "http_503", 503)
    assert (two["reason"], two["exception"], two["status_code"]) == (
        "dns",
        "no such host",
        None,
    )
    assert one["attrs"] == {"k": 1}
    assert (one["crawlid"], one["appid"], one["spiderid"]) == ("first", "tests", "link")
    assert (one["depth"], one["priority"], one["attempts"]) == (0, 70, 1)


async def test_a_request_that_killed_its_workers_is_told_too(tracker: RedisTracker) -> None:
    async with opened(tracker, "one") as mailbox:
        await submit(tracker, offer("poison"))
        for number in range(11):
            assert await lease(tracker, worker=f"victim-{number}")
            assert await until(tracker.reclaim)

        [body] = bodies(await mailbox.failures(10, 0.1))

    assert (body["reason"], body["detail"]) == ("spider_error", "worker died 11 times")


async def test_without_a_monitor_failures_are_kept_in_the_crawl_alone(
    tracker: RedisTracker, redis: Redis
) -> None:
    await submit(tracker, offer("a"))
    [leased] = await lease(tracker)
    await settle(tracker, leased, "failed")

    assert not redis.exists("fleet:failures")
    assert len(await tracker.failures(CRAWL)) == 1


async def test_another_letter_of_the_same_id_is_not_deleted(
    tracker: RedisTracker, redis: Redis
) -> None:
    """Two servers that were both masters for a moment may have given it to two."""
    async with opened(tracker, "one") as mailbox, opened(tracker, "two") as other:
        for uuid in ("1", "2"):
            redis.xadd("fleet:control", {"body": f'{{"uuid": "{uuid}"}}'}, id=f"{uuid}-0")
        first, second = await mailbox.requests(10, 0.1)
        redis.delete("fleet:control")
        await mailbox.open()
        for uuid in ("3", "4"):
            redis.xadd("fleet:control", {"body": f'{{"uuid": "{uuid}"}}'}, id=f"{uuid}-0")
        [third] = await other.requests(1, 0.1)

        await mailbox.answered([first.id, second.id, third.id, "4-0"])

        assert redis.xlen("fleet:control") == 2
        assert bodies(await mailbox.requests(10, 0.1)) == [{"uuid": "4"}]


async def test_a_redis_that_was_emptied_is_joined_anew(
    tracker: RedisTracker, redis: Redis
) -> None:
    async with opened(tracker, "one") as mailbox:
        redis.flushall()
        with pytest.raises(Unavailable, match="lost the stream fleet:control"):
            await mailbox.requests(10, 0.1)

        await mailbox.post([({"uuid": "1"}, None)])

        assert bodies(await mailbox.requests(10, 0.1)) == [{"uuid": "1"}]
        assert redis.hget("fleet:meta", "relay") == b"1"


async def test_a_master_that_becomes_a_replica_is_an_outage(tmp_path: Path) -> None:
    """It breaks off all that waits for letters."""
    with redis_alone(tmp_path) as server:
        async with monitor_of(server) as (_, mailbox):
            waiting = asyncio.create_task(mailbox.requests(10, 30.0))
            await asyncio.sleep(0.2)
            server.client().replicaof("127.0.0.1", 1)
            with pytest.raises(Unavailable, match="UNBLOCKED"):
                await waiting


async def test_an_event_is_told_when_all_replicas_have_it(tmp_path: Path) -> None:
    """So no failover, to whichever of them, can take back an end of which others know."""
    with redis_replicas(tmp_path) as (master, replica, _):
        async with monitor_of(master) as (tracker, mailbox):
            await submit(tracker, offer("a"))
            [leased] = await lease(tracker)
            os.kill(replica.process.pid, signal.SIGSTOP)
            # Quickly: who is silent for longer is not waited for.
            await tracker.settle(WORKER, [Outcome(leased, "done", status=200)])
            telling = asyncio.create_task(mailbox.news(10, 5.0))
            told, _ = await asyncio.wait([telling], timeout=1.0)
            assert not told

            os.kill(replica.process.pid, signal.SIGCONT)
            [letter] = await asyncio.wait_for(telling, 30.0)
            assert letter.body["action"] == "finished"


async def test_an_event_of_a_master_that_its_replicas_have_left_is_not_told_soon(
    tmp_path: Path,
) -> None:
    """They may have another one by now, and then this one does not count."""
    with redis_replicas(tmp_path) as (master, *replicas):
        async with monitor_of(master) as (tracker, mailbox):
            for replica in replicas:
                replica.client().replicaof("NO", "ONE")

            await submit(tracker, offer("a"))
            [leased] = await lease(tracker)
            await settle(tracker, leased)
            telling = asyncio.create_task(mailbox.news(10, 5.0))
            told, _ = await asyncio.wait([telling], timeout=3.0)
            assert not told

            [letter] = await asyncio.wait_for(telling, 60.0)
            assert letter.body["action"] == "finished"


async def test_an_event_that_is_lost_before_replicas_have_it_is_not_told(
    tmp_path: Path,
) -> None:
    """Another server may answer for the replicas than the one that had the event."""
    with redis_replicas(tmp_path) as (master, replica, _):
        async with monitor_of(master) as (tracker, mailbox):
            await submit(tracker, offer("a"))
            [leased] = await lease(tracker)
            os.kill(replica.process.pid, signal.SIGSTOP)
            try:
                await settle(tracker, leased)
                telling = asyncio.create_task(mailbox.news(10, 5.0))
                await until(lambda: asyncio.to_thread(delivered, master))
                master.client().delete("fleet:outbox")
            finally:
                os.kill(replica.process.pid, signal.SIGCONT)

            assert await asyncio.wait_for(telling, 60.0) == []


def delivered(server: Server) -> bool:
    groups = server.client().xinfo_groups("fleet:outbox")
    return bool(groups[0]["pending"])


async def test_a_replica_that_is_stuck_keeps_no_event_for_long(tmp_path: Path) -> None:
    with redis_replicas(tmp_path) as (master, stuck, _):
        async with monitor_of(master) as (tracker, mailbox):
            await submit(tracker, offer("a"))
            os.kill(stuck.process.pid, signal.SIGSTOP)
            try:
                [leased] = await lease(tracker)
                await settle(tracker, leased)
                [letter] = await asyncio.wait_for(mailbox.news(10, 5.0), 60.0)
            finally:
                os.kill(stuck.process.pid, signal.SIGCONT)
            assert letter.body["action"] == "finished"

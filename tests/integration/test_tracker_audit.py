"""What an audit finds where somebody has been at the data, and that a repair mends it.

That it finds nothing where nobody was is checked after every step of all tests of the
trackers (`tracking.balanced`), and after each one of the model's.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker import redis_audit
from crawling.tracker.findings import Finding
from crawling.tracker.sqlite_tracker import SqliteTracker
from crawling.tracker.tracker import Outcome
from tests.integration.redis_fleet import EAGER, redis_tracker
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    balanced,
    books,
    fetch_all,
    finished,
    lease,
    offer,
    offers,
    settle,
    submit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Tracker

LANE = "link:a.example:70"
QUEUE = "link:a.example"
LIST = "link:a.example:queue:1.0:70"
BOOK = "fleet:crawl:1"
DELAYING: dict[str, Any] = {"retry_delay": 60.0, "retry_delay_max": 60.0}


async def repaired(tracker: Tracker, *expected: Finding) -> None:
    """See that an audit finds what is expected and changes nothing, and a repair mends it."""
    assert set(await tracker.audit()) == set(expected)
    assert set(await tracker.audit(repair=True)) == set(expected)
    await balanced(tracker)


async def delay_one(tracker: Tracker) -> None:
    """Have one request wait for its retry."""
    await submit(tracker, offer("a"))
    [held] = await lease(tracker)
    await settle(tracker, held, "retry")


@pytest.mark.parametrize("column", ["queued", "leased"])
async def test_requests_that_are_gone_are_booked_as_lost(
    redis: Redis, redis_url: str, column: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(5))
        [held] = await lease(tracker, 1)
        if column == "queued":
            redis.ltrim(LIST, 0, 2)
            finding = Finding("queued", CRAWL, "", 4, 3)
            also: list[Finding] = []
        else:
            redis.delete("fleet:leases:worker-1")
            finding = Finding("leased", CRAWL, "", 1, 0)
            also = [Finding("flight", None, QUEUE, 1, 0)]

        await repaired(tracker, finding, *also)

        assert (await books(tracker)).reasons == {"lost": 1}
        assert await settle(tracker, held) == (column == "queued")
        await fetch_all(tracker)
        [event] = await finished(tracker)
        assert (event.body["accepted"], event.body["dropped"]) == (5, 1)


async def test_a_delayed_request_that_is_gone_is_booked_as_lost(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, **DELAYING) as tracker:
        await delay_one(tracker)
        redis.delete("fleet:delayed", "fleet:delayed:link")

        await repaired(tracker, Finding("delayed", CRAWL, "", 1, 0))

        [event] = await finished(tracker)
        assert event.body["reasons"] == {"lost": 1}


async def test_a_delayed_request_without_its_time_gets_it_back(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, **DELAYING) as tracker:
        await delay_one(tracker)
        times = redis.zrange("fleet:delayed:link", 0, -1, withscores=True)
        redis.delete("fleet:delayed:link")

        await repaired(tracker, Finding("due", CRAWL, QUEUE, 0, 1))

        assert redis.zrange("fleet:delayed:link", 0, -1, withscores=True) == times


async def test_more_than_the_books_say_is_accepted(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(2))
        redis.hincrby(BOOK, "queued", -1)
        redis.hincrby(BOOK, "accepted", -1)

        await repaired(tracker, Finding("queued", CRAWL, "", 1, 2))

        assert (await books(tracker)).accepted == 2


async def test_columns_that_do_not_sum_up_are_set_right(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(2))
        redis.hset(BOOK, "accepted", 7)

        await repaired(tracker, Finding("accepted", CRAWL, "", 7, 2))


@pytest.mark.parametrize("forgotten", ["queue", "lanes", "both"])
async def test_a_lane_that_no_lease_would_come_to_is_queued_again(
    redis: Redis, redis_url: str, forgotten: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(3))
        if forgotten != "lanes":
            redis.delete("link:a.example:queue")
        if forgotten != "queue":
            redis.delete("fleet:lanes:1.0")

        found = await tracker.audit()
        await tracker.audit(repair=True)

        assert Finding("lane", CRAWL, LANE, 0, 3) in found
        await balanced(tracker)
        assert len(await fetch_all(tracker)) == 3


@pytest.mark.parametrize("where", ["nowhere", "resting", "capped"])
async def test_a_domain_that_no_lease_would_come_to_is_put_in_line(
    redis: Redis, redis_url: str, where: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("a"))
        # What rests is looked at by who leases.
        await lease(tracker, worker="other", spiderid="none")
        redis.delete("fleet:ready:link")
        if where == "resting":
            redis.zadd("fleet:resting:link", {"a.example": float("inf")})
        if where == "capped":
            redis.sadd("fleet:capped:link", "a.example")
            await tracker.lease("worker-1", 1, "link")
        crawl = None if where == "capped" else CRAWL
        number = 0 if where == "capped" else 1

        await repaired(tracker, Finding("domain", crawl, QUEUE, 0, number))

        assert len(await fetch_all(tracker)) == 1


async def test_by_address_each_view_is_to_see_a_domain(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url, ip="10.0.0.1", hits=1, window=60.0) as tracker:
        await submit(tracker, *offers(2))
        assert len(await lease(tracker)) == 1
        redis.delete("fleet:resting:link@10.0.0.1")

        await repaired(tracker, Finding("domain", CRAWL, QUEUE, 0, 1))

        await tracker.lease("worker-1", 1, "link")
        assert redis.zscore("fleet:resting:link@10.0.0.1", "a.example") is not None


async def test_a_blocked_domain_and_one_at_its_cap_are_in_order(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url, concurrency=1) as tracker:
        await submit(tracker, *offers(2), offer("b", "b.example"), offer("c", "b.example"))
        await tracker.block("b.example")

        assert len(await lease(tracker)) == 1

        assert redis.zscore("fleet:resting:link", "b.example") == float("inf")
        assert redis.smembers("fleet:capped:link") == {b"a.example"}
        assert await tracker.audit() == []


async def test_a_wrong_number_in_flight_is_set_right(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url, concurrency=3) as tracker:
        await submit(tracker, *offers(3))
        await lease(tracker, 1)
        redis.hset("fleet:flight:link", "a.example", 9)

        await repaired(tracker, Finding("flight", None, QUEUE, 9, 1))


async def test_leases_of_a_worker_that_nobody_watches_come_back(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(3))
        await lease(tracker)
        redis.delete("fleet:workers")

        found = await tracker.audit()
        await tracker.audit(repair=True)
        await tracker.reclaim()

        assert Finding("worker", None, "worker-1", 0, 3) in found
        await balanced(tracker)
        assert len(await fetch_all(tracker)) == 3


async def test_a_forgotten_bundle_of_a_dead_worker_comes_back(
    redis: Redis, redis_url: str
) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(3))
        await lease(tracker)
        redis.rename("fleet:leases:worker-1", "fleet:dead:d1")

        found = await tracker.audit()
        await tracker.audit(repair=True)
        await tracker.reclaim()

        assert Finding("bundle", None, "d1", 0, 3) in found
        await balanced(tracker)
        assert len(await fetch_all(tracker)) == 3


async def test_a_crawl_that_should_have_ended_ends(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("a"))
        redis.delete(LIST, "link:a.example:queue", "fleet:lanes:1.0")
        redis.hset(BOOK, mapping={"queued": 0, "accepted": 0})

        await repaired(tracker, Finding("end", CRAWL))

        [event] = await finished(tracker)
        assert event.body["state"] == "finished"


async def test_keys_of_crawls_that_are_gone_are_deleted(redis: Redis, redis_url: str) -> None:
    left = {
        "fleet:crawl:77": {"name": "link:tests:gone"},
        "fleet:pages:77": {"a.example": 1},
        "fleet:pages:77.0": {"a.example": 1},
        "fleet:failed:77": {"fp": "x"},
        "link:dupefilter:gone": {"fp": "d"},
        "link:dupefilter:gone:77.1": {"fp": "d"},
    }
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, offer("a"), offer("b", "dupefilter"), offer("c", "queue"))
        for key, fields in left.items():
            redis.hset(key, mapping=fields)  # type: ignore[arg-type]  # of either kind
        redis.rpush("link:a.example:queue:77.0:70", "x")
        redis.sadd("fleet:lanes:77.0", "x")
        others = {b"somebody:else's", b"fleet:unknown"}
        for other in others:
            redis.set(other, 1)
        expected = {*left, "link:a.example:queue:77.0:70", "fleet:lanes:77.0"}

        await repaired(tracker, *(Finding("key", None, key) for key in expected))

        assert others <= set(redis.keys())
        assert len(await fetch_all(tracker)) == 3


async def test_only_the_named_crawl_is_repaired(redis: Redis, redis_url: str) -> None:
    async with redis_tracker(redis_url) as tracker:
        for crawl in (CRAWL, OTHER):
            await submit(tracker, offer("a"), crawl=crawl)
        redis.hset("fleet:crawl:1", "accepted", 5)
        redis.hset("fleet:crawl:2", "accepted", 5)

        await tracker.audit(OTHER, repair=True)

        assert await tracker.audit() == [Finding("accepted", CRAWL, "", 5, 1)]


async def test_a_crawl_of_many_lanes_is_counted_in_steps(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_audit, "MOST_COUNTED", 100)
    monkeypatch.setattr(redis_audit, "LANES", 50)
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *(offer("a", f"{number}.example") for number in range(1000)))
        redis.delete("link:7.example:queue:1.0:70")

        await repaired(tracker, Finding("queued", CRAWL, "", 1000, 999))

        assert len(await fetch_all(tracker)) == 999


async def test_many_crawls_with_many_lanes_are_counted_in_steps(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_audit, "MOST_COUNTED", 100)
    async with redis_tracker(redis_url) as tracker:
        crawls = [CRAWL._replace(crawlid=f"c{number}") for number in range(20)]
        for crawl in crawls:
            lanes = [offer("a", f"{number}.example") for number in range(40)]
            await tracker.submit(crawl, lanes)
        for cno in (1, 7, 20):
            redis.hset(f"fleet:crawl:{cno}", "accepted", 1)

        found = await tracker.audit()

        assert {each.crawl for each in found} == {crawls[0], crawls[6], crawls[19]}
        assert {each.kind for each in found} == {"accepted"}


async def test_what_moves_while_it_is_counted_in_steps_is_not_judged(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_audit, "MOST_COUNTED", 100)
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *(offer("a", f"{number}.example") for number in range(1000)))
        count = tracker._count_lanes

        async def count_while_it_moves(name: str, **how: Any) -> Any:
            counted = await count(name, **how)
            await tracker.lease("worker-1", 1, "link")
            return counted

        monkeypatch.setattr(tracker, "_count_lanes", count_while_it_moves)

        assert await tracker.audit(repair=True) == [Finding("unsteady", CRAWL)]
        assert (await books(tracker)).dropped == 0


async def test_while_workers_are_at_it_an_audit_finds_nothing(
    redis: Redis, redis_url: str
) -> None:
    rng = random.Random(7)
    async with redis_tracker(redis_url, lease_timeout=60.0, concurrency=5) as tracker:
        await tracker.submit(CRAWL, [offer(str(n), f"{n % 50}.example") for n in range(2000)])

        async def work(worker: str) -> None:
            while True:
                leases, wait = await tracker.lease(worker, 8, "link")
                if not leases and wait is None and not (await books(tracker)).outstanding:
                    return
                kinds = rng.choices(["done", "failed", "retry", "released"], [8, 1, 1, 1], k=8)
                outcomes = [
                    Outcome(held, kind, "timeout", status=200)  # type: ignore[arg-type]  # of Kind
                    for held, kind in zip(leases, kinds, strict=False)
                ]
                await tracker.settle(worker, outcomes)
                if rng.random() < 0.05:
                    await tracker.leave(worker)

        workers = asyncio.gather(*(work(f"worker-{number}") for number in range(8)))
        audits = 0
        while not workers.done():
            assert await tracker.audit(repair=audits % 2 == 0) == []
            audits += 1
        await workers

        assert audits > 20
        assert len(await finished(tracker)) == 1


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as db, db:
        yield db


@pytest.mark.parametrize(
    ("damage", "expected", "fetched"),
    [
        (
            "UPDATE crawls SET accepted = 9",
            [Finding("accepted", CRAWL, "", 9, 4)],
            4,
        ),
        (
            "DELETE FROM requests WHERE id = (SELECT max(id) FROM requests WHERE worker IS NULL)",
            [Finding("queued", CRAWL, "", 3, 2), Finding("lane", CRAWL, LANE, 3, 2)],
            3,
        ),
        (
            "DELETE FROM lanes",
            [Finding("lane", CRAWL, LANE, 0, 3), Finding("domain", None, QUEUE)],
            4,
        ),
        ("UPDATE places SET best = NULL", [Finding("domain", None, QUEUE)], 4),
        ("UPDATE queues SET leased = 5", [Finding("flight", None, QUEUE, 5, 1)], 4),
        ("DELETE FROM workers", [Finding("worker", None, "worker-1", 0, 1)], 4),
    ],
)
async def test_a_damaged_file_is_repaired(
    tmp_path: Path, damage: str, expected: list[Finding], fetched: int
) -> None:
    path = tmp_path / "crawl.db"
    tracker = SqliteTracker(f"sqlite:///{path}", EAGER)
    await tracker.open()
    await submit(tracker, *offers(4))
    [held] = await lease(tracker, 1)
    with raw(path) as db:
        db.execute(damage)

    await repaired(tracker, *expected)

    done = int(await settle(tracker, held)) + len(await fetch_all(tracker))
    assert done == fetched
    assert (await books(tracker)).dropped == 4 - fetched
    assert len(await finished(tracker)) == 1
    await tracker.close()


async def test_nothing_of_an_unknown_crawl_is_wrong(tracker: Tracker) -> None:
    assert await tracker.audit(CRAWL) == []

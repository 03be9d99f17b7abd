from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawling.service.counters import BUCKETS, RedisCounts, RollingCounts
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

PREFIX = "stats:crawler:host:link"


class Clock:
    """A clock that the test sets forward."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def shared(redis: Redis, redis_url: str) -> AsyncIterator[RedisCounts]:
    counts = RedisCounts(redis_url, PREFIX, timeout=5)
    yield counts
    await counts.close()


def window(redis: Redis, name: str, seconds: int) -> int:
    buckets: dict[bytes, bytes] = redis.hgetall(f"{PREFIX}:{name}:{seconds}")  # type: ignore[assignment]  # not awaitable here
    return sum(map(int, buckets.values()))


def test_a_window_forgets_what_is_older_than_it(clock: Clock) -> None:
    counts = RollingCounts([60, 3600], clock)
    counts.count("200")
    clock.now += 30
    counts.count("200")

    assert (counts.total("200", 60), counts.total("200", 3600)) == (2, 2)
    clock.now += 31
    assert (counts.total("200", 60), counts.total("200", 3600)) == (1, 2)
    clock.now += 3600
    assert counts.totals() == {"200": {"60": 0, "3600": 0, "lifetime": 2}}


def test_a_window_is_exact_to_a_sixtieth_of_it(clock: Clock) -> None:
    counts = RollingCounts([3600], clock)
    for _ in range(3600):
        counts.count("200")
        clock.now += 1

    assert 3600 - 3600 / BUCKETS <= counts.total("200", 3600) <= 3600


def test_counts_that_nobody_writes_do_not_pile_up(clock: Clock) -> None:
    counts = RollingCounts([60, 3600], clock)
    for _ in range(20_000):
        counts.count("200")
        clock.now += 1

    assert counts.totals() == {"200": {"60": 59, "3600": 3540, "lifetime": 20_000}}
    assert len(counts.take()) <= 2 * (BUCKETS + 1) + 1


async def test_counts_of_several_processes_are_added(
    redis: Redis, shared: RedisCounts, redis_url: str, clock: Clock
) -> None:
    mine, theirs = RollingCounts([60, 900], clock), RollingCounts([60, 900], clock)
    other = RedisCounts(redis_url, PREFIX, timeout=5)
    for counts in (mine, mine, theirs):
        counts.count("200")

    await shared.write(mine)
    await other.write(theirs)
    await other.close()

    assert [window(redis, "200", 60), window(redis, "200", 900)] == [3, 3]
    assert redis.get(f"{PREFIX}:200:lifetime") == b"3"


async def test_what_was_written_is_not_written_again(
    redis: Redis, shared: RedisCounts, clock: Clock
) -> None:
    counts = RollingCounts([60], clock)
    counts.count("200")

    await shared.write(counts)
    await shared.write(counts)

    assert window(redis, "200", 60) == 1


async def test_a_window_in_redis_forgets_and_does_not_grow(
    redis: Redis, shared: RedisCounts, clock: Clock
) -> None:
    counts = RollingCounts([60], clock)
    for _ in range(200):
        counts.count("200")
        await shared.write(counts)
        clock.now += 1

    assert window(redis, "200", 60) == 60
    assert redis.get(f"{PREFIX}:200:lifetime") == b"200"


async def test_a_window_that_nobody_counts_in_expires(
    redis: Redis, shared: RedisCounts, clock: Clock
) -> None:
    counts = RollingCounts([60], clock)
    counts.count("200")

    await shared.write(counts)

    assert 0 < redis.ttl(f"{PREFIX}:200:60") <= 60
    assert redis.ttl(f"{PREFIX}:200:lifetime") == -1


async def test_a_key_of_another_program_does_not_take_the_others_along(
    redis: Redis, shared: RedisCounts, clock: Clock
) -> None:
    redis.zadd(f"{PREFIX}:200:60", {"old": 1})
    counts = RollingCounts([60, 900], clock)
    counts.count("200")

    await shared.write(counts)
    await shared.write(counts)

    assert window(redis, "200", 900) == 1
    assert redis.get(f"{PREFIX}:200:lifetime") == b"1"


async def test_counts_wait_while_redis_is_away(tmp_path: Path, clock: Clock) -> None:
    counts = RollingCounts([60], clock)
    counts.count("200")
    url = f"unix://{tmp_path / 'redis.sock'}"
    shared = RedisCounts(url, PREFIX, timeout=5)

    await shared.write(counts)
    counts.count("200")
    with redis_server(tmp_path):
        await shared.write(counts)
        answer = await shared._redis.get(f"{PREFIX}:200:lifetime")
        await shared.close()

    assert answer == b"2"
    assert not counts.take()


async def test_what_waits_too_long_leaves_its_window_but_not_the_lifetime(
    tmp_path: Path, clock: Clock
) -> None:
    counts = RollingCounts([60], clock)
    shared = RedisCounts(f"unix://{tmp_path / 'redis.sock'}", PREFIX, timeout=5)
    for _ in range(1000):
        counts.count("200")
        clock.now += 1

    await shared.write(counts)
    await shared.close()

    left = counts.take()
    assert len(left) <= 61
    assert sum(left.values()) == 1000 + sum(n for bucket, n in left.items() if bucket.window)

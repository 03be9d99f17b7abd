from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis import Redis

from crawling import settings as fleet
from crawling.service.config import named
from crawling.service.counters import PREFIXES
from crawling.service.node import Node
from kafka_monitor import settings as monitor
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

NODES = "stats:kafka-monitor:nodes"


@asynccontextmanager
async def make_node(url: str, **changed: Any) -> AsyncIterator[Node]:
    settings = {**named(fleet), **named(monitor), "TRACKER": url, **changed}
    node = Node("kafka-monitor", settings)
    await node.open()
    yield node
    await node.close()


async def until(is_true: Any) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_node_shows_that_it_lives_and_leaves_when_it_ends(
    redis: Redis, redis_url: str
) -> None:
    async with make_node(redis_url) as node, make_node(redis_url) as other:
        assert set(redis.zrange(NODES, 0, -1)) == {node.id.encode(), other.id.encode()}
        key = f"stats:kafka-monitor:self:{node.id}"
        assert 0 < redis.pttl(key) <= 120_000
        assert len(node.id.rpartition(":")[2]) == 12

    assert redis.keys("stats:*") == []


async def test_a_heartbeat_goes_on_while_the_node_lives(redis: Redis, redis_url: str) -> None:
    async with make_node(redis_url, HEARTBEAT_TIMEOUT=0.3, STATS_CYCLE=5) as node:
        key = f"stats:kafka-monitor:self:{node.id}"
        first = redis.get(key)

        await until(lambda: redis.get(key) not in {first, None})


async def test_what_nodes_count_is_added_up_and_can_be_found_without_a_search(
    redis: Redis, redis_url: str
) -> None:
    for _ in range(2):
        async with make_node(redis_url) as node:
            node.succeeded("ScraperHandler")
            node.failed()

    assert redis.get("stats:kafka-monitor:total:lifetime") == b"4"
    assert redis.get("stats:kafka-monitor:fail:lifetime") == b"2"
    assert redis.get("stats:kafka-monitor:ScraperHandler:lifetime") == b"2"
    names = {b"total", b"fail", b"ScraperHandler"}
    assert redis.smembers("stats:kafka-monitor:names") == names
    assert redis.zrange(PREFIXES, 0, -1) == [b"stats:kafka-monitor"]


async def test_settings_turn_counters_off(redis: Redis, redis_url: str) -> None:
    async with make_node(redis_url, STATS_TOTAL=False) as node:
        node.succeeded("ScraperHandler")
    async with make_node(redis_url, STATS_PLUGINS=False) as node:
        node.succeeded("ScraperHandler")

    assert redis.get("stats:kafka-monitor:total:lifetime") == b"1"
    assert redis.get("stats:kafka-monitor:ScraperHandler:lifetime") == b"1"


async def test_a_node_says_what_it_has_counted(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with make_node(redis_url, STATS_CYCLE=0.01, STATS_DUMP=0.05) as node:
        node.succeeded("ScraperHandler")
        node.failed()
        await until(lambda: any(hasattr(record, "total_900") for record in caplog.records))

    dump = next(record for record in caplog.records if hasattr(record, "total_900"))
    assert dump.getMessage() == "Kafka Monitor Stats Dump"
    counted = vars(dump)
    assert (counted["total_900"], counted["fail_lifetime"]) == (2, 1)
    assert counted["plugin_ScraperHandler_604800"] == 1


async def test_a_node_lives_on_while_redis_is_away(tmp_path: Path) -> None:
    url = f"unix://{tmp_path / 'redis.sock'}"
    async with make_node(url, STATS_CYCLE=0.05) as node:
        node.failed()
        with redis_server(tmp_path), Redis.from_url(url) as client:
            await until(lambda: client.get("stats:kafka-monitor:fail:lifetime") == b"1")
            assert client.zrange(NODES, 0, -1) == [node.id.encode()]

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from crawling.exceptions import ConfigError, Unavailable
from crawling.tracker.tracker import CrawlId
from kafka_monitor.offsets import DURABLE
from tests.integration.monitoring import monitored
from tests.integration.tracking import until
from tests.servers.kafka_server import kafka_server
from tests.servers.redis_fleets import answers, redis_alone
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.monitoring import Monitored
    from tests.servers.redis_fleets import Cluster


def crawl(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "url": f"http://site-{number}.com/",
        "appid": "testapp",
        "crawlid": f"c{number}",
        **fields,
    }


async def test_a_crawl_request_becomes_a_crawl(
    kafka: Monitored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = time.time()
    await kafka.feed(crawl(1, priority=70, maxdepth=2, attrs={"k": 1}, cookie="a=b"))

    async with kafka.running():
        await kafka.has_crawls(1)

    status = (await kafka.statuses())["c1"]
    assert status.crawl == CrawlId("link", "testapp", "c1")
    assert (status.accepted, status.queued) == (1, 1)
    assert status.options.maxdepth == 2
    assert status.options.shared["attrs"] == {"k": 1}
    (lease,) = (await kafka.tracker.lease("w", 1, "link")).leases
    assert (lease.url, lease.priority) == ("http://site-1.com/", 70)
    logged = vars(next(r for r in caplog.records if r.getMessage() == "Added crawl to Redis"))
    assert (logged["parsed"], logged["valid"], logged["crawlid"]) == (True, True, "c1")
    assert before <= logged["ts"] <= time.time()
    assert "cookie" not in logged


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("is_committed", [False, True])
async def test_what_redis_has_lost_is_taken_again(
    tmp_path: Path, kafka_hosts: str, topic_prefix: str, *, is_committed: bool
) -> None:
    """As after a failover, while the monitor goes on."""
    with redis_alone(tmp_path) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        async with monitored(url, kafka_hosts, topic_prefix) as kafka, kafka.running():
            await kafka.feed(crawl(1))
            await kafka.has_crawls(1)
            await until(lambda: asyncio.to_thread(lambda: kafka.committed() == 1), timeout=30)
            server.client().save()
            await kafka.feed(
                crawl(2),
                {"uuid": "u1", "appid": "app1", "spiderid": "link", "action": "info"},
            )
            await kafka.has_crawls(2)
            if is_committed:
                await until(
                    partial(asyncio.to_thread, lambda: kafka.committed() == 3), timeout=30
                )
            server.kill()
            server.start()
            await until(lambda: asyncio.to_thread(answers, server))

            async def is_back() -> bool:
                with suppress(Unavailable):  # by a connection to the server that was killed
                    return "c2" in await kafka.statuses()
                return False

            await until(is_back, timeout=60)
            await until(lambda: asyncio.to_thread(lambda: kafka.committed() == 3), timeout=60)
            with suppress(Unavailable):  # by a connection to the server that was killed
                await kafka.statuses()
            statuses = await kafka.statuses()
            assert {id_: each.accepted for id_, each in statuses.items()} == {"c1": 1, "c2": 1}
            assert [letter.body["uuid"] for letter in await kafka.letters(1)] == ["u1"]


async def test_requests_are_taken_in_the_order_in_which_they_came(kafka: Monitored) -> None:
    await kafka.feed(
        *(crawl(n, crawlid="one", url=f"http://site.com/{n}.") for n in range(1200))
    )

    async with kafka.running():

        async def all_queued() -> bool:
            statuses = await kafka.statuses()
            return "one" in statuses and statuses["one"].queued == 1200

        await until(all_queued, timeout=30)

    redis: Any = kafka.tracker._redis
    (lane,) = await redis.zrange("link:site.com:queue", 0, -1)
    waiting = await redis.lrange(f"link:site.com:queue:{lane.decode()}", 0, -1)
    numbers = [int(re.findall(rb"/(\d+)\.", member)[0]) for member in waiting]
    assert numbers == list(range(1200))


async def test_control_requests_are_left_for_the_redis_monitor(
    kafka: Monitored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    action = {"uuid": "u1", "appid": "app1", "spiderid": "link", "action": "info"}
    stats = {"uuid": "u2", "appid": "app1"}
    domain = {"uuid": "u3", "appid": "app1", "domain": "x.com", "action": "blacklist-update"}
    await kafka.feed(action, stats, domain)

    async with kafka.running():
        letters = await kafka.letters(3)

    bodies = [letter.body for letter in letters]
    assert all(isinstance(body.pop("ts"), float) for body in bodies)
    assert bodies == [
        {"kind": "action", **action},
        {"kind": "stats", **stats, "stats": "all"},
        {"kind": "zookeeper", **domain, "hits": 0, "window": 0, "scale": 1.0},
    ]
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("Added")] == [
        "Added action to Redis",
        "Added stat request to Redis",
        "Added zookeeper action to Redis",
    ]


async def test_a_letter_comes_after_the_crawls_that_came_before_it(kafka: Monitored) -> None:
    stop = {
        "uuid": "u",
        "appid": "testapp",
        "spiderid": "link",
        "action": "stop",
        "crawlid": "c1",
    }
    await kafka.feed(crawl(1), stop, crawl(2))

    async with kafka.running():
        await kafka.letters(1)
        assert "c1" in await kafka.statuses()
        await kafka.has_crawls(2)


async def test_what_is_refused_is_kept_with_its_reason_and_answered(
    kafka: Monitored, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    refused = crawl(1, maxdepth=5, uuid=7)
    await kafka.feed(refused, crawl(2))

    async with kafka.running(KAFKA_APPID_TOPICS=True):
        await kafka.has_crawls(1)
        (kept,) = await kafka.read("rejected", 1)
        (reply,) = await kafka.read("outbound_firehose", 1)
        (own,) = await kafka.read("outbound_testapp", 1)

    assert list(await kafka.statuses()) == ["c2"]
    assert kept.value == json.dumps(refused).encode()
    headers = {name: value.decode() for name, value in kept.headers}
    assert headers == {
        "reason": "maxdepth: must be at most 3, not 5; uuid: is no field of a crawl request",
        "path": "maxdepth",
        "topic": kafka.settings["KAFKA_INCOMING_TOPIC"],
        "partition": "0",
        "offset": "0",
    }
    assert own.value == reply.value
    answer = json.loads(reply.value or b"")
    assert abs(answer.pop("server_time") - time.time()) < 60
    assert answer == {
        "action": "rejected",
        "appid": "testapp",
        "uuid": None,
        "crawlid": "c1",
        "errors": [
            {"path": "maxdepth", "message": "must be at most 3, not 5", "value": 5},
            {"path": "uuid", "message": "is no field of a crawl request", "value": 7},
        ],
    }
    warning = vars(next(r for r in caplog.records if r.levelname == "WARNING"))
    assert warning["msg"] == "Did not find schema to validate request"
    assert (warning["parsed"], warning["valid"], warning["data"]) == (True, False, refused)
    assert redis.get("stats:kafka-monitor:fail:lifetime") == b"1"
    assert redis.get("stats:kafka-monitor:total:lifetime") == b"2"
    assert redis.get("stats:kafka-monitor:ScraperHandler:lifetime") == b"1"


POISON = [
    None,
    b"",
    b"\xff\xfe\x00",
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"url": NaN}',
    b'{"url": 1e999}',
    b'{"url": "http://a.com", "url": "http://b.com", "appid": "testapp", "crawlid": "x"}',
    rb'{"url": "http://a.com/\ud800", "appid": "testapp", "crawlid": "x"}',
    rb'{"url": "http://a.com/", "appid": "tes\u0000tapp", "crawlid": "x", "priority": 0}',
    b'{"url": "http://a.com/", "appid": "no/topic name", "crawlid": "x", "priority": 0}',
    b'{"url": "http://a.com/", "appid": {"a": 1}, "crawlid": ["x"], "uuid": {}}',
    b'{"url": "%s", "appid": "testapp", "crawlid": "x"}' % (b"x" * 900_000),
    b'{"url": "http://a.com/", "appid": "testapp", "crawlid": "x", "maxdepth": %d}' % 10**400,
    b'{"uuid": "u", "appid": "testapp", "spiderid": "link", "action": "stop"}',
    b'{"uuid": "u", "appid": "testapp", "domain": "x.com", "action": "domain-update"}',
    b'{"uuid": "u", "appid": "testapp", "stats": []}',
]


async def test_poison_of_any_kind_is_refused_and_the_next_request_is_served(
    kafka: Monitored,
) -> None:
    good = crawl(1, expires=10**30, attrs={"n": 10**400, "deep": [[[[None]]]]})
    await kafka.feed(*POISON, good)

    async with kafka.running():
        await kafka.has_crawls(1)
        kept = await kafka.read("rejected", len(POISON))

    assert sorted(record.value or b"" for record in kept) == sorted(
        raw or b"" for raw in POISON
    )


async def test_what_was_not_committed_is_delivered_again_and_happens_once(
    kafka: Monitored, redis: Redis
) -> None:
    action = {"uuid": "u1", "appid": "app1", "spiderid": "link", "action": "info"}
    await kafka.feed(*(crawl(n) for n in range(50)), action)
    for times in (1, 2):

        async def all_served(number: int = times * 51) -> bool:
            return redis.get("stats:kafka-monitor:total:lifetime") == b"%d" % number

        async with kafka.running(STATS_CYCLE=0.05):
            await until(all_served, timeout=30)

    statuses = await kafka.statuses()
    assert len(statuses) == 50
    assert all(status.accepted == 1 for status in statuses.values())
    assert len(await kafka.letters(1)) == 1


async def test_offsets_are_committed_when_redis_has_held_their_messages_for_a_while(
    kafka: Monitored,
) -> None:
    await kafka.feed(*(crawl(n) for n in range(10)))
    began = time.monotonic()
    async with kafka.running():
        await kafka.has_crawls(10)
        assert kafka.committed() is None

        async def all_committed() -> bool:
            return kafka.committed() == 10

        await until(all_committed, timeout=30, every=0.1)

    assert time.monotonic() - began > DURABLE


async def test_redis_may_be_away_and_nothing_is_lost(
    kafka_hosts: str, topic_prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"unix://{tmp_path / 'redis.sock'}"
    async with monitored(url, kafka_hosts, topic_prefix) as kafka:
        with redis_server(tmp_path):
            async with kafka.running():
                await kafka.feed(crawl(1))
                await kafka.has_crawls(1)
                with Redis.from_url(url) as client:
                    client.shutdown(nosave=True)
                await kafka.feed(crawl(2), crawl(3))
                await until(partial(is_waiting, caplog), timeout=30)
                with redis_server(tmp_path):
                    await kafka.has_crawls(2)

                    assert set(await kafka.statuses()) == {"c2", "c3"}


async def test_a_full_redis_is_waited_for(
    kafka: Monitored, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await kafka.feed(crawl(1))
    async with kafka.running():
        await kafka.has_crawls(1)
        redis.config_set("maxmemory", 1)
        try:
            await kafka.feed(crawl(2))
            await until(partial(is_waiting, caplog), timeout=30)
        finally:
            redis.config_set("maxmemory", 0)

        await kafka.has_crawls(2)


async def is_waiting(caplog: pytest.LogCaptureFixture) -> bool:
    return any(record.getMessage() == "Waiting" for record in caplog.records)


async def test_monitors_come_and_go_and_do_nothing_twice(
    redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> None:
    redis.ping()
    changed = {"KAFKA_TOPIC_PARTITIONS": 4, "STATS_CYCLE": 0.05}
    async with monitored(redis_url, kafka_hosts, topic_prefix, **changed) as kafka:
        fed = [0]

        async def feed(messages: int) -> None:
            begin, fed[0] = fed[0], fed[0] + messages
            await kafka.feed(*map(crawl, range(begin, fed[0])))

        async def delivered_twice() -> bool:
            """Feed some more; whether a new monitor got what the old one had served."""
            await feed(50)
            total = redis.get("stats:kafka-monitor:total:lifetime")
            return int(total or 0) > fed[0]

        async with kafka.running():
            await feed(50)
            await kafka.has_crawls(50)
            async with kafka.running():
                await until(delivered_twice, timeout=60, every=0.05)
            await feed(1000)
            await kafka.has_crawls(fed[0])

        statuses = await kafka.statuses()
    assert len(statuses) == fed[0]
    assert all(status.accepted == 1 for status in statuses.values())
    assert redis.zcard("stats:kafka-monitor:nodes") == 0


async def test_of_two_monitors_with_one_name_the_older_ends(kafka: Monitored) -> None:
    await kafka.feed(crawl(1))

    async def run_two() -> None:
        async with kafka.running(KAFKA_GROUP_INSTANCE="one") as older:
            await kafka.has_crawls(1)
            async with kafka.running(KAFKA_GROUP_INSTANCE="one"):
                await asyncio.wait([older], timeout=30)
            assert older.done()

    with pytest.raises(ConfigError, match="KAFKA_GROUP_INSTANCE: another process has this"):
        await run_two()


async def test_a_monitor_serves_a_redis_cluster(
    cluster: Cluster, kafka_hosts: str, topic_prefix: str
) -> None:
    action = {"uuid": "u1", "appid": "app1", "spiderid": "link", "action": "info"}
    async with monitored(cluster.url, kafka_hosts, topic_prefix) as kafka, kafka.running():
        await kafka.feed(*(crawl(n) for n in range(50)), action)
        await kafka.has_crawls(50)

        assert len(await kafka.letters(1)) == 1


async def test_kafka_may_be_away_and_nothing_is_lost(
    redis: Redis, redis_url: str, kafka_folder: Path, topic_prefix: str
) -> None:
    redis.ping()
    with kafka_server(kafka_folder) as server:
        async with monitored(redis_url, server.hosts, topic_prefix) as kafka, kafka.running():
            await kafka.feed(crawl(1))
            await kafka.has_crawls(1)
            server.kill()
            # What is read but not committed yet meets a broker that is gone.
            await until(partial(is_older_than, time.monotonic(), DURABLE), timeout=30)
            server.start()
            await kafka.feed(crawl(2), crawl(3, maxdepth=9))
            await kafka.has_crawls(2)
            await kafka.read("rejected", 1)


async def is_older_than(moment: float, seconds: float) -> bool:
    return time.monotonic() > moment + seconds

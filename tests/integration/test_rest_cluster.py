"""Scrapy Cluster's endpoints with Redis, Kafka and both monitors behind them."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crawling import settings as fleet
from crawling.service.config import named
from crawling.service.kafka import KafkaReader, kafka_config
from crawling.service.kafka_sender import KafkaSender
from kafka_monitor import settings as kafka_defaults
from kafka_monitor.service import serve as kafka_monitor
from redis_monitor import settings as redis_defaults
from redis_monitor.service import serve as redis_monitor
from rest_service.pages import MOST_ASKING
from tests.integration.serving import serving
from tests.integration.tracking import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

    from tests.integration.serving import Served

CRAWL = {"url": "http://a.example/", "appid": "tests", "crawlid": "first"}
INFO = {"action": "info", "appid": "tests", "crawlid": "first", "spiderid": "link"}
DONE = {"data": None, "error": None, "status": "SUCCESS"}


class Fleet:
    """Topics and a Redis of one test; its parts are started by it."""

    def __init__(self, redis_url: str, hosts: str, prefix: str) -> None:
        self.own: dict[str, Any] = {
            "TRACKER": redis_url,
            "KAFKA_HOSTS": [hosts],
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_INCOMING_TOPIC": f"{prefix}.incoming",
            "KAFKA_GROUP": prefix,
            "KAFKA_TOPIC_PARTITIONS": 3,
            "STATS_DUMP": 0,
            "STATS_CYCLE": 0.2,
            "ALLOW_PRIVATE_ADDRESSES": True,
        }

    @asynccontextmanager
    async def monitors(self) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        running = [
            asyncio.create_task(monitor({**named(fleet), **named(own), **self.own}, stopping))
            for monitor, own in (
                (kafka_monitor, kafka_defaults),
                (redis_monitor, redis_defaults),
            )
        ]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*running)

    @asynccontextmanager
    async def rest(self, **changed: Any) -> AsyncIterator[Served]:
        async with serving(self.own["TRACKER"], **{**self.own, **changed}) as served:
            await until(lambda: is_green(served), timeout=60, every=0.1)
            yield served

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[KafkaSender]:
        sender = KafkaSender(kafka_config({**named(fleet), **self.own}))
        await sender.open()
        try:
            yield sender
        finally:
            await sender.close()


@pytest.fixture
def cluster_of(redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str) -> Fleet:
    return Fleet(redis_url, kafka_hosts, topic_prefix)


async def is_green(served: Served) -> bool:
    return bool((await served.client.get("/")).json()["node_health"] == "GREEN")


async def feed(served: Served, message: Any, status: int = 200) -> Any:
    return said(await served.client.post("/feed", json=message), status)


async def poll(served: Served, uuid: str, status: int = 200) -> Any:
    return said(await served.client.post("/poll", json={"poll_id": uuid}), status)


def said(answer: Any, status: int) -> Any:
    """Return the body of an answer, which must look as Scrapy Cluster's do."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert answer.text == json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return body


def failure(message: str) -> dict[str, Any]:
    return {"data": None, "error": {"message": message}, "status": "FAILURE"}


async def test_the_index_tells_how_the_servers_are(cluster_of: Fleet) -> None:
    async with cluster_of.rest() as served:
        for method in ("GET", "POST"):
            body = said(await served.client.request(method, "/"), 200)
            assert body.pop("uptime_sec") >= 0
            assert len(body.pop("my_id")) == 12
            assert body == {
                "kafka_connected": True,
                "redis_connected": True,
                "node_health": "GREEN",
            }


async def test_requests_are_fed_and_their_answers_come_back(cluster_of: Fleet) -> None:
    async with cluster_of.monitors(), cluster_of.rest() as served:
        assert await feed(served, {**CRAWL, "maxdepth": 1, "priority": 50}) == DONE

        async def queued() -> bool:
            body = await feed(served, {**INFO, "uuid": "info"})
            return bool(body["data"].get("total_pending") == 1)

        await until(queued, timeout=60, every=0.2)
        body = await feed(served, {**INFO, "uuid": "again"})
        assert (body["status"], body["error"]) == ("SUCCESS", None)
        server_time = body["data"].pop("server_time")
        assert abs(server_time - time.time()) < 60
        assert body["data"] == {
            "uuid": "again",
            "total_pending": 1,
            "total_domains": 1,
            "appid": "tests",
            "crawlid": "first",
            "spiderid": "link",
            "domains": {"a.example": {"total": 1, "high_priority": 50, "low_priority": 50}},
        }
        stopped = await feed(served, {**INFO, "uuid": "stop", "action": "stop"})
        assert stopped["data"]["total_purged"] == 1
        stats = await feed(served, {"uuid": "stats", "appid": "tests", "stats": "rest"})
        [nodes] = stats["data"]["nodes"].values()
        assert len(nodes) == 1
        index = (await served.client.get("/")).json()
        assert nodes == [index["my_id"]]


async def test_an_answer_that_comes_too_late_is_polled_for_once_anywhere(
    cluster_of: Fleet, redis: Redis
) -> None:
    patience = {"WAIT_FOR_RESPONSE_TIME": 0.5}
    async with cluster_of.rest(**patience) as one, cluster_of.rest(**patience) as other:
        begun = time.monotonic()
        body = await feed(one, {**INFO, "uuid": "late"})
        assert body == {"data": {"poll_id": "late"}, "error": None, "status": "SUCCESS"}
        assert time.monotonic() - begun >= 0.5
        missing = await poll(other, "late", 404)
        assert missing == failure("Could not find matching poll_id")

        async with cluster_of.monitors():
            await until(lambda: is_kept(redis, "late"), timeout=60, every=0.2)
        assert 3000 < int(str(redis.ttl("rest:poll:late"))) <= 3600
        assert (await poll(other, "late"))["data"]["uuid"] == "late"
        # Each instance had kept it, one perhaps a moment later.
        await until(lambda: is_gone(one, "late"), timeout=90, every=0.2)


async def is_kept(redis: Redis, uuid: str) -> bool:
    return bool(redis.exists(f"rest:poll:{uuid}"))


async def is_gone(served: Served, uuid: str) -> bool:
    answer = await served.client.post("/poll", json={"poll_id": uuid})
    return answer.status_code == 404


async def test_many_at_once_at_several_instances_get_each_their_own_answer(
    cluster_of: Fleet,
) -> None:
    long = {"WAIT_FOR_RESPONSE_TIME": 60}
    async with (
        cluster_of.monitors(),
        cluster_of.rest(**long) as one,
        cluster_of.rest(**long) as other,
    ):
        asked = [
            (served, f"{name}-{n}")
            for n in range(50)
            for name, served in (("one", one), ("other", other))
        ]

        answers = await asyncio.gather(
            *(feed(served, {**INFO, "uuid": uuid}) for served, uuid in asked)
        )

    assert [answer["data"].get("uuid") for answer in answers] == [uuid for _, uuid in asked]


async def test_nonsense_among_the_answers_stops_nothing(cluster_of: Fleet) -> None:
    nonsense = [b"5", b"[]", b"null", b'{"uuid": 5}', b"{", b"\xff", b"[" * 100_000]
    async with (
        cluster_of.monitors(),
        cluster_of.rest(WAIT_FOR_RESPONSE_TIME=60) as served,
        cluster_of.sender() as sender,
    ):
        topic = f"{cluster_of.own['KAFKA_TOPIC_PREFIX']}.outbound_firehose"
        for value in nonsense:
            await sender.send(topic, value)

        answer = await feed(served, {**INFO, "uuid": "after"})

    assert answer["data"].get("uuid") == "after"


async def test_an_answer_that_comes_before_kafka_has_the_request_finds_who_waits(
    cluster_of: Fleet,
) -> None:
    # Kafka gets the request after this time, and others answer sooner.
    linger = 5.0
    slow = {"KAFKA_PRODUCER_BATCH_LINGER_MS": linger * 1000, "WAIT_FOR_RESPONSE_TIME": 30}
    topic = f"{cluster_of.own['KAFKA_TOPIC_PREFIX']}.outbound_firehose"
    async with cluster_of.rest(**slow) as served, cluster_of.sender() as sender:
        begun = time.monotonic()
        feeding = asyncio.create_task(feed(served, {**INFO, "uuid": "early"}))
        while not feeding.done():
            reply = {"uuid": "early", "after": time.monotonic() - begun}
            await sender.send(topic, json.dumps(reply).encode())
        answer = await feeding

    assert answer["data"]["after"] < linger - 1


async def test_who_asks_twice_with_one_uuid_is_answered_twice(cluster_of: Fleet) -> None:
    async with cluster_of.monitors(), cluster_of.rest(WAIT_FOR_RESPONSE_TIME=60) as served:
        answers = await asyncio.gather(
            *(feed(served, {**INFO, "uuid": "same"}) for _ in range(2))
        )

    assert [answer["data"].get("uuid") for answer in answers] == ["same", "same"]


async def test_what_is_polled_for_is_gone_even_if_it_is_no_json(
    cluster_of: Fleet, redis: Redis
) -> None:
    async with cluster_of.rest() as served:
        redis.set("rest:poll:good", '{"uuid": "good"}')
        redis.set("rest:poll:bad", "{nonsense")

        assert (await poll(served, "good"))["data"] == {"uuid": "good"}
        await poll(served, "good", 404)
        broken = await poll(served, "bad", 500)
        assert broken == failure("Unparseable JSON Received from redis")
        await poll(served, "bad", 404)


BAD_JSON = "The payload must be valid JSON."


@pytest.mark.parametrize("path", ["/feed", "/poll"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"null", "application/json"),
        (b"", "application/json"),
        (b"\xff", "application/json"),
        (b"{}", "text/plain"),
        (b"{}", None),
    ],
)
async def test_what_is_no_json_is_400(
    tmp_path: Path, path: str, content: bytes, kind: str | None
) -> None:
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        headers = {"Content-Type": kind} if kind else {}
        body = said(await served.client.post(path, content=content, headers=headers), 400)

        assert body["error"]["message"] == BAD_JSON
        assert (body["status"], body["data"]) == ("FAILURE", None)


async def test_any_json_type_is_taken(cluster_of: Fleet) -> None:
    async with cluster_of.rest() as served:
        for kind in ("application/json; charset=utf-8", "application/x+json"):
            sent = json.dumps(CRAWL).encode()
            answer = await served.client.post(
                "/feed", content=sent, headers={"Content-Type": kind}
            )
            assert said(answer, 200) == DONE


@pytest.mark.parametrize(
    ("message", "path", "problem"),
    [
        ({**CRAWL, "maxdepth": 5}, "maxdepth", "must be at most 3, not 5"),
        ({"appid": "tests", "url": "http://a.example"}, "crawlid", "is required"),
        ({**CRAWL, "url": "file:///x"}, "url", "can never be fetched"),
        ({**INFO, "uuid": "u", "action": "dance"}, "action", "must be one of stop, info"),
        ({**INFO, "uuid": "u", "action": "trace"}, "url", "is required for trace"),
        ({"uuid": "u", "appid": "tests", "stats": "x"}, "stats", "must be one of"),
        (5, "", "must be an object, not 5"),
        (["uuid"], "", "must be an object"),
    ],
)
async def test_what_breaks_the_schemas_is_refused_at_once_and_not_sent(
    cluster_of: Fleet, message: Any, path: str, problem: str
) -> None:
    async with cluster_of.rest() as served:
        begun = time.monotonic()
        body = await feed(served, message, 400)

        assert time.monotonic() - begun < 4
        error = body["error"]
        assert error["message"] == "JSON did not validate against schema."
        assert (error["errors"][0]["path"], problem in error["errors"][0]["message"]) == (
            path,
            True,
        )
        assert problem in error["cause"]
        async with cluster_of.sender() as sender:
            await sender.ensure_topic(cluster_of.own["KAFKA_INCOMING_TOPIC"])
        assert await incoming(cluster_of) == 0


async def incoming(cluster_of: Fleet) -> int:
    """Return how many messages were ever sent to the incoming topic."""
    settings = {**named(fleet), **cluster_of.own}
    reader = KafkaReader(kafka_config(settings), [settings["KAFKA_INCOMING_TOPIC"]], None)
    await reader.open()
    try:
        return sum((await reader.ends()).values())
    finally:
        await reader.close()


@pytest.mark.parametrize(
    "message", [{}, {"poll_id": ""}, {"poll_id": 5}, {"poll_id": "x" * 101}, 5]
)
async def test_a_poll_that_breaks_its_schema_is_400(tmp_path: Path, message: Any) -> None:
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        body = said(await served.client.post("/poll", json=message), 400)

        assert body["error"]["message"] == "JSON did not validate against schema."
        assert body["error"]["cause"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/feed", 404, "The desired endpoint does not exist"),
        ("GET", "/poll", 404, "The desired endpoint does not exist"),
        ("GET", "/nothing", 404, "The desired endpoint does not exist"),
        ("POST", "/nothing/else", 404, "The desired endpoint does not exist"),
        ("PUT", "/feed", 405, "Method Not Allowed"),
        ("DELETE", "/", 405, "Method Not Allowed"),
    ],
)
async def test_what_is_not_there_is_404_and_other_methods_405(
    tmp_path: Path, method: str, path: str, status: int, message: str
) -> None:
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        assert said(await served.client.request(method, path), status) == failure(message)


async def test_without_kafka_a_feed_fails_and_the_rest_goes_on(
    redis: Redis, redis_url: str
) -> None:
    async with serving(redis_url, KAFKA_HOSTS=["127.0.0.1:1"]) as served:
        await until(lambda: has_tracker(served), timeout=60, every=0.05)
        body = await feed(served, CRAWL, 500)
        assert body == failure("Unable to connect to Kafka")
        await served.post("/crawls", CRAWL, 201)
        await poll(served, "nothing", 404)
        index = (await served.client.get("/")).json()
        assert (index["node_health"], index["kafka_connected"]) == ("YELLOW", False)
        assert (await served.client.get("/readyz")).status_code == 503
    assert redis.exists("fleet:crawls")


async def has_tracker(served: Served) -> bool:
    return (await served.client.get("/api/v1/crawls")).status_code == 200


async def test_without_redis_it_starts_and_says_so(tmp_path: Path) -> None:
    async with serving(f"unix://{tmp_path}/nothing.sock") as served:
        body = await poll(served, "x", 500)
        assert body == failure("Unable to connect to Redis")
        assert (await served.client.get("/")).json()["node_health"] == "RED"
        problem = await served.get("/crawls", 503)
        assert problem["detail"].startswith("TRACKER: no answer yet")
        ready = await served.client.get("/readyz")
        assert (ready.status_code, ready.json()["tracker"]) == (503, "down")
        assert (await served.client.get("/healthz")).status_code == 200
        metrics = (await served.client.get("/metrics")).text
        assert "fleet_tracker_up 0.0" in metrics


async def test_the_newest_pages_of_a_crawl_come_from_kafka(cluster_of: Fleet) -> None:
    async with cluster_of.rest() as served, cluster_of.sender() as sender:
        topic = f"{cluster_of.own['KAFKA_TOPIC_PREFIX']}.crawled_firehose"
        await served.post("/crawls", CRAWL, 201)
        empty = await served.get("/crawls/link/tests/first/pages")
        assert empty == {"pages": [], "looked_at": 0, "complete": True}
        await served.get("/crawls/link/tests/unknown/pages", 404)
        for number in range(450):
            name = "first" if number % 10 == 0 else "second"
            page = {"appid": "tests", "spiderid": "link", "crawlid": name}
            page |= {"url": f"http://a.example/{number}", "body": "text"}
            sending = sender.send(topic, json.dumps(page).encode(), key=b"first")
            await sending if number == 0 else asyncio.ensure_future(sending)
        await until(lambda: has_pages(served, 440), timeout=60, every=0.2)

        found = await served.get("/crawls/link/tests/first/pages", limit=30)
        urls = [page["url"] for page in found["pages"]]
        assert urls == [f"http://a.example/{number}" for number in range(440, 140, -10)]
        assert "body" not in found["pages"][0]
        few = await served.get("/crawls/link/tests/first/pages", limit=2, body=True)
        assert [page["body"] for page in few["pages"]] == ["text", "text"]
        assert (few["complete"], few["looked_at"]) == (False, 200)
        path = "/api/v1/crawls/link/tests/first/pages"
        many = await asyncio.gather(*(served.client.get(path) for _ in range(2 * MOST_ASKING)))
        assert [answer.status_code for answer in many].count(503) == MOST_ASKING
        refused = next(answer for answer in many if answer.status_code == 503)
        assert refused.headers["Retry-After"]
        await served.get("/crawls/link/tests/first/pages", limit=1)


async def has_pages(served: Served, newest: int) -> bool:
    found = await served.get("/crawls/link/tests/first/pages", limit=1)
    urls = [page["url"] for page in found["pages"]]
    return urls == [f"http://a.example/{newest}"] and found["looked_at"] >= 200

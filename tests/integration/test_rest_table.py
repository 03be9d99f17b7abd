"""Scrapy Cluster's table of requests and answers, row by row: what its clients rely on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.integration.serving import serving
from tests.integration.test_rest_cluster import Fleet, failure, is_kept, said
from tests.integration.tracking import until

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from tests.integration.serving import Served

CRAWL = {"url": "http://a.example/", "appid": "tests", "crawlid": "first"}
INFO = {"action": "info", "appid": "tests", "crawlid": "first", "spiderid": "link"}
JSON = "application/json"
DONE = {"data": None, "error": None, "status": "SUCCESS"}
NO_KAFKA = failure("Unable to connect to Kafka")
NO_REDIS = failure("Unable to connect to Redis")
BAD_JSON = failure("The payload must be valid JSON.")
UNFIT = failure("JSON did not validate against schema.")
NOT_FOUND = failure("Could not find matching poll_id")
NO_SUCH = failure("The desired endpoint does not exist")
NOT_ALLOWED = failure("Method Not Allowed")


class Row(NamedTuple):
    """A request, and what is answered; *body*: what is sent, as JSON unless it is bytes.

    Of bad requests, the body's error has more, and *said* is its message alone; of answers
    without a body, *said* is what they allow.
    """

    row: str
    method: str
    path: str
    body: Any
    status: int
    said: Any
    kind: str | None = JSON


def index(health: str, *, kafka: bool, redis: bool) -> dict[str, Any]:
    return {"kafka_connected": kafka, "node_health": health, "redis_connected": redis}


#: With Redis and Kafka.
UP = [
    Row("GET /", "GET", "/", None, 200, index("GREEN", kafka=True, redis=True)),
    Row("POST /", "POST", "/", None, 200, index("GREEN", kafka=True, redis=True)),
    Row("feed without uuid", "POST", "/feed", CRAWL, 200, DONE),
    Row(
        "feed with uuid, no answer",
        "POST",
        "/feed",
        {**INFO, "uuid": "late"},
        200,
        {**DONE, "data": {"poll_id": "late"}},
    ),
    Row("poll, not found", "POST", "/poll", {"poll_id": "x" * 100}, 404, NOT_FOUND),
    Row("HEAD /", "HEAD", "/", None, 200, None),
    *(
        Row(f"OPTIONS {path}", "OPTIONS", path, None, 200, "GET, HEAD, OPTIONS, POST")
        for path in ("/", "/feed", "/poll")
    ),
    Row("HEAD of what only takes POST", "HEAD", "/feed", None, 404, None),
    Row("feed as any JSON type", "POST", "/feed", CRAWL, 200, DONE, "application/x+json"),
]
#: With a Kafka that is not there.
KAFKA_DOWN = [
    Row("GET /, YELLOW", "GET", "/", None, 200, index("YELLOW", kafka=False, redis=True)),
    Row("feed, Kafka down", "POST", "/feed", CRAWL, 500, NO_KAFKA),
    Row("feed with uuid, Kafka down", "POST", "/feed", {**INFO, "uuid": "u"}, 500, NO_KAFKA),
    Row("poll, Kafka down", "POST", "/poll", {"poll_id": "u"}, 404, NOT_FOUND),
]
#: With a Kafka that does not take what is sent.
SEND_FAILS = [
    Row("feed, send failed", "POST", "/feed", CRAWL, 500, NO_KAFKA),
    Row("feed with uuid, send failed", "POST", "/feed", {**INFO, "uuid": "u"}, 500, NO_KAFKA),
]
#: With neither.
ALL_DOWN = [
    Row("GET /, RED", "GET", "/", None, 200, index("RED", kafka=False, redis=False)),
    Row("poll, Redis down", "POST", "/poll", {"poll_id": "u"}, 500, NO_REDIS),
    *(
        row
        for path in ("/feed", "/poll")
        for row in (
            Row(f"{path}, bad JSON", "POST", path, b"{nonsense", 400, BAD_JSON),
            Row(f"{path}, no body", "POST", path, b"", 400, BAD_JSON),
            Row(f"{path}, null", "POST", path, b"null", 400, BAD_JSON),
            Row(f"{path}, wrong type", "POST", path, CRAWL, 400, BAD_JSON, "text/plain"),
            Row(f"{path}, a form", "POST", path, CRAWL, 400, BAD_JSON, "multipart/form-data"),
            Row(f"{path}, no type", "POST", path, CRAWL, 400, BAD_JSON, None),
            # There 500: a bad request is answered by the schemas.
            Row(f"{path}, a number", "POST", path, 5, 400, UNFIT),
            Row(f"{path}, a list", "POST", path, ["uuid"], 400, UNFIT),
            Row(f"GET {path}", "GET", path, None, 404, NO_SUCH),
            Row(f"PUT {path}", "PUT", path, CRAWL, 405, NOT_ALLOWED),
            Row(f"DELETE {path}", "DELETE", path, None, 405, NOT_ALLOWED),
            Row(f"POST {path}/", "POST", f"{path}/", CRAWL, 404, NO_SUCH),
        )
    ),
    Row("poll, no poll_id", "POST", "/poll", {}, 400, UNFIT),
    Row("poll, empty poll_id", "POST", "/poll", {"poll_id": ""}, 400, UNFIT),
    Row("poll, long poll_id", "POST", "/poll", {"poll_id": "x" * 101}, 400, UNFIT),
    Row("poll, poll_id of another type", "POST", "/poll", {"poll_id": 5}, 400, UNFIT),
    Row("GET anything", "GET", "/anything", None, 404, NO_SUCH),
    Row("GET anything below", "GET", "/feed/else", None, 404, NO_SUCH),
    Row("POST anything", "POST", "/anything", CRAWL, 404, NO_SUCH),
    *(
        Row(f"{method} {path}", method, path, None, 405, NOT_ALLOWED)
        for method in ("PUT", "DELETE", "PATCH")
        for path in ("/", "/anything")
    ),
    # There 200, as its own paths.
    Row("OPTIONS of anything", "OPTIONS", "/anything", None, 405, NOT_ALLOWED),
    # There 400: it read a body that nobody had sent.
    Row("GET / with a type", "GET", "/", b"", 200, index("RED", kafka=False, redis=False)),
]


async def answered(served: Served, row: Row) -> tuple[str, int, Any]:
    """Ask as the row says; return its name with what is answered, in the form that all have."""
    headers = {"Content-Type": row.kind} if row.kind and row.body is not None else {}
    sent = row.body if isinstance(row.body, bytes) else json.dumps(row.body).encode()
    content = None if row.body is None else sent
    answer = await served.client.request(row.method, row.path, content=content, headers=headers)
    if not answer.content:
        return row.row, answer.status_code, answer.headers.get("Allow")
    body = said(answer, answer.status_code)
    if row.path == "/" and row.status == 200:
        assert len(body.pop("my_id")) in {8, 12}
        assert isinstance(body.pop("uptime_sec"), int)
    if row.status == 400:
        body["error"] = {"message": body["error"]["message"]}
    return row.row, answer.status_code, body


async def hold(served: Served, rows: list[Row]) -> None:
    found = [await answered(served, row) for row in rows]
    assert found == [(row.row, row.status, row.said) for row in rows]


@pytest.fixture
def cluster_of(redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str) -> Fleet:
    return Fleet(redis_url, kafka_hosts, topic_prefix)


async def test_rows_with_redis_and_kafka(cluster_of: Fleet) -> None:
    async with cluster_of.rest(WAIT_FOR_RESPONSE_TIME=0.2) as served:
        await hold(served, UP)


async def test_rows_without_kafka(redis: Redis, redis_url: str) -> None:
    async with serving(redis_url, KAFKA_HOSTS=["127.0.0.1:1"]) as served:
        await until(lambda: has_redis(served), timeout=60, every=0.05)
        await hold(served, KAFKA_DOWN)


async def has_redis(served: Served) -> bool:
    return bool((await served.client.get("/")).json()["redis_connected"])


async def test_rows_with_a_kafka_that_takes_nothing(cluster_of: Fleet) -> None:
    """Its topic refuses what was made more than a millisecond ago."""
    topic = NewTopic(
        cluster_of.own["KAFKA_INCOMING_TOPIC"],
        num_partitions=1,
        replication_factor=1,
        config={"message.timestamp.before.max.ms": "1"},
    )
    admin = AdminClient({"bootstrap.servers": cluster_of.own["KAFKA_HOSTS"][0]})
    for made in admin.create_topics([topic]).values():
        await asyncio.to_thread(made.result, 60)
    async with cluster_of.rest(KAFKA_PRODUCER_BATCH_LINGER_MS=200) as served:
        await hold(served, SEND_FAILS)


async def test_rows_without_redis_and_kafka(tmp_path: Path) -> None:
    async with serving(f"unix://{tmp_path}/nothing.sock") as served:
        await hold(served, ALL_DOWN)


async def test_with_an_answer_in_time_and_one_that_is_late(
    cluster_of: Fleet, redis: Redis
) -> None:
    late = {**INFO, "uuid": "late"}
    async with cluster_of.rest(WAIT_FOR_RESPONSE_TIME=0.2) as served:
        body = said(await served.client.post("/feed", json=late), 200)
        assert body == {**DONE, "data": {"poll_id": "late"}}
    async with cluster_of.rest(WAIT_FOR_RESPONSE_TIME=60) as served, cluster_of.monitors():
        body = said(await served.client.post("/feed", json={**INFO, "uuid": "soon"}), 200)
        assert (body.pop("data")["uuid"], body) == (
            "soon",
            {"error": None, "status": "SUCCESS"},
        )

        await until(lambda: is_kept(redis, "late"), timeout=60, every=0.2)
        found = said(await served.client.post("/poll", json={"poll_id": "late"}), 200)
        assert (found["data"]["uuid"], found["status"]) == ("late", "SUCCESS")
        again = said(await served.client.post("/poll", json={"poll_id": "late"}), 404)
        assert again == NOT_FOUND


async def test_with_an_answer_that_is_no_json(redis: Redis, redis_url: str) -> None:
    async with serving(redis_url) as served:
        await until(lambda: has_redis(served), timeout=60, every=0.05)
        redis.set("rest:poll:bad", "{nonsense")
        broken = said(await served.client.post("/poll", json={"poll_id": "bad"}), 500)
        assert broken == failure("Unparseable JSON Received from redis")
        said(await served.client.post("/poll", json={"poll_id": "bad"}), 404)

"""A worker whose pages go to Kafka: all of them, also when the broker dies meanwhile."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.cluster import Messages
from tests.acceptance.crawls import ask, crawl_id, status_of, stop, submit, until, worker
from tests.servers.kafka_server import kafka_server
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.small_site import SmallSite

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        running.answers = {
            "/seed": Answer(
                body="<p>ü</p><a href='/a?b=2&z=1'>A  link</a>".encode(),
                headers={**HTML, "Set-Cookie": "srv=1"},
            ),
            "/a?b=2&z=1": Answer(body=b"<p>a</p>", headers=HTML),
            "/image": Answer(body=PNG, headers={"Content-Type": "image/png"}),
            "/big": Answer(body=b"x" * 200_000, headers=HTML),
        }
        yield running


def messages_of(stack: ExitStack, hosts: str, *topics: str) -> Messages:
    return Messages(stack, hosts, topics)


def finished(redis_url: str, crawlid: str) -> bool:
    return status_of(redis_url, crawlid).state == "finished"


def log_of(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("stderr-*"))


@pytest.mark.usefixtures("redis")
def test_pages_are_sent_with_scrapy_clusters_keys_and_types(
    site: SmallSite, redis_url: str, kafka_hosts: str, topic_prefix: str, tmp_path: Path
) -> None:
    where = {"KAFKA_HOSTS": kafka_hosts, "KAFKA_TOPIC_PREFIX": topic_prefix}
    submit(redis_url, "c1", site.url("/seed"))
    with ExitStack() as stack:
        running = stack.enter_context(
            worker(tmp_path, redis_url, **where, KAFKA_APPID_TOPICS="1")
        )
        pages = messages_of(stack, kafka_hosts, f"{topic_prefix}.crawled_firehose")
        received = {
            page["url"]: page for page in pages.until(lambda got: len(got) >= 2, "2 pages")
        }
        apps = messages_of(stack, kafka_hosts, f"{topic_prefix}.crawled_fleet")
        assert len(apps.until(lambda got: len(got) >= 2, "2 pages of the app")) == 2
        assert stop(running) == 0

    page = received[site.url("/seed")]
    assert {name: type(page[name]) for name in page if name in CLUSTER} == CLUSTER
    assert page["body"] == "<p>ü</p><a href='/a?b=2&z=1'>A  link</a>"
    assert (page["encoding"], page["body_encoding"]) == ("utf-8", "text")
    assert page["links"] == [{"text": "A  link", "url": site.url("/a?b=2&z=1")}]
    assert page["response_headers"]["Set-Cookie"] == ["srv=1"]
    assert page["request_headers"]["User-Agent"][0].startswith("scrapy-fleet/")
    assert (page["status_code"], page["status_msg"], page["attrs"]) == (200, "OK", None)
    assert (page["appid"], page["crawlid"]) == ("fleet", "c1")
    assert page["response_url"] == page["url"]
    assert page["timestamp"].count("T") == 1
    assert not page["timestamp"].endswith("Z")


#: Scrapy Cluster's 13 keys and the types of their values.
CLUSTER: dict[str, type[Any]] = {
    "appid": str,
    "attrs": type(None),
    "body": str,
    "crawlid": str,
    "encoding": str,
    "links": list,
    "request_headers": dict,
    "response_headers": dict,
    "response_url": str,
    "status_code": int,
    "status_msg": str,
    "timestamp": str,
    "url": str,
}


@pytest.mark.usefixtures("redis")
def test_what_is_no_text_or_too_large_is_sent_too_and_the_rest_goes_on(
    site: SmallSite, redis_url: str, kafka_hosts: str, topic_prefix: str, tmp_path: Path
) -> None:
    where = {"KAFKA_HOSTS": kafka_hosts, "KAFKA_TOPIC_PREFIX": topic_prefix}
    limits = {"KAFKA_PRODUCER_MAX_REQUEST_SIZE": "100000", "KAFKA_COMPRESSION": "gzip"}
    submit(redis_url, "c1", *map(site.url, ("/image", "/big", "/a?b=2&z=1")))
    with ExitStack() as stack:
        stack.enter_context(worker(tmp_path, redis_url, **where, **limits))
        pages = messages_of(stack, kafka_hosts, f"{topic_prefix}.crawled_firehose")
        received = {
            page["url"]: page for page in pages.until(lambda got: len(got) >= 3, "3 pages")
        }

    image, big = received[site.url("/image")], received[site.url("/big")]
    assert (b64decode(image["body"]), image["body_encoding"]) == (PNG, "base64")
    assert (big["truncated"], big["body_size"]) == (True, 200_000)


@pytest.mark.usefixtures("redis")
def test_a_page_that_may_fail_for_its_size_fails_with_the_reason(
    site: SmallSite, redis_url: str, kafka_hosts: str, topic_prefix: str, tmp_path: Path
) -> None:
    where = {"KAFKA_HOSTS": kafka_hosts, "KAFKA_TOPIC_PREFIX": topic_prefix}
    limits = {"KAFKA_PRODUCER_MAX_REQUEST_SIZE": "100000", "KAFKA_OVERSIZE": "fail"}
    submit(redis_url, "c1", site.url("/big"))
    with worker(tmp_path, redis_url, **where, **limits):
        until(lambda: finished(redis_url, "c1"), "c1 is finished")

    assert status_of(redis_url, "c1").reasons == {"too_large": 1}


@pytest.mark.usefixtures("redis")
def test_no_page_is_lost_when_the_broker_dies_and_comes_back(
    redis_url: str, kafka_folder: Path
) -> None:
    with kafka_server(kafka_folder) as broker, small_site() as site, ExitStack() as stack:
        paths = [f"/{number}" for number in range(300)]
        site.answers = {path: Answer(body=b"<p>page</p>", headers=HTML) for path in paths}
        submit(redis_url, "c1", *map(site.url, paths[:100]))
        running = stack.enter_context(
            worker(kafka_folder, redis_url, KAFKA_HOSTS=broker.hosts, LEASE_TIMEOUT="5")
        )
        until(lambda: status_of(redis_url, "c1").done >= 50, "50 pages are done")
        broker.kill()
        submit(redis_url, "c2", *map(site.url, paths[100:]))
        until(lambda: "Output is down" in log_of(kafka_folder), "pages are held")
        broker.start()
        until(lambda: finished(redis_url, "c1") and finished(redis_url, "c2"), "all is done")
        pages = messages_of(stack, broker.hosts, "demo.crawled_firehose")
        received = Counter(page["url"] for page in pages.settle_down())
        assert stop(running) == 0

    assert received.keys() == {site.url(path) for path in paths}


@pytest.mark.usefixtures("redis")
def test_nothing_is_leased_until_a_broker_answers(
    site: SmallSite, redis_url: str, kafka_folder: Path
) -> None:
    submit(redis_url, "c1", site.url("/a?b=2&z=1"))
    with worker(kafka_folder, redis_url, KAFKA_HOSTS="127.0.0.1:1") as running:
        until(
            lambda: "Output down, leasing stops" in log_of(kafka_folder),
            "the worker says that it waits",
        )

        log = log_of(kafka_folder)
        assert "KAFKA_HOSTS: no answer from the broker at 127.0.0.1:1" in log
        assert "Traceback" not in log
        assert ask(redis_url, lambda tracker: tracker.crawl(crawl_id("c1"))).queued == 1  # type: ignore[union-attr]
        assert stop(running) == 0

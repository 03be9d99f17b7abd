"""The how-to pages for operators: their commands, as they stand there, on a cluster."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from crawling.tracker.tracker import CrawlId, DomainSetting, Offer
from crawling.tracker.urls import domain_of, fingerprint
from tests.acceptance.cluster import SPIDER, Cluster, cluster
from tests.acceptance.crawls import (
    CRAWLER,
    PATIENCE,
    ask,
    background,
    fleet_command,
    stop,
    until,
)
from tests.acceptance.documented import Reader, blocks, commands
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import CrawlStatus
    from tests.acceptance.cluster import Messages

HTML = {"Content-Type": "text/html"}
NEXT = "redis://localhost:6379/1"


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        yield running


@pytest.fixture
def fleet(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> Iterator[Cluster]:
    """Return a cluster of which nothing runs yet."""
    own = {"PUBLIC_IP": "127.0.0.1", "RETRY_TIMES": "0"}
    with cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, **own) as running:
        yield running


@pytest.fixture
def reader(fleet: Cluster, tmp_path: Path, redis_url: str) -> Reader:
    return Reader(fleet, tmp_path, {"example.com": "127.0.0.1", NEXT: f"{redis_url}?db=1"})


def page(*links: str) -> Answer:
    body = "".join(f"<a href='{link}'>{link}</a>" for link in links)
    return Answer(body=body.encode(), headers=HTML)


def begin(reader: Reader, url: str, crawlid: str = "first", **options: Any) -> None:
    request = {"url": url, "appid": "demo", "crawlid": crawlid, "maxdepth": 2, **options}
    reader.cluster.feed(request)


def books(reader: Reader, crawlid: str = "first") -> CrawlStatus | None:
    crawl = CrawlId("link", "demo", crawlid)
    return ask(reader.cluster.tracker, lambda tracker: tracker.crawl(crawl))


def count(reader: Reader, column: str, crawlid: str = "first") -> int:
    return getattr(books(reader, crawlid), column, 0)


def has_ended(reader: Reader, crawlid: str = "first") -> bool:
    status = books(reader, crawlid)
    return status is not None and status.ended is not None


def answer_to(replies: Messages, command: str) -> dict[str, Any]:
    """Return the answer to the request that `fleet feed` has sent."""
    uuid = json.loads(command.removeprefix("fleet feed ").strip("'"))["uuid"]

    def answers(got: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [reply for reply in got if reply.get("uuid") == uuid]

    return answers(replies.until(answers, f"{command} is answered"))[0]


def test_a_crawl_is_watched_as_the_page_says(reader: Reader, site: SmallSite) -> None:
    site.answers = {"/": page("/a"), "/a": page()}
    reader.cluster.kafka_monitor()
    begin(reader, site.url("/"))
    until(lambda: count(reader, "queued"), "the crawl is queued")
    tail, tail_json, status = commands("howto/watch_in_the_terminal.md")
    reader.type("fleet worker")

    assert "first  finished  spider link" in reader.type(tail)
    [end] = map(json.loads, reader.type(tail_json).splitlines())
    [found] = json.loads(reader.type(status))

    assert {**found, "event": "end"}.items() >= end.items()
    assert found["done"] == 2
    assert [stop(process) for process in reader.serving] == [0]


def test_politeness_is_tuned_as_the_page_says(reader: Reader, site: SmallSite) -> None:
    busy = Answer(429, headers={"Retry-After": "3000"})
    site.answers = {"/": page("/busy", "/a", "/b", "/c"), "/busy": [Answer(429), busy]}
    site.answers |= {path: page() for path in ("/a", "/b", "/c")}
    reader.cluster.kafka_monitor()
    reader.cluster.redis_monitor()
    replies = reader.cluster.listen("outbound")
    begin(reader, site.url("/"))
    until(lambda: count(reader, "queued"), "the crawl is queued")
    domains, worker, dry, apply, *feeds, retry = commands("howto/tune_politeness.md")
    reader.save_files("howto/tune_politeness.md")

    assert reader.type(domains) == "127.0.0.1  queued 1  in flight 0\n"
    reader.type(worker)
    assert " in flight " in reader.until_said(domains, "opens at")

    would = reader.type(dry)
    assert settings(reader) == []
    assert would == "127.0.0.1  120 hits in 60 s, scaled by 0.5\nslow.org  blocked\n"
    assert reader.type(apply) == would
    assert reader.type(domains).endswith(would)

    slow = DomainSetting("slow.org", blocked=True)
    for command, changed in zip(
        feeds,
        (
            [DomainSetting("127.0.0.1", 120, 60.0), slow],
            [slow],
            [DomainSetting("127.0.0.1", blocked=True), slow],
            [slow],
        ),
        strict=True,
    ):
        reader.type(command)
        assert "error" not in answer_to(replies, command)
        assert settings(reader) == changed

    until(lambda: has_ended(reader), "the crawl is finished")
    assert reader.type(retry) == "first: 1 requests queued again\n"
    until(lambda: site.paths().count("/busy") == 2, "it is fetched again")
    until(lambda: count(reader, "failed"), "it has failed again")
    begin(reader, site.url("/a"), "second")
    said = reader.until_said(domains, "queued 1  in flight 0  opens at")
    assert float(said.split("opens at ")[1].split()[0]) > time.time() + 2000
    assert [stop(process) for process in reader.serving] == [0]


def settings(reader: Reader) -> list[DomainSetting]:
    return ask(reader.cluster.tracker, lambda tracker: tracker.domain_settings())


def test_crawls_are_paused_and_stopped_as_the_page_says(
    reader: Reader, site: SmallSite
) -> None:
    others = [f"/{number}" for number in range(40)]
    site.answers = {"/": page("/a", *others), "/a": page("/a/deep"), "/a/deep": page()}
    site.answers |= {path: page() for path in others}
    reader.cluster.settings |= {"QUEUE_HITS": "60", "QUEUE_WINDOW": "60"}
    for start in (
        reader.cluster.kafka_monitor,
        reader.cluster.redis_monitor,
        reader.cluster.worker,
    ):
        start()
    replies = reader.cluster.listen("outbound")
    begin(reader, site.url("/"), priority=100)
    begin(reader, site.url("/", "127.0.0.2"), "second")
    status, pause, resume, prioritize, end, *feeds = commands("howto/stop_a_crawl.md")

    until(lambda: count(reader, "done") >= 2, "the seed and /a are done")
    assert "first  running" in reader.type(status)
    assert reader.type(pause) == "first: paused\n"
    until(lambda: not count(reader, "leased"), "nothing is in flight")
    assert "first  paused" in reader.type(status)
    assert reader.type(resume) == "first: goes on\n"
    assert reader.type(prioritize) == "first: counts -50\n"
    said = reader.type(end)
    until(lambda: has_ended(reader), "what was in flight is done")
    stopped = books(reader)
    assert stopped is not None
    assert stopped.state == "stopped"
    assert stopped.dropped >= 30
    assert said.startswith("first: stopped, ")
    [event] = [
        reply
        for reply in replies.until(
            lambda got: [r for r in got if r["action"] == "finished"], "the end is told"
        )
        if reply["action"] == "finished"
    ]
    assert (event["crawlid"], event["state"]) == ("first", "stopped")
    _begins_anew(reader, site)

    acted = []
    for command in feeds:
        reader.type(command)
        acted.append(answer_to(replies, command))
    assert [reply.get("changed") for reply in acted] == [True, True, True, None]
    assert acted[3]["total_purged"] >= 10
    begin(reader, site.url("/", "127.0.0.3"), "third", expires=int(time.time()) + 4)
    until(lambda: count(reader, "queued", "third"), "the third crawl has a backlog")
    reader.type("fleet pause --crawlid third")
    until(lambda: has_ended(reader, "third"), "a paused crawl ends at its time")


def _begins_anew(reader: Reader, site: SmallSite) -> None:
    """Submit the stopped crawl again, and see what is fetched and what stays dropped."""
    before = len(site.asked)
    begin(reader, site.url("/"), priority=100)
    until(lambda: count(reader, "queued") >= 30, "what was dropped is queued again")
    url = site.url("/a/deep")
    trace = ask(
        reader.cluster.tracker,
        lambda tracker: tracker.trace(CrawlId("link", "demo", "first"), fingerprint(url)),
    )
    assert (trace.state, trace.reason) == ("dropped", "stopped")
    again = [each.path for each in site.asked[before:] if each.host == "127.0.0.1"]
    assert "/" in again
    assert "/a" not in again


def test_an_upgrade_goes_as_the_page_says(reader: Reader, site: SmallSite) -> None:
    paths = [f"/{number}" for number in range(60)]
    site.answers = {"/": page(*paths), **{path: page() for path in paths}}
    fleet = reader.cluster
    fleet.settings |= {"QUEUE_HITS": "300", "QUEUE_WINDOW": "60"}
    parts = (fleet.worker, fleet.worker, fleet.redis_monitor, fleet.kafka_monitor)
    running = [start() for start in parts]
    begin(reader, site.url("/"))
    until(lambda: count(reader, "done") >= 2, "the crawl runs")

    for number, start in enumerate(parts):
        assert stop(running[number]) == 0
        running[number] = start()
    until(lambda: has_ended(reader), "the crawl is finished")
    pages = fleet.listen("crawled").settle_down()

    assert {each["url"] for each in pages} == {site.url(path) for path in ("/", *paths)}
    assert count(reader, "done") == 61
    workers, doctor, retry = commands("howto/upgrade.md")
    assert reader.until_said(workers, "  link  ").count("  link  ") >= 2
    assert "The cluster works from end to end." in reader.type(doctor)
    _is_refused_by_a_worker(reader, site.url("/newer"))
    assert reader.type(retry) == "first: 1 requests queued again\n"


def _is_refused_by_a_worker(reader: Reader, url: str) -> None:
    """Queue a request as another version would, and wait until it has failed."""
    another = b"\x81\xa1v\x63"
    offer = Offer(url, domain_of(url), fingerprint(url), 50, 0, another)
    crawl = CrawlId("link", "demo", "first")
    ask(reader.cluster.tracker, lambda tracker: tracker.submit(crawl, [offer]))
    until(lambda: count(reader, "failed"), "it has failed")
    status = books(reader)
    assert status is not None
    assert status.reasons == {"spider_error": 1}


def test_another_versions_data_are_left_to_it_as_the_page_says(
    reader: Reader, site: SmallSite, redis: Redis
) -> None:
    paths = [f"/{number}" for number in range(30)]
    site.answers = {"/": page(*paths), **{path: page() for path in paths}}
    old = reader.cluster
    old.settings |= {"QUEUE_HITS": "120", "QUEUE_WINDOW": "60"}
    old_kafka_monitor, *others = [
        start() for start in (old.kafka_monitor, old.redis_monitor, old.worker)
    ]
    begin(reader, site.url("/"))
    until(lambda: count(reader, "queued"), "the crawl runs")
    until(lambda: committed(old) == 1, "the monitor needs not read it again")

    assert stop(old_kafka_monitor) == 0
    *serving, apply = commands("howto/upgrade.md", "console cluster next")
    for command in serving:
        reader.type(command)
    reader.save_files("howto/tune_politeness.md")
    assert "slow.org  blocked" in reader.type(apply)
    begin(reader, site.url("/", "127.0.0.2"), "second")
    until(lambda: has_ended(reader), "the old version finishes its crawl")
    there = f"fleet status --tracker {NEXT}"
    assert "first" not in reader.until_said(there, "second  finished")
    ends = old.listen("outbound").until(
        lambda got: len([r for r in got if r["action"] == "finished"]) >= 2, "both are told"
    )
    assert {end["crawlid"]: end["done"] for end in ends} == {"first": 31, "second": 31}
    assert [stop(process) for process in (*others, *reader.serving)] == [0] * 5

    redis.hset("fleet:meta", "schema", "99")
    before = redis.dump("fleet:meta")
    [said] = [block.strip() for block in blocks("howto/upgrade.md", "")]
    for command in ("fleet status", "fleet doctor"):
        assert reader.type(command, code=2) == f"{said}\n"
    for name in ("kafka-monitor", "redis-monitor"):
        refused = subprocess.run(
            fleet_command(name), env=old.environment(), capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].endswith(said.removeprefix("fleet: "))
    with background(SPIDER, CRAWLER, old.environment(), old.folder) as worker:
        assert worker.wait(PATIENCE) != 0
    assert redis.dump("fleet:meta") == before


def committed(fleet: Cluster) -> int:
    """Return how many messages the Kafka monitors need not read again."""
    consumer = KafkaConsumer(
        bootstrap_servers=fleet.hosts,
        group_id=f"{fleet.prefix}-group",
        enable_auto_commit=False,
    )
    try:
        parts = consumer.partitions_for_topic(fleet.incoming) or ()
        places = [TopicPartition(fleet.incoming, part) for part in parts]
        return sum(consumer.committed(place) or 0 for place in places)
    finally:
        consumer.close()

"""What clients ask the Redis monitors for, through Kafka and back, as processes."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.tracker import CrawlId, Offer
from tests.acceptance.cluster import Cluster, cluster
from tests.acceptance.crawls import ask, until
from tests.integration.tracking import offers
from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

CRAWL = CrawlId("link", "app1", "c1")
ABOUT = {"appid": "app1", "spiderid": "link"}


@pytest.fixture
def fleet(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> Iterator[Cluster]:
    settings = {"CLAIM_AFTER": "2", "STATS_CYCLE": "0.5"}
    with cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, **settings) as running:
        running.make_topics(partitions=2)
        yield running


def by_uuid(replies: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {reply["uuid"]: reply for reply in replies if reply.get("uuid")}


def submit(tracker: str, *some: Offer, crawl: CrawlId = CRAWL) -> None:
    ask(tracker, lambda opened: opened.submit(crawl, some, entry="known"))


def test_each_request_is_answered_in_its_shape(fleet: Cluster) -> None:
    fleet.settings["KAFKA_APPID_TOPICS"] = "1"
    for start in (fleet.kafka_monitor, fleet.redis_monitor, fleet.redis_monitor):
        start()
    submit(fleet.tracker, *offers(2, priority=50), *offers(3, "b.org", priority=40))
    replies = fleet.listen("outbound")
    crawl = {**ABOUT, "crawlid": "c1"}
    asked: list[dict[str, Any]] = [
        {"action": "info", "uuid": "info-crawl", **crawl},
        {"action": "info", "uuid": "info-app", **ABOUT},
        {"action": "info", "uuid": "info-none", **ABOUT, "crawlid": "none"},
        {"action": "pause", "uuid": "pause", **crawl},
        {"action": "prioritize", "uuid": "raise", **crawl, "priority": 5},
        {"action": "trace", "uuid": "trace", **crawl, "url": "http://b.org/0"},
        {"action": "retry", "uuid": "retry", **crawl, "reason": "timeout"},
        *({"stats": kind, "uuid": f"stats-{kind}", "appid": "app1"} for kind in STATS),
        {"action": "domain-update", "uuid": "d1", "appid": "app1", "domain": "X.com",
         "hits": 60, "window": 60, "scale": 0.5},
        {"action": "blacklist-update", "uuid": "d2", "appid": "app1", "domain": "bad.com"},
        {"action": "domain-remove", "uuid": "d3", "appid": "app1", "domain": "none.com"},
        {"action": "blacklist-remove", "uuid": "d4", "appid": "app1", "domain": "none.com"},
    ]  # fmt: skip

    fleet.feed(*asked)
    fleet_answers = replies.until(
        lambda got: len(by_uuid(got)) >= len(asked), "all is answered"
    )
    # Without a key the order of requests is nobody's promise: these come one by one.
    for action in ("resume", "stop"):
        fleet.feed({"action": action, "uuid": action, **crawl})
        replies.until(lambda got, last=action: last in by_uuid(got), "it is answered")  # type: ignore[misc]

    answers = by_uuid(fleet_answers)
    assert answers["info-crawl"]["domains"].keys() == {"a.example", "b.org"}
    assert answers["info-crawl"]["total_pending"] == 5
    assert answers["info-app"]["crawlids"]["c1"]["distinct_domains"] == 2
    assert answers["info-none"]["domains"] == {}
    assert answers["pause"]["changed"]
    assert by_uuid(replies.received)["resume"]["changed"]
    assert answers["raise"]["changed"]
    assert answers["trace"]["state"] == "queued"
    assert answers["retry"]["total_retried"] == 0
    for kind, keys in STATS.items():
        beside = {"stats", "appid", "uuid", "server_time"}
        assert keys <= answers[f"stats-{kind}"].keys() <= keys | beside | MAY_BE, kind
    queue = answers["stats-queue"]["queues"]
    assert queue["total_backlog"] == queue["queue_link"]["spider_backlog"] == 5
    assert all("error" not in answers[name] for name in ("d1", "d2", "d3", "d4"))
    assert answers["d1"]["domain"] == "X.com"
    stopped = by_uuid(replies.received)["stop"]
    assert (stopped["action"], stopped["total_purged"]) == ("stop", 5)
    settings = ask(fleet.tracker, lambda tracker: tracker.domain_settings())
    assert [tuple(each) for each in settings] == [
        ("bad.com", 0, 0.0, 1.0, True),
        ("x.com", 60, 60.0, 0.5, False),
    ]
    assert fleet.stop_all() == [0, 0, 0]


#: Kind of statistics -> the keys that its answer has in any case.
STATS = {
    "kafka-monitor": {"nodes"},
    "redis-monitor": {"nodes"},
    "crawler": {"spiders", "machines", "queue"},
    "spider": {"spiders"},
    "machine": {"machines"},
    "queue": {"queues"},
    "rest": set(),
    "all": {"kafka-monitor", "redis-monitor", "crawler", "rest"},
}
MAY_BE = {"total", "fail", "plugins"}


def test_equal_requests_are_answered_one_by_one(fleet: Cluster) -> None:
    fleet.kafka_monitor()
    fleet.redis_monitor()
    replies = fleet.listen("outbound")

    fleet.feed(*({"action": "info", "uuid": f"u{n}", **ABOUT} for n in range(100)))

    answers = replies.until(lambda got: len(got) >= 100, "all are answered")
    assert {answer["uuid"] for answer in answers} == {f"u{n}" for n in range(100)}


@pytest.mark.alone
def test_info_and_stop_are_quick_with_a_million_queued(fleet: Cluster, redis: Redis) -> None:
    for host in range(40):
        some = offers(25_000, f"{host}.example", priority=50)
        submit(fleet.tracker, *some)
    fleet.redis_monitor()
    replies = fleet.listen("outbound")
    replies.settle_down(2.0)
    taken = {}

    for uuid in ("info1", "info2", "info3", "stop"):
        action = uuid.rstrip("0123456789")
        body = {
            "kind": "action",
            "action": action,
            "uuid": uuid,
            **ABOUT,
            "crawlid": "c1",
            "ts": 1.0,
        }
        began = time.monotonic()
        redis.xadd("fleet:control", {"body": json.dumps(body)})
        replies.until(lambda got, uuid=uuid: uuid in by_uuid(got), f"{uuid} is answered")  # type: ignore[misc]
        taken[uuid] = time.monotonic() - began
        print(f"{uuid}: {taken[uuid] * 1000:.0f} ms")  # noqa: T201 with -s, for the docs

    answers = by_uuid(replies.received)
    assert answers["info1"]["total_pending"] == 1_000_000
    assert answers["stop"]["total_purged"] == 1_000_000
    # From the letter in Redis to the answer in the client's hands; to walk over
    # a million would take seconds. The quickest, since the machine is shared.
    assert min(taken.values()) < 0.1, taken
    assert max(taken.values()) < 1.0, taken
    assert ask(fleet.tracker, lambda tracker: tracker.lease("w", 10, "link")).leases == []


def test_what_a_killed_monitor_left_is_answered_by_another(fleet: Cluster) -> None:
    fleet.kafka_monitor()
    replies, count = fleet.listen("outbound"), 2000
    victims = [fleet.redis_monitor() for _ in range(3)]
    fleet.feed(*({"action": "info", "uuid": f"u{n}", **ABOUT} for n in range(count)))
    for number, victim in enumerate(victims):
        enough = (number + 1) * count // 10
        replies.until(lambda got, enough=enough: len(got) >= enough, "some are answered")  # type: ignore[misc]
        victim.kill()
        fleet.redis_monitor()

    replies.until(lambda got: len(by_uuid(got)) >= count, "all are answered")

    assert by_uuid(replies.received).keys() == {f"u{n}" for n in range(count)}


@pytest.mark.alone
def test_a_new_limit_is_seen_by_the_server_within_a_second(
    fleet: Cluster, tmp_path: Path
) -> None:
    fleet.settings |= {"QUEUE_HITS": "600", "QUEUE_WINDOW": "60", "QUEUE_CONCURRENCY": "64"}
    with website(tmp_path, "--site", "flat", "--hosts", "1") as web:
        for start in (fleet.kafka_monitor, fleet.redis_monitor, fleet.worker, fleet.worker):
            start()
        replies = fleet.listen("outbound")
        seeds = [f"http://127.2.0.1:{web.port}/page/{number}" for number in range(400)]
        some = [
            each._replace(url=url)
            for each, url in zip(offers(400, "127.2.0.1"), seeds, strict=True)
        ]
        submit(fleet.tracker, *some)
        until(lambda: len(web.accesses()) > 20, "pages are fetched")

        change = {"action": "domain-update", "uuid": "slow", "appid": "app1"}
        fleet.feed({**change, "domain": "127.2.0.1", "hits": 60, "window": 60})
        replies.until(lambda got: "slow" in by_uuid(got), "the change is answered")
        changed = time.monotonic()
        until(lambda: time.monotonic() > changed + 6, "six seconds at the new rate")

        after = [access.time for access in web.accesses() if access.time > changed + 1]
    assert 4 <= len(after) <= 6
    gaps = [late - early for early, late in pairwise(after)]
    assert min(gaps) > 0.99

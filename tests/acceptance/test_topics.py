"""The reference of Kafka's topics, against the topics that a cluster makes and fills."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from kafka import KafkaConsumer

from tests.acceptance.cluster import cluster
from tests.acceptance.crawls import ROOT, until
from tests.acceptance.documented import Reader, commands
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from pathlib import Path

    from kafka.consumer.fetcher import ConsumerRecord
    from redis import Redis

PAGE = "reference/topics.md"


def documented(prefix: str, appid: str) -> set[str]:
    """Return the names in the table of topics, as a test with this *prefix* has them."""
    text = (ROOT / "docs" / PAGE).read_text("utf-8")
    table = text[: text.index("\n## ")]
    names = re.findall(r"^\| .*?`([a-z<.][^`]+)` \|", table, re.MULTILINE)
    filled_in = (name.replace("<prefix>", "demo").replace("<appid>", appid) for name in names)
    return {name.replace("demo", prefix, 1) for name in filled_in}


def test_a_cluster_has_the_topics_of_the_page_with_their_keys(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> None:
    own = {"KAFKA_APPID_TOPICS": "1", "RETRY_TIMES": "0", "KAFKA_TOPIC_PARTITIONS": "3"}
    with (
        cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, **own) as fleet,
        small_site() as site,
    ):
        reader = Reader(fleet, tmp_path, {})
        site.answers = {"/": Answer(), "/bad": Answer(500)}
        for start in (fleet.kafka_monitor, fleet.redis_monitor, fleet.worker):
            start()
        for path in ("/", "/bad"):
            request = {"url": site.url(path), "appid": "app1", "crawlid": "c1"}
            reader.type(f"fleet feed '{json.dumps(request)}'")
        refused = {"url": site.url("/"), "appid": "app1", "crawlid": "c2", "maxdepth": 99}
        reader.type(f"fleet feed '{json.dumps(refused)}'")
        asked = {"action": "info", "uuid": "u1", "appid": "app1", "spiderid": "link"}
        reader.type(f"fleet feed '{json.dumps(asked)}'")
        listing, rejected = commands(PAGE)

        names = documented(topic_prefix, "app1")
        records = received(kafka_hosts, names)
        listed = {line[2:] for line in reader.type(listing).splitlines()}

        assert {name for name in listed if name.startswith(topic_prefix)} == names
        assert json.loads(reader.type(rejected)) == refused

    keys = {
        topic.removeprefix(f"{topic_prefix}."): {record.key for record in some}
        for topic, some in records.items()
    }
    assert keys == {
        "incoming": {b"c1", b"c2", None},
        "crawled_firehose": {b"c1"},
        "crawled_app1": {b"c1"},
        "outbound_firehose": {b"c1", b"c2", None},
        "outbound_app1": {b"c1", b"c2", None},
        "failed_firehose": {b"c1"},
        "rejected": {b"c2"},
    }
    [record] = records[f"{topic_prefix}.rejected"]
    headers = {name: value.decode() for name, value in record.headers}
    assert headers.keys() == {"reason", "path", "topic", "partition", "offset"}
    assert (headers["path"], headers["topic"]) == ("maxdepth", f"{topic_prefix}.incoming")


def received(hosts: str, names: set[str]) -> dict[str, list[ConsumerRecord]]:
    """Receive until every topic has a message, and each key that it is to have has come."""
    records: dict[str, list[ConsumerRecord]] = {name: [] for name in names}
    consumer = KafkaConsumer(
        bootstrap_servers=hosts, auto_offset_reset="earliest", metadata_max_age_ms=500
    )
    consumer.subscribe(list(names))

    def is_all_there() -> bool:
        for batch in consumer.poll(timeout_ms=200).values():
            for record in batch:
                records[record.topic].append(record)
        outbound = [some for name, some in records.items() if ".outbound_" in name]
        # The end of the crawl, a rejection, an answer about no crawl.
        told = {b"c1", b"c2", None}
        return all(records.values()) and all(
            {record.key for record in some} == told for some in outbound
        )

    try:
        until(is_all_there, "every topic has its messages")
    finally:
        consumer.close()
    return records

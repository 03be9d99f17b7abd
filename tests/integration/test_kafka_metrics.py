"""What a Kafka monitor tells Prometheus, held against what lies in Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from prometheus_client import CollectorRegistry

from crawling.service.kafka import KafkaReader, kafka_config
from kafka_monitor.metrics import KafkaMetrics
from tests.integration.tracking import until
from tests.scraping import free_port, labels_of, scraped, value

if TYPE_CHECKING:
    import pytest

    from tests.integration.monitoring import Monitored

INTAKE = "fleet_kafka_intake_seconds"


def crawl(number: int, **fields: Any) -> dict[str, Any]:
    return {"url": f"http://{number}.com/", "appid": "app", "crawlid": f"c{number}", **fields}


async def test_the_lag_is_what_was_not_read_yet(
    kafka: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_monitor.metrics.CYCLE", 0.1)
    await kafka.feed(*map(crawl, range(7)))
    topic = kafka.settings["KAFKA_INCOMING_TOPIC"]
    reader = KafkaReader(kafka_config(kafka.settings), [topic], None)
    await reader.open()
    registry = CollectorRegistry()
    watching = asyncio.create_task(KafkaMetrics(registry).watch(reader))

    async def tells(lag: int) -> None:
        async def does() -> bool:
            return registry.get_sample_value("fleet_kafka_lag_messages") == lag

        await until(does, timeout=30)

    try:
        await tells(7)
        found = 0
        while found < 3:
            found += len(await reader.poll(3 - found, 1.0))
        await tells(4)
        await kafka.feed(crawl(8))
        await tells(5)
        while found < 8:
            found += len(await reader.poll(8 - found, 1.0))
        await tells(0)
    finally:
        watching.cancel()
        await reader.close()


def feed_at(kafka: Monitored, message: dict[str, Any], timestamp: float) -> None:
    """Send a message as its client had sent it at *timestamp*."""
    settings = kafka.settings
    with closing(KafkaProducer(bootstrap_servers=settings["KAFKA_HOSTS"])) as producer:
        producer.send(
            settings["KAFKA_INCOMING_TOPIC"],
            json.dumps(message).encode(),
            timestamp_ms=int(timestamp * 1000),
        ).get(30)


async def test_the_way_to_the_tracker_is_measured_from_the_message_s_own_time(
    kafka: Monitored,
) -> None:
    await kafka.feed(crawl(0))
    sent, port = time.time(), free_port()
    for number, age in ((1, 100.0), (2, 2000.0)):
        await asyncio.to_thread(feed_at, kafka, crawl(number), sent - age)

    async with kafka.running(METRICS_PORT=port):

        async def all_are_told() -> bool:
            return value(await asyncio.to_thread(scraped, port), f"{INTAKE}_count") == 3

        await until(all_are_told, timeout=30, every=0.1)
        samples = await asyncio.to_thread(scraped, port)
        taken = time.time() - sent

    assert 2100 <= value(samples, f"{INTAKE}_sum") <= 2100 + 4 * taken
    buckets = {
        le: value(samples, f"{INTAKE}_bucket", le=le) for le in ("60.0", "300.0", "+Inf")
    }
    assert buckets == {"60.0": 1, "300.0": 2, "+Inf": 3}


async def test_labels_of_a_monitor_are_of_closed_lists(kafka: Monitored) -> None:
    port = free_port()
    strange = [b"\xff", b"{", {"url": "x"}, {"appid": "app9"}, None]
    await kafka.feed(*map(crawl, range(20)), *strange, crawl(30, maxdepth=99), crawl(31, no=1))

    async with kafka.running(METRICS_PORT=port):

        async def all_are_told() -> bool:
            return value(await asyncio.to_thread(scraped, port), f"{INTAKE}_count") == 27

        await until(all_are_told, timeout=30, every=0.1)
        samples = await asyncio.to_thread(scraped, port)

    assert labels_of(samples) == {"monitor": {"kafka-monitor"}, "result": {"served", "failed"}}
    count = "fleet_monitor_requests_total"
    assert value(samples, count, monitor="kafka-monitor", result="served") == 20
    assert value(samples, count, monitor="kafka-monitor", result="failed") == 7

"""A whole cluster as processes: Kafka monitors, Redis monitors and workers."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from tests.acceptance.crawls import (
    CRAWLER,
    PATIENCE,
    background,
    environment,
    fleet_command,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from subprocess import Popen

SPIDER = [sys.executable, "-m", "scrapy", "runspider", "crawling/spiders/link_spider.py"]
#: What the tests of a cluster change: pages of loopback, as fast as they come.
SETTINGS = {"ALLOW_PRIVATE_ADDRESSES": "1", "QUEUE_HITS": "0", "LEASE_TIMEOUT": "10"}


@dataclass
class Cluster:
    """The topics of one test and the processes that serve them."""

    hosts: str
    prefix: str
    tracker: str
    folder: Path
    stack: ExitStack
    settings: dict[str, str] = field(default_factory=dict)
    processes: list[Popen[str]] = field(default_factory=list)

    @property
    def incoming(self) -> str:
        return f"{self.prefix}.incoming"

    def environment(self, **settings: str) -> dict[str, str]:
        servers = {
            "TRACKER": self.tracker,
            "KAFKA_HOSTS": self.hosts,
            "KAFKA_TOPIC_PREFIX": self.prefix,
            "KAFKA_INCOMING_TOPIC": self.incoming,
            "KAFKA_GROUP": f"{self.prefix}-group",
        }
        return environment(**{**SETTINGS, **servers, **self.settings, **settings})

    def make_topics(self, partitions: int) -> None:
        """Make the incoming topic with as many partitions as monitors are to share it."""
        with closing(KafkaAdminClient(bootstrap_servers=self.hosts)) as admin:
            admin.create_topics([NewTopic(self.incoming, partitions, 1)])

    def start(self, *command: str, **settings: str) -> Popen[str]:
        process = self.stack.enter_context(
            background(list(command), CRAWLER, self.environment(**settings), self.folder)
        )
        self.processes.append(process)
        return process

    def kafka_monitor(self) -> Popen[str]:
        return self.start(*fleet_command("kafka-monitor"))

    def redis_monitor(self) -> Popen[str]:
        return self.start(*fleet_command("redis-monitor"))

    def worker(self) -> Popen[str]:
        return self.start(*SPIDER)

    def stop_all(self) -> list[int]:
        return [stop(process) for process in self.processes]

    def feed(self, *requests: dict[str, Any]) -> None:
        """Submit as a client of Scrapy Cluster does: JSON, no key."""
        with closing(KafkaProducer(bootstrap_servers=self.hosts)) as producer:
            for request in requests:
                producer.send(self.incoming, json.dumps(request).encode())
            producer.flush(timeout=PATIENCE)

    def listen(self, *kinds: str) -> Messages:
        topics = [f"{self.prefix}.{kind}_firehose" for kind in kinds]
        return Messages(self.stack, self.hosts, topics)


class Messages:
    """What came on some topics, from their beginning."""

    def __init__(self, stack: ExitStack, hosts: str, topics: Sequence[str]) -> None:
        self._consumer = stack.enter_context(
            closing(
                KafkaConsumer(
                    bootstrap_servers=hosts,
                    auto_offset_reset="earliest",
                    metadata_max_age_ms=500,
                )
            )
        )
        self._consumer.subscribe(list(topics))
        self.received: list[dict[str, Any]] = []

    def until(
        self,
        enough: Callable[[list[dict[str, Any]]], Any],
        what: str,
        patience: float = PATIENCE,
    ) -> list[dict[str, Any]]:
        """Receive until *enough* of all that was received is true; return all of it."""
        deadline = time.monotonic() + patience
        while not enough(self.received):
            assert time.monotonic() < deadline, f"{what}: not within {patience:g} s"
            self._receive(timeout_ms=200)
        return self.received

    def settle_down(self, quiet: float = 1.0) -> list[dict[str, Any]]:
        """Receive until nothing came for *quiet* seconds: there is no more, nor a repeat."""
        since = time.monotonic()
        while time.monotonic() < since + quiet:
            if self._receive(timeout_ms=200):
                since = time.monotonic()
        return self.received

    def _receive(self, timeout_ms: int) -> int:
        batches = self._consumer.poll(timeout_ms=timeout_ms, max_records=5000)
        new = [json.loads(record.value) for batch in batches.values() for record in batch]
        self.received += new
        return len(new)


@contextmanager
def cluster(
    hosts: str, prefix: str, tracker: str, folder: Path, **settings: str
) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(hosts, prefix, tracker, folder, stack, dict(settings))


def counts(messages: list[dict[str, Any]], *fields: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(message[name] for name in fields) for message in messages)

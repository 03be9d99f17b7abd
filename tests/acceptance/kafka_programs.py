"""The Kafka monitor, feed and kafkadump as processes, with topics of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition

from tests.acceptance.crawls import PATIENCE, ROOT, environment, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from redis import Redis

PARTITIONS = 4


class KafkaPrograms:
    """Programs of one test: they share a Redis, and topics of their own."""

    def __init__(self, folder: Path, redis_url: str, hosts: str, prefix: str) -> None:
        self.folder = folder
        self.hosts = hosts
        self.prefix = prefix
        self.env = environment(
            TRACKER=redis_url,
            KAFKA_HOSTS=hosts,
            KAFKA_TOPIC_PREFIX=prefix,
            KAFKA_INCOMING_TOPIC=f"{prefix}.incoming",
            KAFKA_GROUP=prefix,
            KAFKA_GROUP_INSTANCE="one",
            KAFKA_TOPIC_PARTITIONS=str(PARTITIONS),
        )

    def script(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT / "kafka-monitor",
        stdin: Any = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start a program of the folder kafka-monitor, or a module."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env={**self.env, **(env or {})},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def run(self, *arguments: str, given: bytes = b"", **env: str) -> tuple[int, str]:
        """Run a program to its end; return its exit code and what it printed."""
        process = self.script(*arguments, env=env)
        try:
            output, _ = process.communicate(given, timeout=PATIENCE)
        finally:
            process.kill()
            process.communicate()
        return process.returncode, output.decode("utf-8")

    @contextmanager
    def running(
        self, *arguments: str, cwd: Path = ROOT / "kafka-monitor"
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program beside the block; what is left of it is killed."""
        process = self.script(*arguments, cwd=cwd)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def monitor(self, *flags: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return self.running("kafka_monitor.py", "run", *flags)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def until_reached(self, redis: Redis, number: int) -> None:
        until(lambda: crawls(redis) >= number, f"{number} crawls\n{self.log()}")

    def until_committed(self, number: int) -> None:
        until(lambda: self.committed() >= number, f"{number} committed\n{self.log()}")

    def committed(self) -> int:
        """Return how many messages the group has committed."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.hosts, group_id=self.prefix, enable_auto_commit=False
        )
        topic = f"{self.prefix}.incoming"
        try:
            offsets = [
                consumer.committed(TopicPartition(topic, number)) or 0
                for number in range(PARTITIONS)
            ]
        finally:
            consumer.close()
        return sum(offsets)


def crawls(redis: Redis) -> int:
    number: int = redis.hlen("fleet:crawls")
    return number


def crawl(number: int) -> str:
    return json.dumps(
        {
            "url": f"http://site-{number % 500}.com/{number}",
            "appid": "testapp",
            "crawlid": f"crawl-{number}",
        }
    )

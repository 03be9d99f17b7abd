"""A Kafka monitor in this process, with the real Kafka and Redis around it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition

from crawling import settings as fleet
from crawling.service.config import named, tracker_config
from crawling.service.kafka import KafkaReader, kafka_config
from crawling.service.kafka_sender import KafkaSender
from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.redis_tracker import RedisTracker
from kafka_monitor import settings as monitor
from kafka_monitor.service import serve
from tests.integration.tracking import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crawling.service.kafka import Record
    from crawling.tracker.mailbox import Letter
    from crawling.tracker.tracker import CrawlStatus


def raw(message: Any) -> Any:
    is_raw = message is None or isinstance(message, bytes)
    return message if is_raw else json.dumps(message).encode()


@dataclass
class Monitored:
    """Topics of one test: what is fed, and what comes out of Kafka and of Redis."""

    settings: dict[str, Any]
    sender: KafkaSender
    tracker: RedisTracker

    async def feed(self, *messages: Any) -> None:
        """Send messages in order: bytes and None as they are, anything else as JSON."""
        topic = self.settings["KAFKA_INCOMING_TOPIC"]
        await self.sender.ensure_topic(topic)
        await asyncio.gather(
            *(
                self.sender.send(topic, raw(message), key=b"" if message is None else None)
                for message in messages
            )
        )

    @asynccontextmanager
    async def running(self, **changed: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Run a monitor beside the block."""
        stopping = asyncio.Event()
        task = asyncio.create_task(serve({**self.settings, **changed}, stopping))
        try:
            yield task
        finally:
            stopping.set()
            await task

    async def statuses(self) -> dict[str, CrawlStatus]:
        found = [await self.tracker.crawl(crawl) for crawl in await self.tracker.crawls()]
        return {status.crawl.crawlid: status for status in found if status is not None}

    async def has_crawls(self, number: int) -> None:
        async def enough() -> bool:
            return len(await self.tracker.crawls()) >= number

        await until(enough, timeout=30)

    def committed(self) -> int | None:
        """Return the offset that the group has committed in the first partition."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings["KAFKA_HOSTS"],
            group_id=self.settings["KAFKA_GROUP"],
            enable_auto_commit=False,
        )
        try:
            place = TopicPartition(self.settings["KAFKA_INCOMING_TOPIC"], 0)
            offset: int | None = consumer.committed(place)
        finally:
            consumer.close()
        return offset

    async def read(self, kind: str, count: int) -> list[Record]:
        """Return the first *count* messages of a topic."""
        topic = f"{self.settings['KAFKA_TOPIC_PREFIX']}.{kind}"
        await self.sender.ensure_topic(topic)
        reader = KafkaReader(kafka_config(self.settings), [topic], None)
        await reader.open()
        found: list[Record] = []

        async def enough() -> bool:
            found.extend(await reader.poll(count - len(found), 0.5))
            return len(found) >= count

        try:
            await until(enough, timeout=30)
        finally:
            await reader.close()
        return found

    async def letters(self, count: int) -> list[Letter]:
        mailbox = self.tracker.mailboxes("test")[0]
        await mailbox.open()
        found: list[Letter] = []

        async def enough() -> bool:
            found.extend(await mailbox.requests(100, 0.1))
            return len(found) >= count

        await until(enough, timeout=30)
        return found


@asynccontextmanager
async def monitored(
    redis_url: str, hosts: str, prefix: str, **changed: Any
) -> AsyncIterator[Monitored]:
    settings = {
        **named(fleet),
        **named(monitor),
        "TRACKER": redis_url,
        "KAFKA_HOSTS": [hosts],
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_INCOMING_TOPIC": f"{prefix}.incoming",
        "KAFKA_GROUP": prefix,
        "KAFKA_TOPIC_PARTITIONS": 1,
        "STATS_DUMP": 0,
        **changed,
    }
    sender = KafkaSender(kafka_config(settings))
    tracker = tracker_at(redis_url, tracker_config(settings))
    assert isinstance(tracker, RedisTracker)
    await sender.open()
    try:
        yield Monitored(settings, sender, tracker)
    finally:
        await sender.close()
        await tracker.close()

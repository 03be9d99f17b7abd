"""The newest pages of a crawl, read back from Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner.default import murmur2

from crawling.exceptions import Unavailable
from crawling.service.kafka import KafkaClient, kafka_config, topic_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawling.tracker.tracker import CrawlId

#: Messages that are read in one step backwards, and in all; seconds that this may take.
STEP, MOST, PATIENCE = 200, 5000, 8.0
#: Who may ask at once, the one that is served included.
MOST_ASKING = 4


class Found(NamedTuple):
    pages: list[dict[str, Any]]
    looked_at: int
    complete: bool


class NewestPages(KafkaClient):
    """Looks backwards through the one partition in which the pages of a crawl are."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(kafka_config(settings), "kafka-pages")
        self._topic = topic_of(self.config.prefix, "crawled")
        # One at a time: each holds up to a step of messages in memory.
        self._lock = asyncio.Lock()
        self._asking = 0

    async def newest(self, crawl: CrawlId, limit: int, *, with_body: bool) -> Found:
        """Return pages of *crawl*, newest first; raise `Unavailable`, also when too many ask."""
        if self._asking == MOST_ASKING:
            raise Unavailable(f"{MOST_ASKING} others ask for pages; ask again")
        self._asking += 1
        try:
            async with self._lock:
                return await self.run(self._newest, crawl, limit, with_body)
        finally:
            self._asking -= 1

    def close(self) -> None:
        self.thread.shutdown(wait=False)

    def _newest(self, crawl: CrawlId, limit: int, with_body: bool) -> Found:
        consumer = KafkaConsumer(
            **self.options(),
            group_id=None,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=self.config.max_fetch_bytes,
            metrics_enabled=False,
        )
        with closing(consumer):
            partitions = sorted(consumer.partitions_for_topic(self._topic) or ())
            if not partitions:
                return Found([], 0, complete=True)
            # As the workers' producers choose it, and Java's.
            hashed = murmur2(crawl.crawlid.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF
            chosen = partitions[hashed % len(partitions)]
            return self._look(
                consumer, TopicPartition(self._topic, chosen), crawl, limit, with_body
            )

    def _look(
        self, consumer: Any, place: TopicPartition, crawl: CrawlId, limit: int, with_body: bool
    ) -> Found:
        consumer.assign([place])
        first = consumer.beginning_offsets([place])[place]
        end = reached = consumer.end_offsets([place])[place]
        deadline, pages = time.monotonic() + PATIENCE, list[dict[str, Any]]()
        while reached > first and len(pages) < limit and end - reached < MOST:
            begin = max(first, reached - STEP)
            records = _between(consumer, place, begin, reached, deadline)
            if records is None:
                break
            found = (_page(record.value, crawl, with_body) for record in reversed(records))
            pages += [page for page in found if page]
            reached = begin
        return Found(pages[:limit], end - reached, reached <= first)


def _between(
    consumer: Any, place: TopicPartition, begin: int, end: int, deadline: float
) -> list[Any] | None:
    """Return the records from *begin* to before *end*, None when they don't come in time."""
    consumer.seek(place, begin)
    records: list[Any] = []
    while consumer.position(place) < end:
        if time.monotonic() > deadline:
            return None
        for batch in consumer.poll(timeout_ms=500, max_records=STEP).values():
            records += [record for record in batch if record.offset < end]
    return records


def _page(value: bytes | None, crawl: CrawlId, with_body: bool) -> dict[str, Any] | None:
    # Most messages are of other crawls: those are not read as JSON.
    if value is None or json.dumps(crawl.crawlid).encode() not in value:
        return None
    try:
        page = json.loads(value)
    except ValueError:
        return None
    if not isinstance(page, dict):
        return None
    if any(page.get(name) != part for name, part in crawl._asdict().items()):
        return None
    if not with_body:
        page.pop("body", None)
    return page

"""The pages of one crawl, from Kafka as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from crawling.service.kafka import KafkaReader, kafka_config, topic_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from crawling.tracker.tracker import CrawlId

#: Messages that are read at once, and seconds to wait for the first.
BATCH, WAIT = 500, 0.5
#: Reads that find nothing until what the topic is said to have counts as deleted.
EMPTY_READS = 20
#: What is of a page beside its body, headers and links, in the order of the JSON lines.
FIELDS = (
    "url", "response_url", "status_code", "depth", "retry_count", "elapsed", "timestamp",
    "requestid",
)  # fmt: skip

Place = tuple[str, int]


class PageReader:
    """Reads what comes to `<prefix>.crawled_firehose` from `open` on."""

    def __init__(self, settings: Mapping[str, Any], crawl: CrawlId) -> None:
        self._config = kafka_config(settings)
        self._topics = [topic_of(self._config.prefix, "crawled")]
        self._crawl = crawl
        self._reader = KafkaReader(self._config, self._topics, None, from_beginning=False)
        #: Where each partition goes on.
        self._next: dict[Place, int] = {}

    async def open(self) -> None:
        await self._reader.open()
        self._next = await self._reader.ends()

    async def close(self) -> None:
        await self._reader.close()

    async def pages(self) -> list[dict[str, Any]]:
        """Return some pages, without their bodies; none after `WAIT` seconds."""
        if not self._next:
            await self._find_topic()
        records = await self._reader.poll(BATCH, WAIT)
        for record in records:
            self._next[record.topic, record.partition] = record.offset + 1
        key = self._crawl.crawlid.encode("utf-8", "surrogatepass")
        ours = (self._page(record.value) for record in records if record.key in {None, key})
        return [page for page in ours if page is not None]

    async def rest(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages that are on the topic by now and have not been read."""
        if not self._next:
            await self._find_topic()
        ends, empty = await self._reader.ends(), 0
        while any(self._next.get(place, 0) < end for place, end in ends.items()):
            before = dict(self._next)
            for page in await self.pages():
                yield page
            empty = empty + 1 if self._next == before else 0
            if empty == EMPTY_READS:
                return

    async def _find_topic(self) -> None:
        """Look for the topic, which the first page makes: all that is on it is new."""
        if not set(self._topics) & await self._reader.topics():
            return
        await self._reader.close()
        self._reader = KafkaReader(self._config, self._topics, None)
        await self._reader.open()
        self._next = dict.fromkeys(await self._reader.assignment(), 0)

    def _page(self, value: bytes | None) -> dict[str, Any] | None:
        """Return what is told of a page; None when it is none of the crawl."""
        try:
            message = orjson.loads(value or b"null")
            names = tuple(message[name] for name in ("spiderid", "appid", "crawlid"))
            return {name: message[name] for name in FIELDS} if names == self._crawl else None
        except (ValueError, TypeError, LookupError):
            return None

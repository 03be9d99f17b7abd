"""Item pipelines: pages go to the savers, and each page leaves two log records."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from scrapy import signals as scrapy_signals
from scrapy.exceptions import NotConfigured

from crawling import signals
from crawling.exceptions import OutputClosed, Unavailable
from crawling.fleet_traces import FleetTraces
from crawling.items import RawResponseItem, page_of
from crawling.outcomes import Released
from crawling.savers.kafka_saver import KafkaSaver
from crawling.savers.targets import open_savers
from crawling.service.config import read
from crawling.tracker.redis_connect import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrapy.crawler import Crawler
    from twisted.python.failure import Failure
    from typing_extensions import Self

    from crawling.messages.page import Page
    from crawling.savers.saver import Saver

logger = logging.getLogger(__name__)

#: Seconds before the first and at most before every later try of an output that is down.
_FIRST_RETRY = 0.25
_LAST_RETRY = 2.0


class _SavingPipeline:
    """Hands every page to its outputs; it goes on when all of them have it safe.

    While an output is down its pages are held and tried again.  When the worker stops
    meanwhile, they are let go, and their requests go back to the tracker.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._outputs: list[_Output] = []
        self._stopping = asyncio.Event()
        crawler.signals.connect(self._stop, signals.stopping)

    async def close_spider(self) -> None:
        self._stop()
        await asyncio.gather(*(output.close() for output in self._outputs))

    async def process_item(self, item: Any) -> Any:
        if self._outputs and isinstance(item, RawResponseItem):
            await self._save(page_of(item))
        return item

    def _add(self, target: str, saver: Saver) -> _Output:
        output = _Output(self._crawler, target, saver, self._stopping)
        self._outputs.append(output)
        return output

    async def _save(self, page: Page) -> None:
        if len(self._outputs) == 1:
            await self._outputs[0].save(page)
            return
        # All come to their end before an error goes on: a page that failed with one saver
        # must not still be on its way with another.
        results = await asyncio.gather(
            *(output.save(page) for output in self._outputs), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _stop(self) -> None:
        self._stopping.set()


class KafkaPipeline(_SavingPipeline):
    """Sends every page to Kafka; not in use where `KAFKA_HOSTS` is none."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        if not read(crawler.settings, "KAFKA_HOSTS"):
            raise NotConfigured
        pipeline, traces = cls(crawler), crawler.get_extension(FleetTraces)
        saver = KafkaSaver(crawler.settings, traces.headers if traces else list)
        pipeline._add("kafka", saver)
        return pipeline

    async def open_spider(self) -> None:
        for output in self._outputs:
            await output.open()


class SaverPipeline(_SavingPipeline):
    """Saves every page with all `SAVERS`."""

    def __init__(
        self,
        crawler: Crawler,
        targets: Sequence[str],
        file_name: str | Callable[[Page], str] | None,
    ) -> None:
        super().__init__(crawler)
        self._targets = targets
        self._file_name = file_name

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        settings = crawler.settings
        return cls(crawler, settings.getlist("SAVERS"), settings.get("FILE_NAME") or None)

    async def open_spider(self) -> None:
        savers = await open_savers(self._targets, self._file_name)
        for target, saver in zip(self._targets, savers, strict=True):
            self._add(target, saver)


class _Output:
    """A saver, and whether it is down at the moment."""

    def __init__(
        self, crawler: Crawler, target: str, saver: Saver, stopping: asyncio.Event
    ) -> None:
        self._saver = saver
        self._crawler = crawler
        self._target = shown(target)
        self._stopping = stopping
        self._down = False
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the saver; one that is away is waited for, and nothing leased until then."""
        try:
            await self._saver.open()
        except Unavailable as error:
            self._note_down(str(error))
            self._opening = asyncio.ensure_future(self._open_later())

    async def _open_later(self) -> None:
        delay = _FIRST_RETRY
        while not self._stopping.is_set():
            await self._pause(delay * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            delay = min(2 * delay, _LAST_RETRY)
            try:
                await self._saver.open()
            except Unavailable:
                continue
            self._note_up()
            return

    async def close(self) -> None:
        if self._opening is not None:
            await self._opening
        await self._saver.close()

    async def save(self, page: Page) -> None:
        """Return when *page* is safe; hold it while the output is down."""
        delay = _FIRST_RETRY
        while True:
            try:
                await self._saver.save(page)
            except OutputClosed as error:
                self._end(str(error))
                raise Released(str(error)) from error
            except Unavailable as error:
                self._note_down(str(error))
                if self._stopping.is_set():
                    raise Released(str(error)) from error
            else:
                self._note_up()
                return
            await self._pause(delay * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            delay = min(2 * delay, _LAST_RETRY)

    async def _pause(self, delay: float) -> None:
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([stop], timeout=delay)
        stop.cancel()

    def _end(self, reason: str) -> None:
        """Stop the crawl: it could only fetch pages that nobody gets."""
        if self._down:
            return
        self._note_down(reason)
        engine = self._crawler.engine
        assert engine is not None
        # Not awaited: the spider closes when this page has left the pipelines.
        self._closing = asyncio.ensure_future(engine.close_spider_async(reason="output_closed"))

    def _note_down(self, reason: str) -> None:
        if self._down:
            return
        self._down = True
        logger.error(
            "Output is down, holding its pages",
            extra={"action": "hold", "saver": self._target, "reason": reason},
        )
        self._crawler.signals.send_catch_log(
            signals.output_down, saver=self._target, reason=reason
        )

    def _note_up(self) -> None:
        if not self._down:
            return
        self._down = False
        logger.info("Output is back", extra={"action": "save", "saver": self._target})
        self._crawler.signals.send_catch_log(signals.output_up, saver=self._target)


class LoggingBeforePipeline:
    """Logs each page when the spider has yielded it."""

    def process_item(self, item: Any) -> Any:
        if isinstance(item, RawResponseItem) and logger.isEnabledFor(logging.INFO):
            logger.info("Scraped page", extra={"action": "emit", **_about(item)})
        return item


class LoggingAfterPipeline:
    """Logs each page when it is safe, and each that got lost on the way."""

    def __init__(self, place: str = "") -> None:
        self._sent = f"Sent page{place}"
        self._lost = f"Failed to send page{place}"

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        place = " to Kafka" if crawler.settings.get("KAFKA_HOSTS") else ""
        pipeline = cls(place)
        crawler.signals.connect(pipeline.item_error, scrapy_signals.item_error)
        return pipeline

    def process_item(self, item: Any) -> Any:
        if isinstance(item, RawResponseItem) and logger.isEnabledFor(logging.INFO):
            logger.info(self._sent, extra={"action": "ack", "success": True, **_about(item)})
        return item

    def item_error(self, item: Any, failure: Failure) -> None:
        if isinstance(item, RawResponseItem):
            fields = {"action": "ack", "success": False, "exception": repr(failure.value)}
            logger.error(self._lost, extra={**fields, **_about(item)})


#: What a log record says of a page.
_LOGGED = (
    "appid crawlid spiderid requestid attrs url response_url status_code status_msg "
    "encoding depth"
).split()


def _about(item: RawResponseItem) -> dict[str, Any]:
    return {name: item.get(name) for name in _LOGGED}

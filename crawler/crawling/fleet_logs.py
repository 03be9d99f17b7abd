"""The fleet's logs, as an extension of Scrapy."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import NotConfigured
from scrapy.logformatter import LogFormatter

from crawling.held_lease import held_here
from crawling.outcomes import Released
from crawling.redis_retry_middleware import GaveUp
from crawling.request_record import names_of
from crawling.service.config import read
from crawling.service.logs import install, make_no_others

if TYPE_CHECKING:
    from scrapy import Request, Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.logformatter import LogFormatterResult
    from twisted.python.failure import Failure


class FleetLogs:
    """Sends all records where the SC_LOG settings say; with LOG_ENABLED Scrapy does."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FleetLogs:
        if read(crawler.settings, "LOG_ENABLED"):
            raise NotConfigured
        install(crawler.settings, with_page)
        logs = cls()
        crawler.signals.connect(logs.spider_opened, signals.spider_opened)
        return logs

    def spider_opened(self) -> None:
        # Scrapy has just asked for all records, for handlers that we do without.
        logging.getLogger("scrapy").setLevel(logging.NOTSET)
        make_no_others()


def with_page(record: logging.LogRecord) -> bool:
    """Give a record the page that the running code works for; what it says itself stays."""
    held, own = held_here(), vars(record)
    if held is None or "requestid" in own:
        return True
    # The engine's steps are no tasks, and know their page all the same.
    if record.name != "scrapy.core.engine" and _by_a_connection():
        return True
    names = names_of(held.lease)
    # Else it is about another crawl than the page's.
    if all(own.get(name, value) == value for name, value in names.items()):
        own |= names
    return True


def _by_a_connection() -> bool:
    """Whether an event of the loop runs, such as bytes that have come, and no task.

    Connections stay open: it bears the page for which its connection was made.
    """
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        # A thread, which has its context from who started it.
        return False


#: Who logs "Crawled" and "Scraped", at DEBUG.
_ENGINE, _SCRAPER = (logging.getLogger(f"scrapy.core.{part}") for part in ("engine", "scraper"))


class FleetLogFormatter(LogFormatter):
    """Scrapy's, without tracebacks of what is no error of the program.

    Downloads that failed for good are on the tracker's books; what an output did not take
    goes back to the tracker, and the pipeline has said so in a line.  Of a page that went
    well no line is made that nobody gets.
    """

    # Scrapy's documentation allows None, which its annotations do not.
    def crawled(  # type: ignore[override]
        self, request: Request, response: Response, spider: Spider
    ) -> LogFormatterResult | None:
        if not _ENGINE.isEnabledFor(logging.DEBUG):
            return None
        return super().crawled(request, response, spider)

    def scraped(  # type: ignore[override]
        self, item: Any, response: Response | Failure | None, spider: Spider
    ) -> LogFormatterResult | None:
        if not _SCRAPER.isEnabledFor(logging.DEBUG):
            return None
        return super().scraped(item, response, spider)

    def download_error(
        self,
        failure: Failure,
        request: Request,
        spider: Spider,
        errmsg: str | None = None,
    ) -> LogFormatterResult:
        result = super().download_error(failure, request, spider, errmsg)
        if isinstance(failure.value, GaveUp):
            # LogRetryMiddleware and the lease's end have said it, in a line each.
            result["level"] = logging.DEBUG
        return result

    def item_error(
        self,
        item: Any,
        exception: BaseException,
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult:
        result = super().item_error(item, exception, response, spider)
        if isinstance(exception, Released):
            result["level"] = logging.DEBUG
        return result

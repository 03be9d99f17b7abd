"""The fleet's logs, as an extension of Scrapy."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import NotConfigured
from scrapy.logformatter import LogFormatter

from crawling.outcomes import Released
from crawling.redis_retry_middleware import GaveUp
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
        install(crawler.settings)
        logs = cls()
        crawler.signals.connect(logs.spider_opened, signals.spider_opened)
        return logs

    def spider_opened(self) -> None:
        # Scrapy has just asked for all records, for handlers that we do without.
        logging.getLogger("scrapy").setLevel(logging.NOTSET)
        make_no_others()


class FleetLogFormatter(LogFormatter):
    """Scrapy's, without tracebacks of what is no error of the program.

    Downloads that failed for good are on the tracker's books; what an output did not take
    goes back to the tracker, and the pipeline has said so in a line.
    """

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

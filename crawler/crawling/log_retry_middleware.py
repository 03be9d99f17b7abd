"""Every failed download leaves a log record and is counted, as status 504."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy.exceptions import IgnoreRequest

from crawling.outcomes import describe
from crawling.redis_retry_middleware import GaveUp
from crawling.redis_stats_middleware import status_counts

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

logger = logging.getLogger(__name__)

#: What a host that gave no answer is counted as.
NO_ANSWER = 504


class LogRetryMiddleware:
    """Logs 504 and download errors, once per attempt.

    Fields are text and numbers only: a Request drags spider and crawler along, which no
    log handler can copy.
    """

    def __init__(self, crawler: Crawler) -> None:
        assert crawler.stats is not None
        self._stats = crawler.stats
        self._counts = status_counts(crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> LogRetryMiddleware:
        return cls(crawler)

    def process_response(self, request: Request, response: Response) -> Response:
        if response.status == NO_ANSWER:
            self._record(request, "504 Gateway Time-out")
        return response

    def process_exception(self, request: Request, exception: Exception) -> None:
        if not isinstance(exception, IgnoreRequest | GaveUp):
            self._record(request, describe(exception))

    def _record(self, request: Request, reason: str) -> None:
        meta = request.meta
        logger.error(
            "Scraper Retry",
            extra={
                "action": "retry",
                "url": request.url,
                "crawlid": meta.get("crawlid"),
                "appid": meta.get("appid"),
                "spiderid": meta.get("spiderid"),
                "error_request": f"<{request.method} {request.url}>",
                "error_reason": reason,
                "retry_count": meta.get("retry_times", 0),
                "status_code": NO_ANSWER,
            },
        )
        self._stats.inc_value("log_retry/count")
        self._counts.count(NO_ANSWER)

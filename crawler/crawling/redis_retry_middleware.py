"""Retries by way of the tracker: later, less urgent, and by any worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.utils.response import response_status_message

from crawling.exceptions import RequestError
from crawling.held_lease import held_here
from crawling.outcomes import classify, retry_request
from crawling.service.config import read

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.statscollectors import StatsCollector

#: Why a download fails that may well succeed the next time.
RETRIED_REASONS = frozenset({"timeout", "dns", "refused", "reset", "tls", "truncated"})
#: Statuses by which a host says that it has too much to do.
BUSY_STATUSES = frozenset({429, 503})


class GaveUp(Exception):
    """The last try has failed; *reason* is one of the tracker's, for errbacks and books.

    *response* is the last answer, if the host answered at all; its domain rests as after
    any other try.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail or trouble.reason)
        self.reason = trouble.reason
        self.detail = trouble.detail
        self.response = trouble.response
        self.busy = trouble.busy
        self.retry_after = trouble.retry_after

    @property
    def status(self) -> int:
        return self.response.status if self.response is not None else 0


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a download, and how long its domain should rest."""

    reason: str
    detail: str = ""
    busy: bool = False
    retry_after: float = 0.0
    response: Response | None = None


class Retries:
    """How often a request is tried again, counted over all workers."""

    def __init__(self, times: int, stats: StatsCollector) -> None:
        self._times = times
        self._stats = stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Retries:
        assert crawler.stats is not None
        return cls(read(crawler.settings, "RETRY_TIMES"), crawler.stats)

    def again(self, request: Request, trouble: Trouble) -> Request:
        """Return the request for another try; raise `GaveUp` when there is none left."""
        times = request.meta.get("max_retry_times")
        if request.meta.get("retry_times", 0) >= (self._times if times is None else times):
            self._stats.inc_value("retry/max_reached")
            raise GaveUp(trouble)
        self._stats.inc_value("retry/count")
        self._stats.inc_value(f"retry/reason_count/{trouble.reason}")
        return retry_request(
            request,
            reason=trouble.reason,
            detail=trouble.detail,
            busy=trouble.busy,
            retry_after=trouble.retry_after,
        )


class RedisRetryMiddleware(RetryMiddleware):
    """Hands a leased request that failed back to the tracker.

    What is no lease (media, inline requests) is tried again at once, as by Scrapy.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler.settings)
        self.crawler = crawler
        self.retry_http_codes = set(read(crawler.settings, "RETRY_HTTP_CODES"))
        self._retries = Retries.from_crawler(crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RedisRetryMiddleware:
        return cls(crawler)

    def process_response(  # type: ignore[override]  # Scrapy deprecates its third argument
        self, request: Request, response: Response
    ) -> Request | Response:
        if not is_leased(request):
            return super().process_response(request, response)
        if not 100 <= response.status <= 999:
            raise RequestError("bad_response", f"status {response.status}")
        if response.status not in self.retry_http_codes or request.meta.get("dont_retry"):
            return response
        return self._retries.again(request, status_trouble(response))

    def process_exception(  # type: ignore[override]  # as above
        self, request: Request, exception: Exception
    ) -> Request | Response | None:
        if not is_leased(request):
            return super().process_exception(request, exception)
        if isinstance(exception, IgnoreRequest | GaveUp) or request.meta.get("dont_retry"):
            return None
        verdict = classify(exception)
        if verdict.reason not in RETRIED_REASONS and not isinstance(
            exception, self.exceptions_to_retry
        ):
            return None
        try:
            return self._retries.again(request, Trouble(verdict.reason, verdict.detail))
        except GaveUp as gave_up:
            raise gave_up from exception


def is_leased(request: Request) -> bool:
    """Return whether *request* itself is the leased one, not one made on its behalf."""
    held = held_here()
    return held is not None and held.request is request


def status_trouble(response: Response) -> Trouble:
    """Return what a status of RETRY_HTTP_CODES means."""
    busy = response.status in BUSY_STATUSES
    return Trouble(
        f"http_{response.status}",
        response_status_message(response.status),
        busy=busy,
        retry_after=retry_after(response) if busy else 0.0,
        response=response,
    )


def retry_after(response: Response) -> float:
    """Return the seconds that the Retry-After header asks for, 0 without a valid one."""
    value = _header(response, "Retry-After")
    if value.isdecimal():
        return float(value[:9])
    moment = _http_time(value)
    if moment is None:
        return 0.0
    # By the host's own clock, where it says what that shows.
    now = _http_time(_header(response, "Date"))
    return max(0.0, moment - (time.time() if now is None else now))


def _header(response: Response, name: str) -> str:
    value = response.headers.get(name)
    return value.decode("latin-1").strip() if value else ""


def _http_time(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None

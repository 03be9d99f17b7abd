"""Answers that never come, come broken, or are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import StopDownload

from tests.integration.scheduler_cases.callbacks import Nothing
from tests.integration.scheduler_cases.case import Case, CaseSpider, extension

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from twisted.python.failure import Failure
    from typing_extensions import Self


class ErrbackYields(CaseSpider):
    def failed(self, failure: Failure) -> Any:
        page = failure.request.url  # type: ignore[attr-defined]  # Scrapy sets it
        yield {"page": page, "n": 0}
        yield self.child_of(page, "1")


class ErrbackRaises(CaseSpider):
    def failed(self, failure: Failure) -> Any:
        raise ValueError("in the errback")


class StopsDownloads:
    fail = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls()
        crawler.signals.connect(extension.headers_received, signals.headers_received)
        return extension

    def headers_received(self) -> None:
        raise StopDownload(fail=self.fail)


class FailsDownloads(StopsDownloads):
    fail = True


ONCE = {"RETRY_TIMES": 0}

CASES = [
    Case(
        "connection dropped, errback yields",
        ErrbackYields,
        {"retry": 1, "failed": 1, "done": 1},
        seeds=("/drop/1",),
        errback="failed",
        reasons={"reset": 1},
        settings={"RETRY_TIMES": 1},
    ),
    Case(
        "connection dropped, errback raises",
        ErrbackRaises,
        {"failed": 1},
        seeds=("/drop/1",),
        errback="failed",
        reasons=None,
        settings=ONCE,
    ),
    Case(
        "connection dropped, no errback",
        CaseSpider,
        {"failed": 1},
        seeds=("/drop/1",),
        reasons={"reset": 1},
        settings=ONCE,
    ),
    Case(
        "timeout",
        CaseSpider,
        {"retry": 1, "failed": 1},
        seeds=("/hang/1",),
        reasons={"timeout": 1},
        settings={"RETRY_TIMES": 1, "DOWNLOAD_TIMEOUT": 0.5},
    ),
    Case(
        "too large by its Content-Length",
        CaseSpider,
        {"failed": 1},
        seeds=("/large/1",),
        reasons={"too_large": 1},
        settings={"DOWNLOAD_MAXSIZE": 100_000},
    ),
    Case(
        "too large in chunks",
        CaseSpider,
        {"failed": 1},
        seeds=("/chunked/1",),
        reasons={"too_large": 1},
        settings={"DOWNLOAD_MAXSIZE": 100_000},
    ),
    Case(
        "truncated",
        CaseSpider,
        {"failed": 1},
        seeds=("/truncated/1",),
        reasons={"truncated": 1},
        settings=ONCE,
    ),
    Case(
        "not HTTP",
        CaseSpider,
        {"failed": 1},
        seeds=("/garbage/1",),
        reasons={"bad_response": 1},
        settings=ONCE,
    ),
    Case(
        "download stopped by a signal handler, as a failure",
        CaseSpider,
        {"failed": 1},
        seeds=("/page/1",),
        reasons=None,
        settings=extension(FailsDownloads),
    ),
    Case(
        "download stopped by a signal handler, as a response",
        Nothing,
        {"done": 1},
        seeds=("/page/1",),
        settings=extension(StopsDownloads),
    ),
]

"""Downloader middlewares and handlers that answer, replace, refuse and raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.exceptions import IgnoreRequest
from scrapy.http import HtmlResponse
from w3lib.url import add_or_replace_parameter

from tests.integration.scheduler_cases.callbacks import Nothing
from tests.integration.scheduler_cases.case import (
    Case,
    CaseSpider,
    await_something_cancelled,
    downloader_middleware,
)

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self


class Answers:
    def process_request(self, request: Request) -> Response:
        return HtmlResponse(request.url, body=b"<p>made here</p>")


class Replaces:
    def process_request(self, request: Request) -> Request | None:
        if "again=1" in request.url:
            return None
        return request.replace(url=add_or_replace_parameter(request.url, "again", "1"))


class Refuses:
    def process_request(self, request: Request) -> None:
        raise IgnoreRequest("refused here")


class Raises:
    def process_request(self, request: Request) -> None:
        raise ValueError("in process_request")


class Cancelled:
    async def process_request(self, request: Request) -> None:
        await await_something_cancelled()


class ReplacesTheRequestOfTheResponse:
    def process_response(self, request: Request, response: Response) -> Response:
        other = request.replace(meta={**request.meta, "other": 1})
        return response.replace(url=response.url + "#other", request=other)


class RaisesOnResponse:
    def process_response(self, request: Request, response: Response) -> Response:
        raise ValueError("in process_response")


class Recovers:
    def process_exception(self, request: Request, exception: Exception) -> Response:
        return HtmlResponse(request.url, body=b"made here", request=request)


class CancelledHandler:
    lazy = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls()

    async def download_request(self, request: Request) -> Any:
        await await_something_cancelled()

    async def close(self) -> None:
        """Scrapy calls it at the end."""


CASES = [
    Case(
        "process_request answers",
        Nothing,
        {"done": 3},
        settings=downloader_middleware(Answers),
    ),
    Case(
        "process_request returns another request",
        CaseSpider,
        {"redirect": 9, "done": 9},
        settings=downloader_middleware(Replaces),
    ),
    Case(
        "process_request refuses",
        CaseSpider,
        {"dropped": 3},
        reasons=None,
        settings=downloader_middleware(Refuses),
    ),
    Case(
        "process_request raises",
        CaseSpider,
        {"failed": 3},
        reasons=None,
        settings=downloader_middleware(Raises),
    ),
    Case(
        "process_request awaits something cancelled",
        CaseSpider,
        {"failed": 3},
        reasons=None,
        settings=downloader_middleware(Cancelled),
    ),
    Case(
        "process_response replaces the response's request",
        CaseSpider,
        {"done": 9},
        settings=downloader_middleware(ReplacesTheRequestOfTheResponse),
    ),
    Case(
        "process_response raises",
        CaseSpider,
        {"failed": 3},
        reasons=None,
        settings=downloader_middleware(RaisesOnResponse),
    ),
    Case(
        "process_exception recovers",
        Nothing,
        {"done": 1},
        seeds=("/drop/1",),
        settings=downloader_middleware(Recovers, 1000),
    ),
    Case(
        "download handler awaits something cancelled",
        CaseSpider,
        {"failed": 3},
        reasons=None,
        settings={"DOWNLOAD_HANDLERS": {"http": CancelledHandler}},
    ),
]

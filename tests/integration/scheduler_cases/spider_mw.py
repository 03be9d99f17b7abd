"""Spider middlewares that drop, raise and recover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.exceptions import IgnoreRequest

from tests.integration.scheduler_cases.callbacks import RaisesHalfWay
from tests.integration.scheduler_cases.case import (
    Case,
    CaseSpider,
    await_something_cancelled,
    spider_middleware,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response
    from twisted.python.failure import Failure


class HasErrback(CaseSpider):
    def failed(self, failure: Failure) -> None:
        """Take note."""


class KeepsTheSecondItem:
    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for output in result:
            if isinstance(output, dict) and output["n"] == 2:
                yield output


class RaisesOnInput:
    def process_spider_input(self, response: Response) -> None:
        raise ValueError("in process_spider_input")


class RefusesInput:
    def process_spider_input(self, response: Response) -> None:
        raise IgnoreRequest("refused here")


class RaisesOnOutput:
    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for output in result:
            yield output
            raise ValueError("in process_spider_output")


class CancelledOnOutput:
    async def process_spider_output(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for output in result:
            yield output
            await await_something_cancelled()


class Recovers:
    def process_spider_exception(self, response: Response, exception: Exception) -> list[Any]:
        assert response.request is not None
        return [{"page": response.request.url, "n": 7}]


CASES = [
    Case(
        "spider middleware drops output",
        CaseSpider,
        {"done": 3},
        refused="/leaf/",
        settings=spider_middleware(KeepsTheSecondItem),
    ),
    Case(
        "process_spider_input raises",
        CaseSpider,
        {"failed": 3},
        reasons={"spider_error": 3},
        settings=spider_middleware(RaisesOnInput),
    ),
    Case(
        "process_spider_input refuses, and the errback knows",
        HasErrback,
        {"dropped": 3},
        errback="failed",
        reasons={"x_ignored": 3},
        settings=spider_middleware(RefusesInput),
    ),
    Case(
        "process_spider_output raises half-way",
        CaseSpider,
        {"failed": 3},
        reasons={"spider_error": 3},
        settings=spider_middleware(RaisesOnOutput),
    ),
    Case(
        "process_spider_output awaits something cancelled",
        CaseSpider,
        {"failed": 3},
        reasons={"spider_error": 3},
        settings=spider_middleware(CancelledOnOutput),
    ),
    Case(
        "process_spider_exception recovers",
        RaisesHalfWay,
        {"done": 6},
        settings=spider_middleware(Recovers),
    ),
]

"""What a callback or errback may be, and how it may end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.integration.scheduler_cases.case import (
    Case,
    CaseSpider,
    await_something_cancelled,
)

if TYPE_CHECKING:
    from scrapy.http import Response
    from twisted.python.failure import Failure


class AsyncGenerator(CaseSpider):
    async def parse(self, response: Response) -> Any:
        yield self.item(response)
        await asyncio.sleep(0.02)
        yield self.child(response, "1")
        await asyncio.sleep(0.02)
        yield self.item(response, 2)


class Coroutine(CaseSpider):
    async def parse(self, response: Response) -> Any:
        await asyncio.sleep(0.02)
        return [self.item(response), self.child(response, "1")]


class Nothing(CaseSpider):
    def parse(self, response: Response) -> Any:
        return None


class RaisesHalfWay(CaseSpider):
    def parse(self, response: Response) -> Any:
        yield self.item(response)
        yield self.child(response, "1")
        raise ValueError("half-way")


class AsyncRaisesHalfWay(CaseSpider):
    async def parse(self, response: Response) -> Any:
        yield self.item(response)
        yield self.child(response, "1")
        await asyncio.sleep(0.01)
        raise ValueError("half-way")


class Raises(CaseSpider):
    def parse(self, response: Response) -> Any:
        raise ValueError("at once")


class CoroutineCancelled(CaseSpider):
    async def parse(self, response: Response) -> Any:
        await await_something_cancelled()


class GeneratorCancelled(CaseSpider):
    async def parse(self, response: Response) -> Any:
        yield self.item(response)
        yield self.child(response, "1")
        await await_something_cancelled()


class ErrbackCancelled(CaseSpider):
    async def failed(self, failure: Failure) -> Any:
        await await_something_cancelled()


CASES = [
    Case("callback is a generator", CaseSpider, {"done": 9}),
    Case("callback is an asynchronous generator", AsyncGenerator, {"done": 6}),
    Case("callback is a coroutine", Coroutine, {"done": 6}),
    Case("callback returns None", Nothing, {"done": 3}),
    Case(
        "generator raises half-way",
        RaisesHalfWay,
        {"failed": 3, "done": 3},
        reasons={"spider_error": 3},
    ),
    Case(
        "asynchronous generator raises half-way",
        AsyncRaisesHalfWay,
        {"failed": 3, "done": 3},
        reasons={"spider_error": 3},
    ),
    Case("callback raises", Raises, {"failed": 3}, reasons={"spider_error": 3}),
    Case(
        "coroutine awaits something cancelled",
        CoroutineCancelled,
        {"failed": 3},
        reasons={"spider_error": 3},
    ),
    Case(
        "asynchronous generator awaits something cancelled",
        GeneratorCancelled,
        {"failed": 3, "done": 3},
        reasons={"spider_error": 3},
    ),
    Case(
        "errback awaits something cancelled",
        ErrbackCancelled,
        {"failed": 1},
        seeds=("/drop/1",),
        errback="failed",
        reasons=None,
        settings={"RETRY_TIMES": 0},
    ),
]

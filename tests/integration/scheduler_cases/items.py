"""Items that take their time, are dropped, or break the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.exceptions import DropItem
from scrapy.logformatter import LogFormatter

from tests.integration.scheduler_cases.case import (
    Case,
    CaseSpider,
    NotingPipeline,
    await_something_cancelled,
    pipeline,
)

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.http import Response
    from scrapy.logformatter import LogFormatterResult


class ManyItems(CaseSpider):
    def parse(self, response: Response) -> Any:
        for n in range(8):
            yield self.item(response, n)


class Slow(NotingPipeline):
    delay = 0.15


class Dropping(NotingPipeline):
    async def handle(self, item: dict[str, Any]) -> None:
        raise DropItem("not wanted")


class Raising(NotingPipeline):
    async def handle(self, item: dict[str, Any]) -> None:
        raise ValueError("cannot be written")


class FirstIsCancelled(NotingPipeline):
    async def handle(self, item: dict[str, Any]) -> None:
        if item["n"] == 0:
            await await_something_cancelled()


class FirstCannotBeLogged(LogFormatter):
    def scraped(self, item: Any, response: Any, spider: Spider) -> LogFormatterResult:
        if item["n"] == 0:
            raise ValueError("cannot be logged")
        return super().scraped(item, response, spider)


CASES = [
    Case(
        "slow pipeline, 100 items at a time",
        ManyItems,
        {"done": 3},
        settings={**pipeline(Slow), "CONCURRENT_ITEMS": 100},
    ),
    Case(
        "slow pipeline, 1 item at a time",
        ManyItems,
        {"done": 3},
        settings={**pipeline(Slow), "CONCURRENT_ITEMS": 1},
    ),
    Case("pipeline drops items", CaseSpider, {"done": 9}, settings=pipeline(Dropping)),
    Case(
        "pipeline raises",
        CaseSpider,
        {"failed": 9},
        reasons={"output_error": 9},
        settings=pipeline(Raising),
    ),
    Case(
        "pipeline awaits something cancelled, 1 item at a time",
        ManyItems,
        {"failed": 3},
        reasons={"output_error": 3},
        settings={**pipeline(FirstIsCancelled), "CONCURRENT_ITEMS": 1},
    ),
    Case(
        "log formatter raises, 1 item at a time",
        ManyItems,
        {"failed": 3},
        reasons={"output_error": 3},
        settings={"LOG_FORMATTER": FirstCannotBeLogged, "CONCURRENT_ITEMS": 1},
    ),
]

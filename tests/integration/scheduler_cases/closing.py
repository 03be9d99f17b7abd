"""A spider that is closed while requests are in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.exceptions import CloseSpider

from tests.integration.scheduler_cases.case import PAGES, Case, CaseSpider

if TYPE_CHECKING:
    from scrapy.http import Response


class Closes(CaseSpider):
    def parse(self, response: Response) -> Any:
        yield self.item(response)
        yield self.child(response, "1")
        raise CloseSpider("enough")


CASES = [
    Case(
        "callback closes the spider with 6 requests in flight",
        Closes,
        {},
        seeds=(*PAGES, "/slow/4", "/slow/5", "/slow/6"),
    ),
]

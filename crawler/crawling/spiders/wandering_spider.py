from __future__ import annotations

import random
from typing import TYPE_CHECKING

from scrapy import Request

from crawling.held_lease import current_lease
from crawling.links import PRIORITY_STEP, LinkRules
from crawling.request_record import SAME_DEPTH
from crawling.spiders.link_extraction import extract_links
from crawling.spiders.redis_spider import RedisSpider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.http import Response

    from crawling.items import RawResponseItem


class WanderingSpider(RedisSpider):
    """Follows one random link of each page, however deep, at the priority it began with.

    `attrs["step"]` counts the pages of a walk from 0.  A walk ends where a page has no
    links that the crawl admits, or where it meets a page that the crawl has seen.
    """

    name = "wandering"

    def parse(self, response: Response) -> Iterator[RawResponseItem | Request]:
        step = response.meta.get("step", 0)
        item = self.page(response)
        item["attrs"] = {**(item["attrs"] or {}), "step": step}
        yield item
        url = self.choose(response)
        if url is None:
            self.logger.info("Did not find any more links", extra={"action": "wander"})
            return
        yield Request(url, priority=PRIORITY_STEP, meta={"step": step + 1, SAME_DEPTH: True})

    def choose(self, response: Response) -> str | None:
        """Return a random one of the links that the crawl admits, None without any."""
        lease = current_lease()
        assert lease is not None
        rules = LinkRules(lease.options, self.settings)
        urls = [url for url in extract_links(response) if not rules.rule(url)]
        return random.choice(urls) if urls else None  # noqa: S311 no secret depends on it

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.links import LinkBatch
from crawling.spiders.link_extraction import extract_links
from crawling.spiders.redis_spider import RedisSpider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.http import Response

    from crawling.items import RawResponseItem


class LinkSpider(RedisSpider):
    """Saves every page and follows every link; the tracker refuses what a crawl excludes.

    Links of pages at the maximum depth are handed on too, so that `fleet trace` can say
    why they were not fetched.
    """

    name = "link"

    def parse(self, response: Response) -> Iterator[RawResponseItem | LinkBatch]:
        found: dict[str, str] = {}
        try:
            found = self.find_links(response)
        finally:
            # Whatever goes wrong with the links, the page is saved, and saved first.
            links = [{"text": text, "url": url} for url, text in found.items()]
            yield self.page(response, links)
        yield LinkBatch(found)

    def find_links(self, response: Response) -> dict[str, str]:
        """Return the absolute URLs to go on with, each with its text."""
        return extract_links(response)

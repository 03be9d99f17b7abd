from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError
from crawling.service.patterns import compile_regex, find_all
from crawling.spiders.link_extraction import Base, text_of
from crawling.spiders.link_spider import LinkSpider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.http import Response


class SimpleSpider(LinkSpider):
    """Follows what the crawl's `link_regex` matches in the text of a page.

    A link is the first group of a match, or all of it where the pattern has no group;
    relative ones are joined to the page's URL.
    """

    name = "simple"

    @classmethod
    def check_options(cls, shared: Mapping[str, Any]) -> None:
        if not shared.get("link_regex"):
            raise ConfigError(
                "link_regex", "is missing: the simple spider follows what it matches"
            )

    def find_links(self, response: Response) -> dict[str, str]:
        base = Base(response.url)
        pattern = compile_regex("link_regex", self.crawl_options()["link_regex"])
        # In markup an ampersand is written so; other entities do not occur in URLs.
        urls = (
            base.join(match.replace("&amp;", "&"))
            for match in find_all(pattern, text_of(response))
        )
        return dict.fromkeys((url for url in urls if url is not None), "")

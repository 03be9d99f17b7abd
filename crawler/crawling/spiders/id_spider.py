from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crawling.exceptions import ConfigError, RequestError
from crawling.service.patterns import compile_regex, find_all
from crawling.spiders.link_extraction import text_of
from crawling.spiders.link_spider import LinkSpider
from crawling.tracker.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.http import Response

#: Where the ID goes in a `download_url_fmt`; the first that occurs counts.
PLACES = ("{id}", "{}", "%s")


class IdSpider(LinkSpider):
    """Discovers IDs: each that the crawl's `id_regex` matches is fetched and searched too.

    An ID is the first group of a match, or all of it where the pattern has no group.
    """

    name = "id"

    @classmethod
    def check_options(cls, shared: Mapping[str, Any]) -> None:
        if not shared.get("id_regex"):
            raise ConfigError("id_regex", "is missing: the ID spider fetches what it matches")
        cls.seed_url("0", shared.get("download_url_fmt"))

    @staticmethod
    def seed_url(item: str, download_url_fmt: str | None) -> str:
        """Return the URL of the item with the ID *item*, which is quoted for it."""
        for place in PLACES:
            if download_url_fmt and place in download_url_fmt:
                url = download_url_fmt.replace(place, quote(item, safe=""))
                break
        else:
            raise ConfigError(
                "download_url_fmt",
                f"must have {{id}} where the ID goes, not {download_url_fmt!r}",
            )
        try:
            host_of(url)
        except RequestError as error:
            raise ConfigError("download_url_fmt", str(error)) from error
        return url

    def find_links(self, response: Response) -> dict[str, str]:
        options = self.crawl_options()
        pattern = compile_regex("id_regex", options["id_regex"])
        return {
            self.seed_url(item, options["download_url_fmt"]): item
            for item in find_all(pattern, text_of(response))
        }

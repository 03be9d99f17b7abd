from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import Request
from scrapy.http import TextResponse
from scrapy.linkextractors import LinkExtractor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.http import Response


class LinkParsing:
    """What a good user writes: LinkExtractor, an item, a Request for each link."""

    _extractor = LinkExtractor()

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Request | dict[str, Any]]:
        if not isinstance(response, TextResponse):
            return
        links = self._extractor.extract_links(response)
        yield {
            "url": response.url,
            "status": response.status,
            "body": response.text,
            "links": [link.url for link in links],
        }
        for link in links:
            yield Request(link.url)

"""What belongs to the crawl goes from a page to the requests that it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.spidermiddlewares.base import BaseSpiderMiddleware

from crawling.request_record import CRAWL_META

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

#: A request has its own priority and depth: the scheduler gives it both.
PASSED = tuple(key for key in CRAWL_META if key not in {"priority", "curdepth"})


class MetaPassthroughMiddleware(BaseSpiderMiddleware):
    """Copies exactly the crawl's metadata, where the spider did not set its own.

    Not what belongs to the download: a retried page's children have all their retries,
    and a page's slot, timeout and redirects are its own.
    """

    def get_processed_request(self, request: Request, response: Response | None) -> Request:
        if response is not None:
            for key in PASSED:
                if key in response.meta:
                    request.meta.setdefault(key, response.meta[key])
        return request

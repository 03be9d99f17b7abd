from __future__ import annotations

from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scrapy import Spider

from crawling.held_lease import current_lease
from crawling.items import RawResponseItem
from crawling.request_record import requestid
from crawling.spiders.link_extraction import encoding_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrapy import Request
    from scrapy.http import Response

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class RedisSpider(Spider):
    """Base of the fleet's spiders: pages come from the tracker, only `parse` is to write.

    A crawl's metadata is in `response.meta` (`crawlid`, `attrs`, `curdepth` …); Requests
    and `LinkBatch`es that `parse` yields go to the tracker as links of the page.
    """

    #: What the spiders of Scrapy Cluster call it.
    _logger = Spider.logger

    @classmethod
    def check_options(cls, shared: Mapping[str, Any]) -> None:
        """Raise `ConfigError` when a crawl lacks what this spider needs to serve it."""

    def page(self, response: Response, links: Iterable[dict[str, str]] = ()) -> RawResponseItem:
        """Return *response* as an item, whatever its body is: text, image or nothing."""
        request, meta, lease = response.request, response.meta, current_lease()
        assert request is not None
        assert lease is not None
        return RawResponseItem(
            requestid=requestid(lease),
            appid=meta["appid"],
            crawlid=meta["crawlid"],
            spiderid=meta["spiderid"],
            url=request.url,
            requested_url=meta["url"],
            response_url=response.url,
            redirects=list(meta.get("redirect_urls", ())),
            status_code=response.status,
            status_msg=_PHRASES.get(response.status, ""),
            request_headers=self.reconstruct_headers(request),
            response_headers=self.reconstruct_headers(response),
            body=response.body,
            encoding=encoding_of(response),
            links=list(links),
            attrs=meta["attrs"],
            depth=meta["curdepth"],
            retry_count=meta.get("retry_times", 0),
            elapsed=meta.get("download_latency", 0.0),
            timestamp=datetime.now(timezone.utc).replace(tzinfo=None).isoformat(),
        )

    def crawl_options(self) -> Mapping[str, Any]:
        """Return the options that the crawl of the page being parsed was submitted with."""
        lease = current_lease()
        assert lease is not None
        return lease.options.shared

    def reconstruct_headers(self, message: Request | Response) -> dict[str, list[str]]:
        """Return all values of all headers; latin-1, so that the bytes can be had back."""
        # Past `Headers.items`, which normalises each name twice more.
        return {
            name.decode("latin-1"): [value.decode("latin-1") for value in values]
            for name, values in dict.items(message.headers)
        }

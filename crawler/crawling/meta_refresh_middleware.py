"""Pages that send the browser elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.downloadermiddlewares import redirect
from scrapy.http import HtmlResponse

if TYPE_CHECKING:
    from scrapy import Request, Spider
    from scrapy.http import Response

#: Characters of a page that Scrapy looks at.
LOOKED_AT = 4096


class MetaRefreshMiddleware(redirect.MetaRefreshMiddleware):
    """Scrapy's, which looks for the base of a page before it looks for the tag."""

    def process_response(
        self, request: Request, response: Response, spider: Spider | None = None
    ) -> Request | Response:
        if isinstance(response, HtmlResponse) and not _may_refresh(response):
            return response
        answer: Request | Response = super().process_response(request, response)
        return answer


def _may_refresh(response: HtmlResponse) -> bool:
    return "refresh" in response.text[:LOOKED_AT].lower()

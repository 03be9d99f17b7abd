from __future__ import annotations

import pytest
from scrapy import Request, Spider
from scrapy.http import HtmlResponse, Response, TextResponse
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from crawling.meta_refresh_middleware import LOOKED_AT, MetaRefreshMiddleware

URL = "http://example.com/"
TAG = '<meta http-equiv="%s" content="0; url=/next">'


@pytest.fixture
def middleware() -> MetaRefreshMiddleware:
    found = MetaRefreshMiddleware(Settings())
    # What Scrapy does when the engine starts.
    found.crawler = get_crawler(Spider)
    found._referer_spider_middleware = None
    return found


@pytest.mark.parametrize("spelt", ["refresh", "Refresh", "REFRESH"])
def test_a_page_that_refreshes_is_followed(
    middleware: MetaRefreshMiddleware, spelt: str
) -> None:
    page = HtmlResponse(URL, body=f"<html>{TAG % spelt}", encoding="utf-8")

    result = middleware.process_response(Request(URL), page)

    assert isinstance(result, Request)
    assert result.url == "http://example.com/next"


@pytest.mark.parametrize(
    "page",
    [
        HtmlResponse(URL, body=b"<p>refresh your memory", encoding="utf-8"),
        HtmlResponse(URL, body=b" " * LOOKED_AT + (TAG % "refresh").encode(), encoding="utf-8"),
        HtmlResponse(URL, body=b"", encoding="utf-8"),
        TextResponse(URL, body=(TAG % "refresh").encode(), encoding="utf-8"),
        Response(URL, body=(TAG % "refresh").encode()),
    ],
)
def test_other_pages_stay(middleware: MetaRefreshMiddleware, page: Response) -> None:
    assert middleware.process_response(Request(URL), page) is page

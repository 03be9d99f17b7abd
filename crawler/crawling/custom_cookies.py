"""Cookies belong to a request, never to a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.exceptions import NotConfigured
from scrapy.utils.httpobj import urlparse_cached

from crawling.held_lease import current_lease
from crawling.request_record import domain_or_none
from crawling.service.cookies import cookie_header, parse_cookies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy import Request
    from scrapy.crawler import Crawler


class CustomCookiesMiddleware:
    """Sends a request's own cookies and its crawl's, and keeps none from responses.

    Neither leaves the registered domain it was meant for: that of the request as it was
    asked for, and those of the crawl's seeds.
    """

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> CustomCookiesMiddleware:
        if not crawler.settings.getbool("COOKIES_ENABLED"):
            raise NotConfigured
        return cls()

    def process_request(self, request: Request) -> None:
        if request.meta.get("dont_merge_cookies"):
            return
        header = request.headers.get("Cookie") or b""
        cookies = {
            **_crawl_cookies(request),
            **parse_cookies(header.decode("utf-8", "replace")),
            **_own_cookies(request),
        }
        if cookies:
            request.headers["Cookie"] = cookie_header(cookies)


def _crawl_cookies(request: Request) -> dict[str, str]:
    """Return the crawl's cookies where they may go; `cookies.bound_to_seeds` says where."""
    text, lease = request.meta.get("cookie"), current_lease()
    if not text or lease is None:
        return {}
    domains = request.meta.get("cookie_domains")
    if domains is None:
        domains = [domain_or_none(_asked_for(request))] if lease.depth == 0 else []
    return parse_cookies(text) if domain_or_none(request.url) in domains else {}


def _own_cookies(request: Request) -> dict[str, str]:
    if not request.cookies:
        return {}
    if domain_or_none(_asked_for(request)) != domain_or_none(request.url):
        return {}
    if isinstance(request.cookies, dict):
        return {_text(name): _text(value) for name, value in request.cookies.items()}
    host = urlparse_cached(request).hostname or ""
    return {
        _text(cookie["name"]): _text(cookie["value"])
        for cookie in request.cookies
        if _goes_to(cookie, host)
    }


def _asked_for(request: Request) -> str:
    """Return the URL that *request* had before any redirect."""
    url: str = request.meta.get("redirect_urls", [request.url])[0]
    return url


def _goes_to(cookie: Mapping[str, Any], host: str) -> bool:
    domain = _text(cookie.get("domain") or "").removeprefix(".").lower()
    return not domain or host == domain or host.endswith(f".{domain}")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

"""Redirects that leave the web."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from crawling.exceptions import RequestError
from crawling.outcomes import Dropped

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RedirectGuardMiddleware:
    """Drops what redirects to `file:` or any other scheme that is not fetched.

    Scrapy's middleware comes later: it would hand some of them to the spider as pages, and
    take others for the spider's errors.
    """

    def process_response(self, request: Request, response: Response) -> Response:
        location = response.headers.get("Location")
        if location is None or response.status not in REDIRECTS or _is_wanted(request):
            return response
        target = location.decode("latin-1")
        if _scheme(request.url, target) not in {"http", "https"}:
            raise Dropped("scheme", f"redirect to {target}")
        return response


def _is_wanted(request: Request) -> bool:
    """Whether the spider asked for redirects themselves."""
    keys = ("dont_redirect", "handle_httpstatus_list", "handle_httpstatus_all")
    return any(request.meta.get(key) for key in keys)


def _scheme(base: str, target: str) -> str:
    try:
        parts = urlsplit(urljoin(base, target))
        _ = parts.port
    except ValueError as error:
        raise RequestError("bad_response", f"redirect to {target}: {error}") from error
    return parts.scheme

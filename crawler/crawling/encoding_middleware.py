"""Pages that name as their encoding what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.http import TextResponse

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response


class EncodingMiddleware:
    """Reads a page as UTF-8 when it names a codec that is not for text, such as `idna`.

    Python has it, so Scrapy takes it, and every use of `response.text` raises: first in
    Scrapy's own middlewares, and the page would be lost.
    """

    def process_response(self, request: Request, response: Response) -> Response:
        if isinstance(response, TextResponse) and response.body and not _text(response):
            return response.replace(encoding="utf-8")
        return response


def _text(response: TextResponse) -> str:
    """Return the text, which the response keeps: decoding is not done twice."""
    try:
        return response.text
    except (LookupError, UnicodeError):
        return ""

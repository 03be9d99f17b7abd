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
        if isinstance(response, TextResponse):
            try:
                # Kept by the response: decoding is not done twice.
                _ = response.text
            except (LookupError, UnicodeError):
                return response.replace(encoding="utf-8")
        return response

"""The dashboard: static files that ask the API, and what a browser lets them do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.staticfiles import StaticFiles

if TYPE_CHECKING:
    from fastapi import Response

STATIC = Path(__file__).parent / "static"

HEADERS = {
    # URLs and names of a crawl are hostile: no script but the files', and nobody to tell.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    # Else a browser may join files of two versions.
    "Cache-Control": "no-cache",
}


class Dashboard(StaticFiles):
    def __init__(self) -> None:
        super().__init__(directory=STATIC, html=True)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response

"""Pages to save."""

from __future__ import annotations

from typing import Any

from crawling.messages.page import Page


def make_page(number: int = 0, **fields: Any) -> Page:
    """Return a page of its own for each *number*; *fields* replace the usual ones."""
    url = f"http://example.com/page/{number}"
    usual: dict[str, Any] = {
        "requestid": f"{number:032x}",
        "appid": "app",
        "crawlid": "crawl",
        "spiderid": "link",
        "url": url,
        "requested_url": url,
        "response_url": url,
        "status_code": 200,
        "status_msg": "OK",
        "body": f"<html>page {number}</html>".encode() * (1 + number % 50),
        "timestamp": "2026-11-21T08:41:43.650984",
        "encoding": "utf-8",
        "request_headers": {"User-Agent": ["test"]},
        "response_headers": {"Content-Type": ["text/html; charset=utf-8"]},
    }
    return Page(**{**usual, **fields})

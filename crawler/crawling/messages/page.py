"""A fetched page, as savers and Kafka get it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Page:
    """One page: a complete response, with the metadata of its crawl.

    *body* is the bytes after Content-Encoding was undone.  Headers map a name to all its
    values.  *timestamp* is when the response was complete, in ISO 8601, UTC, naive.
    *elapsed* is seconds from the request to the beginning of the answer.  *requestid* is
    the same for every delivery of the same request.
    """

    requestid: str
    appid: str
    crawlid: str
    spiderid: str
    url: str
    requested_url: str
    response_url: str
    status_code: int
    status_msg: str
    body: bytes
    timestamp: str
    encoding: str | None = None
    request_headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    response_headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    links: Sequence[Mapping[str, str]] = ()
    attrs: Mapping[str, Any] | None = None
    redirects: Sequence[str] = ()
    depth: int = 0
    retry_count: int = 0
    elapsed: float = 0.0

    def to_json(self, *, base64: bool = False) -> dict[str, Any]:
        """Return the page message: Scrapy Cluster's 13 keys, and ours.

        The body is text where it decodes without loss, else base64; `body_encoding` says
        which it is.
        """
        text = None if base64 else self.text()
        return {
            **self.metadata(),
            "body": b64encode(self.body).decode("ascii") if text is None else text,
            "body_encoding": "base64" if text is None else "text",
        }

    def metadata(self) -> dict[str, Any]:
        """Return the page message without the body."""
        return {
            "appid": self.appid,
            "attrs": self.attrs,
            "crawlid": self.crawlid,
            "depth": self.depth,
            "elapsed": self.elapsed,
            "encoding": self.encoding,
            "links": list(self.links),
            "redirects": list(self.redirects),
            "request_headers": self.request_headers,
            "requested_url": self.requested_url,
            "requestid": self.requestid,
            "response_headers": self.response_headers,
            "response_url": self.response_url,
            "retry_count": self.retry_count,
            "spiderid": self.spiderid,
            "status_code": self.status_code,
            "status_msg": self.status_msg,
            "timestamp": self.timestamp,
            "url": self.url,
        }

    def text(self) -> str | None:
        """Return the body as text, or None where decoding would lose something."""
        if self.encoding is None:
            return None
        try:
            text = self.body.decode(self.encoding)
            lossless = text.encode(self.encoding) == self.body
        except (UnicodeError, LookupError):
            return None
        return text if lossless else None

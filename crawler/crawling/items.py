"""What spiders yield for every page."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from scrapy import Field, Item

from crawling.messages.page import Page

#: Fields of the item that `Page` has under the same name and type.
_SHARED = (
    "requestid appid crawlid spiderid url response_url status_msg timestamp encoding "
    "request_headers response_headers links attrs redirects depth retry_count elapsed"
).split()


def _exported(body: bytes | str) -> str:
    """Return *body* for a feed export, which cannot hold bytes."""
    return body if isinstance(body, str) else b64encode(body).decode("ascii")


class RawResponseItem(Item):
    """A response as it came, with the metadata of its crawl.

    A project may subclass it; fields that are not listed here stay out of the page.  In
    Scrapy's feed exports the body is base64.
    """

    appid = Field()
    crawlid = Field()
    spiderid = Field()
    requestid = Field()
    url = Field()
    requested_url = Field()
    response_url = Field()
    redirects = Field()
    status_code = Field()
    status_msg = Field()
    request_headers = Field()
    response_headers = Field()
    body = Field(serializer=_exported)
    body_encoding = Field()
    encoding = Field()
    links = Field()
    attrs = Field()
    depth = Field()
    retry_count = Field()
    elapsed = Field()
    timestamp = Field()
    success = Field()
    exception = Field()

    def __repr__(self) -> str:
        """Say how long the body is, and leave the headers out: Scrapy logs items."""
        shown = {**self, "body": f"<{len(self.get('body') or b'')} bytes>"}
        shown = {name: value for name, value in shown.items() if not name.endswith("_headers")}
        return f"{type(self).__name__}({shown})"


def page_of(item: RawResponseItem) -> Page:
    """Return the page that *item* describes."""
    url = item["url"]
    given: dict[str, Any] = {"appid": "", "crawlid": "", "spiderid": "", "response_url": url}
    given |= {"requestid": "", "status_msg": "", "timestamp": ""}
    given |= {name: item[name] for name in _SHARED if item.get(name) is not None}
    return Page(
        **given,
        requested_url=item.get("requested_url") or url,
        status_code=int(item["status_code"]),
        body=_body(item),
    )


def _body(item: RawResponseItem) -> bytes:
    """Return the bytes, also where a spider put the decoded text into its item."""
    body = item.get("body") or b""
    if isinstance(body, str):
        return body.encode(item.get("encoding") or "utf-8")
    return bytes(body)

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
#: What a page has where a spider did not say.
_EMPTY: dict[str, Any] = dict.fromkeys(
    "requestid appid crawlid spiderid status_msg timestamp".split(), ""
)


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
    # Past `Item.get`, which takes ten times as long.
    values = item._values
    url = values["url"]
    given = {**_EMPTY, "response_url": url}
    for name in _SHARED:
        value = values.get(name)
        if value is not None:
            given[name] = value
    return Page(
        **given,
        requested_url=values.get("requested_url") or url,
        status_code=int(values["status_code"]),
        body=_body(item),
    )


def _body(item: RawResponseItem) -> bytes:
    """Return the bytes, also where a spider put the decoded text into its item."""
    body = item.get("body") or b""
    if isinstance(body, str):
        return body.encode(item.get("encoding") or "utf-8")
    return bytes(body)

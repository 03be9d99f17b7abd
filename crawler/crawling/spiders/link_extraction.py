"""Link extraction from markup as broken as the web has it.

`markup` finds the tags; here their URLs are joined, the common forms without parsing them.
"""

from __future__ import annotations

import logging
import re
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from scrapy.http import HtmlResponse, TextResponse, XmlResponse
from w3lib.url import safe_url_string

from crawling.service.patterns import MAX_LINKS
from crawling.spiders.markup import anchors
from crawling.tracker.urls import PLAIN_PORT

if TYPE_CHECKING:
    from scrapy.http import Response

logger = logging.getLogger(__name__)

#: Characters of one page that are looked at.
MAX_MARKUP = 10_000_000

#: Schemes that name no document which could be fetched: not links.
NOT_LINKS = frozenset(
    "about blob callto cid data facetime fax geo javascript mailto mid "
    "skype sms tel urn vbscript viber view-source whatsapp xmpp".split()
)

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*):")
_SPACE_AROUND = "".join(map(chr, range(33)))
_SPACE_INSIDE = re.compile(r"[\t\n\r]+")

_SAFE = r"A-Za-z0-9_~!$&()*+,=@%/.\-"
#: What `safe_url_string` leaves alone and `urljoin` only appends to.
_PLAIN = re.compile(
    rf"(?P<absolute>https?://[a-z0-9.\-]+{PLAIN_PORT}(?:/[{_SAFE}:]*(?:\?[{_SAFE}:?]+)?)?)"
    rf"|(?P<root>/(?!/)[{_SAFE}:]*(?:\?[{_SAFE}:?]+)?)"
    rf"|(?P<page>\?[{_SAFE}:?]+)"
    rf"|(?P<folder>(?!/)[{_SAFE}]+(?:\?[{_SAFE}:?]+)?)"
)


def extract_links(response: Response) -> dict[str, str]:
    """Return the absolute URLs that a page links to, each once, with the link's text.

    In order of appearance and without fragments; links to the page itself (`#top`) and to
    what is no document (`mailto:`) are left out, but `file:` and the like are returned.
    Whatever the body is, this does not fail: a page without markup has no links.
    """
    if not _is_markup(response):
        return {}
    text = text_of(response)
    if len(text) > MAX_MARKUP:
        _warn("Page is too long, links are read from its beginning", response)
    found = list(islice(anchors(text[:MAX_MARKUP].replace("\0", "")), MAX_LINKS))
    if len(found) == MAX_LINKS:
        _warn("Page has too many links, the rest is left out", response)
    bases = (href for tag, href, _ in found if tag == "base")
    base = Base(response.url, encoding_of(response), next(bases, None))
    links: dict[str, str] = {}
    for tag, href, words in found:
        if tag != "base":
            url = base.join(href)
            if url is not None and url not in links:
                links[url] = words
    return links


def text_of(response: Response) -> str:
    """Return the body as text, also where the declared encoding is none; "" for an image."""
    if not isinstance(response, TextResponse):
        return ""
    try:
        text = response.text
    except (LookupError, UnicodeError):
        text = ""
    # Since Python 3.13 the punycode codec makes nothing of what it cannot read.
    return text or response.body.decode("utf-8", "replace")


def encoding_of(response: Response) -> str | None:
    """Return the encoding of a text, None where there is none or the page names nonsense."""
    if not isinstance(response, TextResponse):
        return None
    try:
        return response.encoding
    except (LookupError, UnicodeError):
        return None


class Base:
    """What the links of one page are relative to."""

    def __init__(self, url: str, encoding: str | None = None, href: str | None = None) -> None:
        self.url = url
        # Of a query; browsers take UTF-8 for all of Unicode's encodings.
        self.encoding = encoding if encoding and not encoding.startswith("utf") else "utf-8"
        if href is not None:
            # Browsers ignore a base that is no place on the web.
            joined = self._join(_stripped(href))
            if joined is not None and joined.startswith(("http://", "https://")):
                self.url = joined
        page = self.url.partition("#")[0].partition("?")[0]
        if page.count("/") < 3:
            page += "/"
        self._prefixes = {
            "absolute": "",
            "root": "/".join(page.split("/", 3)[:3]),
            "page": page,
            "folder": urljoin(page, ".") if "/." in page else page.rpartition("/")[0] + "/",
        }

    def join(self, href: str) -> str | None:
        """Return the absolute URL without fragment, None for what is no link."""
        plain = _PLAIN.fullmatch(href) or _PLAIN.fullmatch(href := _stripped(href))
        if plain and not ("/." in href or href[0] == "."):
            return self._prefixes[plain.lastgroup or ""] + href
        scheme = _SCHEME.match(href)
        if not href or (scheme and scheme[1].lower() in NOT_LINKS):
            return None
        return self._join(href)

    def _join(self, href: str) -> str | None:
        try:
            url = urljoin(self.url, href)
            try:
                return safe_url_string(url, encoding=self.encoding)
            except (LookupError, UnicodeError):
                return safe_url_string(url)
        except ValueError:
            return None


def _stripped(href: str) -> str:
    """Return *href* without its fragment, and without the space that browsers take out."""
    return _SPACE_INSIDE.sub("", href.strip(_SPACE_AROUND)).partition("#")[0]


def _is_markup(response: Response) -> bool:
    """Say whether a browser would look for tags; without a type it would guess."""
    if isinstance(response, HtmlResponse | XmlResponse):
        return True
    return isinstance(response, TextResponse) and not response.headers.get("Content-Type")


def _warn(message: str, response: Response) -> None:
    logger.warning(message, extra={"action": "extract_links", "url": response.url})

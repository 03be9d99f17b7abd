"""Link extraction from markup as broken as the web has it.

The parser is Scrapy's (lxml); what is around it makes a hostile page cost seconds and
megabytes at most, and joins the common forms of URLs without parsing them.
"""

from __future__ import annotations

import logging
import re
from itertools import islice
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import urljoin, urlsplit

from lxml import etree
from scrapy.http import HtmlResponse, TextResponse, XmlResponse
from w3lib.url import safe_url_string

from crawling.links import MAX_LINKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scrapy.http import Response

logger = logging.getLogger(__name__)

#: Characters of one page that are parsed: a tree takes some 20 times the memory.
MAX_MARKUP = 10_000_000
#: Characters of a link's text that are kept, and tags inside the link that are visited:
#: nested links (`<a><div><a>…`) would otherwise repeat the page at every level.
MAX_TEXT = 2000
MAX_TEXT_TAGS = 200
#: Characters of one tag, script or comment in a large page.  libxml2 compares each
#: attribute with all others: 100,000 of them in one tag take 9 s.
MAX_TAG = 8192
LARGE = 65_536

#: Schemes that name no document which could be fetched: not links.
NOT_LINKS = frozenset(
    "about blob callto cid data facetime fax geo javascript mailto mid "
    "skype sms tel urn vbscript viber view-source whatsapp xmpp".split()
)

# Matches whatever comes, so that the scan is linear: what is left open ends with the page.
_TAG = re.compile(
    r"<script\b.*?(?:</script[^>]*>?|\Z)"
    r"|<style\b.*?(?:</style[^>]*>?|\Z)"
    r"|<!--.*?(?:-->|\Z)"
    r"|<[a-z](?:[^=>]+|=\s*(?:\"[^\"]*\"?|'[^']*'?)?)*>?",
    re.DOTALL | re.IGNORECASE,
)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*):")
_SPACE_AROUND = "".join(map(chr, range(33)))
_SPACE_INSIDE = re.compile(r"[\t\n\r]+")

_SAFE = r"A-Za-z0-9_~!$&()*+,=@%/.\-"
#: What `safe_url_string` leaves alone and `urljoin` only appends to.
_PLAIN = re.compile(
    rf"(?P<absolute>https?://[a-z0-9.\-]+(?::[1-9][0-9]{{0,3}})?(?:/[{_SAFE}:]*(?:\?[{_SAFE}:?]+)?)?)"
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
    root = _parse(text_of(response))
    if root is None:
        return {}
    elements = list(islice(root.iter("base", "a", "area"), MAX_LINKS))
    if len(elements) == MAX_LINKS:
        logger.warning("Page has too many links", extra={"action": "extract_links"})
    base = Base(response.url, response.encoding, _base_href(elements))
    links: dict[str, str] = {}
    for element in elements:
        href = element.get("href")
        if href is not None and element.tag != "base":
            url = base.join(href)
            if url is not None and url not in links:
                links[url] = _text(element)
    return links


def text_of(response: Response) -> str:
    """Return the body as text, also where the declared encoding is none; "" for an image."""
    if not isinstance(response, TextResponse):
        return ""
    try:
        return response.text
    except (LookupError, UnicodeError):
        return response.body.decode("utf-8", "replace")


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
        self.encoding = encoding or "utf-8"
        if href is not None:
            # Browsers ignore a base that is no place on the web.
            joined = self._join(href.partition("#")[0])
            if joined is not None and joined.startswith(("http://", "https://")):
                self.url = joined
        parts = urlsplit(self.url)
        self._page = self.url.partition("#")[0].partition("?")[0]
        self._prefixes = {
            "absolute": "",
            "root": f"{parts.scheme}://{parts.netloc}",
            "page": self._page,
            "folder": self._folder(),
        }

    def join(self, href: str) -> str | None:
        """Return the absolute URL without fragment, None for what is no link."""
        href = _SPACE_INSIDE.sub("", href.strip(_SPACE_AROUND)).partition("#")[0]
        plain = _PLAIN.fullmatch(href)
        if plain and not (href.startswith(".") or "/." in href):
            return self._prefixes[plain.lastgroup or ""] + href
        scheme = _SCHEME.match(href)
        if not href or (scheme and scheme[1].lower() in NOT_LINKS):
            return None
        return self._join(href)

    def _folder(self) -> str:
        if self._page.count("/") < 3:
            return f"{self._page}/"
        return (
            urljoin(self._page, ".")
            if "/." in self._page
            else self._page.rpartition("/")[0] + "/"
        )

    def _join(self, href: str) -> str | None:
        try:
            url = urljoin(self.url, href)
            try:
                return safe_url_string(url, encoding=self.encoding)
            except (LookupError, UnicodeError):
                return safe_url_string(url)
        except ValueError:
            return None


def _is_markup(response: Response) -> TypeGuard[TextResponse]:
    """Say whether a browser would look for tags; without a type it would guess."""
    if isinstance(response, HtmlResponse | XmlResponse):
        return True
    return isinstance(response, TextResponse) and not response.headers.get("Content-Type")


def _parse(text: str) -> etree._Element | None:
    text = text[:MAX_MARKUP].replace("\0", "")
    if len(text) > LARGE:
        text = _TAG.sub(lambda tag: tag[0] if len(tag[0]) <= MAX_TAG else "", text)
    parser = etree.HTMLParser(
        encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        return None


def _base_href(elements: Iterable[etree._Element]) -> str | None:
    """Return the first base with an href, as browsers do."""
    hrefs = (element.get("href") for element in elements if element.tag == "base")
    return next((href for href in hrefs if href is not None), None)


def _text(element: etree._Element) -> str:
    if not len(element):
        return (element.text or "")[:MAX_TEXT]
    return "".join(_strings(element))[:MAX_TEXT]


def _strings(element: etree._Element) -> Iterator[str]:
    yield element.text or ""
    walk = islice(etree.iterwalk(element, events=("start", "end")), 1, MAX_TEXT_TAGS)
    for event, child in walk:
        if child is element:
            return
        yield (child.text if event == "start" else child.tail) or ""

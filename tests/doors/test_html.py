"""HTML and robots.txt: whatever they are, links and rules are read from them or there are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import Request
from scrapy.http import HtmlResponse
from scrapy.robotstxt import ProtegoRobotParser
from scrapy.utils.test import get_crawler

from crawling.exceptions import RequestError
from crawling.robots_middleware import Rules
from crawling.spiders.link_extraction import extract_links
from crawling.tracker.urls import check_url
from tests.doors.cases import cases, texts
from tests.doors.urls import anything

URL = "http://example.com/folder/page?q=1"
#: The inputs of html5lib-tests (MIT licence), tree-construction.
HTML5LIB: list[str] = json.loads(
    gzip.decompress((Path(__file__).parent / "html5lib.json.gz").read_bytes())
)
ENCODINGS = ["utf-8", "latin-1", "utf-16", "utf-7", "shift_jis", "gb18030", "nonsense", "idna"]

tags = st.sampled_from(
    "a A area base link meta title script style svg math table td p b i div frameset noscript "
    "template plaintext textarea select option iframe html head body".split()
)
attributes = st.sampled_from(
    ["href", "HREF", "href=", "name", "content", "http-equiv", "charset", "xml:base", "'", '"']
)
pieces = st.one_of(
    st.builds("<{}>".format, tags),
    st.builds("</{}>".format, tags),
    st.builds("<{} {}='{}'>".format, tags, attributes, anything),
    st.builds('<{} {}="{}">'.format, tags, attributes, texts),
    st.builds("<a href={}>".format, anything),
    st.builds("&{};".format, texts),
    st.builds("<!--{}".format, texts),
    st.builds("<![CDATA[{}]]>".format, texts),
    st.builds("<?{}?>".format, texts),
    st.sampled_from(
        ["<", ">", "</", "<!", "<a", "\0", "\x0c", "]]>", "-->", "<!doctype html>"]
    ),
    texts,
)
documents = st.lists(pieces, max_size=30).map("".join) | st.sampled_from(HTML5LIB)


def links_of(body: bytes, encoding: str | None = None) -> dict[str, str]:
    kind = f"text/html; charset={encoding}" if encoding else "text/html"
    return extract_links(HtmlResponse(URL, body=body, headers={"Content-Type": kind}))


def check(links: dict[str, str]) -> None:
    for url, text in links.items():
        assert "#" not in url
        assert url.isascii() or is_refused(url)
        assert isinstance(text, str)


def is_refused(url: str) -> bool:
    """Whether *url* can never be fetched: its host is no name."""
    try:
        check_url(url)
    except RequestError:
        return True
    return False


@cases()
@given(documents, st.sampled_from([*ENCODINGS, None]))
def test_any_tag_soup_has_links_or_none(document: str, encoding: str | None) -> None:
    try:
        body = document.encode(encoding or "utf-8")
    except (LookupError, UnicodeError):
        body = document.encode("utf-8", "surrogatepass")
    check(links_of(body, encoding))


@cases()
@given(st.binary(max_size=400), st.sampled_from([*ENCODINGS, None]))
def test_any_bytes_have_links_or_none(body: bytes, encoding: str | None) -> None:
    check(links_of(body, encoding))


@pytest.mark.parametrize("part", range(10))
def test_each_input_of_html5lib_has_links_or_none(part: int) -> None:
    for document in HTML5LIB[part::10]:
        check(links_of(document.encode("utf-8", "replace")))


CRAWLER = get_crawler()
lines = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        [
            "User-agent",
            "user-AGENT ",
            "Disallow",
            "Allow",
            "Crawl-delay",
            "Sitemap",
            "Noindex",
            "",
        ]
    ),
    st.sampled_from([":", ": ", "", " :", "::"]),
    anything | st.sampled_from(["*", "/*", "/$", "*$*", "/%2f", "/é", "fleet", "0.0001", "-1"]),
)
robots = st.lists(lines, max_size=20).map("\n".join) | texts
#: URLs as requests have them, which Scrapy made ASCII.
requested = anything.map(
    lambda text: Request(f"http://example.com/{text.encode(errors='replace').decode()}").url
)


@cases()
@given(robots, requested, texts)
def test_any_robots_txt_allows_a_url_or_not(text: str, url: str, agent: str) -> None:
    body = text.encode("utf-8", "surrogatepass")
    rules = Rules(ProtegoRobotParser.from_crawler(CRAWLER, body))
    assert rules.allow(url, agent) in {True, False}


@cases()
@given(st.binary(max_size=600), requested)
def test_any_bytes_as_robots_txt_allow_a_url_or_not(body: bytes, url: str) -> None:
    rules = Rules(ProtegoRobotParser.from_crawler(CRAWLER, body))
    assert rules.allow(url, "fleet") in {True, False}

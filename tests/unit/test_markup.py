"""Links from tags alone are those of a parser that builds the tree of the HTML standard."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scrapy.http import HtmlResponse
from scrapy.linkextractors import LinkExtractor
from selectolax.lexbor import LexborHTMLParser
from w3lib.url import canonicalize_url

from crawling.spiders.link_extraction import extract_links
from crawling.spiders.markup import anchors
from tests.made_pages import made_page

if TYPE_CHECKING:
    from collections.abc import Callable

HTML5LIB = Path(__file__).parents[1] / "doors" / "html5lib.json.gz"
URL = "http://www.example.com/dir/page.html"


def lexbor(page: str) -> set[str]:
    tags = LexborHTMLParser(page).css("a[href], area[href], base[href]")
    return {tag.attributes["href"] or "" for tag in tags}


def hrefs(page: str) -> set[str]:
    return {href for _, href, _ in anchors(page)}


@pytest.mark.parametrize("part", range(10))
def test_the_links_of_broken_pages_are_those_that_lexbor_finds(part: int) -> None:
    for seed in range(part, 1000, 10):
        page = made_page(seed, broken=True)
        assert hrefs(page) == lexbor(page), page


def test_the_links_of_all_inputs_of_html5lib_are_those_that_lexbor_finds() -> None:
    for page in json.loads(gzip.decompress(HTML5LIB.read_bytes())):
        text = page.replace("\0", "")
        assert hrefs(text) == lexbor(text), text


@pytest.mark.parametrize("part", range(10))
def test_the_links_of_pages_as_sites_have_them_are_those_that_scrapy_finds(part: int) -> None:
    for seed in range(part, 300, 10):
        response = HtmlResponse(URL, body=made_page(seed).encode(), encoding="utf-8")
        theirs = LinkExtractor(deny_extensions=[]).extract_links(response)

        ours = {canonicalize_url(url) for url in extract_links(response)}

        # "#top" leads to the page itself: Scrapy takes it for a link.
        found = {canonicalize_url(link.url) for link in theirs}
        assert found - ours <= {URL}
        assert ours <= found


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<a href=x>one</a> two", "one"),
        ("<a href=x>a <b>bold</b> word<!-- no --><br></a>", "a bold word"),
        ("<a href=x>R&amp;D &copy 1 &notit;</a>", "R&D © 1 ¬it;"),
        ("<a href=x>one<script>no()</script> two</a>", "one two"),
        ("<a href=x><img alt='a > b'></a>", ""),
        ("<a href=x>one<a>two</a>", "one"),
        ("<a href=x>one<p>two", "onetwo"),
        ('<a class="c" href="x">one</A ><a>two</a>', "one"),
        ("<a href=x>" + "y" * 5000 + "</a>", "y" * 2000),
        ("<a href=x>" + "<b>" * 100_000 + "y</a>", ""),
    ],
)
def test_the_text_of_a_link_is_what_is_shown_between_its_tags(page: str, text: str) -> None:
    assert list(anchors(page)) == [("a", "x", text)]


#: Pages of which some parser needs time that grows with the square of their length.
HOSTILE: dict[str, Callable[[int], str]] = {
    "nested tags": lambda n: "<div>" * n + "<p>" * n,
    "open formatting": lambda n: "".join(f"<b id={i}>" for i in range(n)) + "<p>x</p>" * n,
    "attributes": lambda n: "<a " + " ".join(f"a{i}=1" for i in range(n)) + ">",
    "hrefs": lambda n: "<a" + ' href="x"' * n,
    "hrefs and open quotes": lambda n: "<a" + ' href="x" b="c' * n,
    "space": lambda n: "<a " + " " * 10 * n,
    "links without end": lambda n: '<a href="x">' * n,
    "text without end": lambda n: '<a href="x">' + "y" * 10 * n + '<a href="x">y' * n,
    "comments without end": lambda n: "<!-- " * n,
    "scripts without end": lambda n: "<script>" * n,
    "tags without end": lambda n: "<" * n + "<x <x" * n,
    "equals": lambda n: "<a " + "=" * 10 * n + ">",
    "references": lambda n: '<a href="' + "&amp" * n + '">' + "&" * n,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_length_of_a_page_and_not_with_its_square(name: str) -> None:
    def seconds(n: int) -> float:
        page, started = HOSTILE[name](n), time.process_time()
        list(anchors(page))
        return time.process_time() - started

    small = max(min(seconds(10_000) for _ in range(3)), 0.005)
    assert min(seconds(80_000) for _ in range(3)) < 8 * 4 * small

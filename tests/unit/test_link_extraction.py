from __future__ import annotations

import logging
import random
import time
import tracemalloc
from pathlib import Path
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy.http import HtmlResponse, JsonResponse, Response, TextResponse, XmlResponse
from scrapy.linkextractors import LinkExtractor
from w3lib.url import canonicalize_url, safe_url_string

from crawling.service.patterns import MAX_LINKS
from crawling.spiders import link_extraction, markup
from crawling.spiders.link_extraction import Base, encoding_of, extract_links, text_of

PAGES = sorted(Path(__file__).parents[1].joinpath("corpus", "pages").iterdir())
URL = "http://www.example.com/dir/page.html?q#f"
#: Page of the corpus -> (links that only we find, links that only Scrapy finds).
KNOWN_DIFFERENCES = {
    # Scrapy looks for <base> in the first 4096 bytes.
    "base_late.html": (
        {"http://www.example.com/late/x"},
        {"http://www.example.com/dir/x"},
    ),
    # "base64" is a codec, but not of text: Scrapy raises LookupError.
    "codec_charset.html": ({"http://www.example.com/x"}, set()),
    # The page's encoding lacks a character of the query: browsers do not drop the link.
    "entities.html": (
        {"http://www.example.com/g?a=1%EF%BF%BD%EF%BF%BD&bogus%3B="},
        set(),
    ),
    # "", "#" and "#top" lead to the page itself.
    "not_links.html": (set(), {"http://www.example.com/dir/page.html?q="}),
    "unclosed.html": (set(), {"http://www.example.com/dir/page.html?q="}),
    # "c//d": browsers keep empty segments of relative paths, urljoin drops them.
    "paths.html": ({"http://www.example.com/dir/c//d"}, {"http://www.example.com/dir/c/d"}),
    # libxml2 stops with the first document; browsers go on, and take its <base>.
    "two_documents.html": (
        {"http://www.example.com/2", "http://www.example.com/ignored-if-late/3"},
        set(),
    ),
    # Browsers encode the queries of UTF-16 pages in UTF-8.
    "utf16.html": (
        {"http://www.example.com/sixteen?%C3%A9="},
        {"http://www.example.com/sixteen?%E9%00="},
    ),
}


def html(body: str | bytes, content_type: str = "text/html; charset=utf-8") -> HtmlResponse:
    raw = body.encode() if isinstance(body, str) else body
    return HtmlResponse(URL, body=raw, headers={"Content-Type": content_type})


def links(body: str | bytes) -> list[str]:
    return list(extract_links(html(body)))


def on_the_web(urls: list[str]) -> set[str]:
    return {canonicalize_url(url) for url in urls if url.startswith(("http://", "https://"))}


def scrapy_links(response: HtmlResponse) -> list[str]:
    try:
        return [link.url for link in LinkExtractor(deny_extensions=[]).extract_links(response)]
    except LookupError:
        return []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_are_those_that_scrapy_finds(page: Path) -> None:
    response = html(page.read_bytes(), "text/html")

    ours, theirs = on_the_web(list(extract_links(response))), on_the_web(scrapy_links(response))

    differences = KNOWN_DIFFERENCES.get(page.name, (set(), set()))
    assert (ours - theirs, theirs - ours) == differences


def test_links_come_in_order_each_once_with_the_text_of_the_first() -> None:
    page = "<a href=/b> B <i>b</i>!</a><a href=/a>A</a><a href=/b#x>again</a>"

    assert extract_links(html(page)) == {
        "http://www.example.com/b": " B b!",
        "http://www.example.com/a": "A",
    }


def test_what_names_no_document_is_no_link() -> None:
    page = Path(__file__).parents[1].joinpath("corpus", "pages", "not_links.html")

    assert links(page.read_bytes()) == [
        "file:///etc/passwd",
        "ftp://ftp.example.com/x",
        "http://www.example.com/real",
        "localhost:8080/x",
    ]


def test_space_around_and_newlines_inside_an_href_are_taken_out_as_browsers_do() -> None:
    page = "<a href=' \n/a\nb\t '>1</a><a href='java\nscript:x()'>2</a><a href='/c d'>3</a>"

    assert links(page) == ["http://www.example.com/ab", "http://www.example.com/c%20d"]


def test_links_that_say_nofollow_are_links() -> None:
    assert links("<a rel=nofollow href=/x>x</a>") == ["http://www.example.com/x"]


def test_a_link_that_is_no_url_is_left_out_and_the_others_are_found() -> None:
    page = "<a href='http://[bad/'>1</a><a href='http://h:port/'>2</a><a href=/good>3</a>"

    assert links(page) == ["http://www.example.com/good"]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("/other/", "http://www.example.com/other/x"),
        (" //h.example.org/y/z ", "http://h.example.org/y/x"),
        ("http://h.example.org", "http://h.example.org/x"),
        ("http://h.example.org?q", "http://h.example.org/x"),
        ("/a/../b/./c/d", "http://www.example.com/b/c/x"),
        ("javascript:void(0)", "http://www.example.com/dir/x"),
        ("data:text/plain,x", "http://www.example.com/dir/x"),
        ("http://[bad/", "http://www.example.com/dir/x"),
    ],
)
def test_the_base_of_a_page_counts_where_it_is_a_place_on_the_web(base: str, url: str) -> None:
    assert links(f"<a href=x>before</a><base href='{base}'><base href=/second/>") == [url]


def test_a_query_is_sent_in_the_encoding_of_the_page_and_a_path_in_utf_8() -> None:
    page = "<a href='/é?é'>1</a><a href='/?日'>2</a>"
    response = html(page.encode("latin-1", "xmlcharrefreplace"), "text/html; charset=latin-1")

    assert list(extract_links(response)) == [
        "http://www.example.com/%C3%A9?%E9",
        "http://www.example.com/?%E6%97%A5",
    ]


@pytest.mark.parametrize("codec", ["base64", "hex", "rot13", "idna", "punycode", "undefined"])
def test_a_page_that_names_a_codec_as_its_encoding_has_links(codec: str) -> None:
    body = "<a href='/x'>é</a>".encode()

    for response in (
        html(body, f"text/html; charset={codec}"),
        html(f"<meta charset={codec}>".encode() + body, "text/html"),
    ):
        assert extract_links(response) == {"http://www.example.com/x": "é"}
        assert encoding_of(response) in {codec, "rot-13", None}


@pytest.mark.parametrize("size", [0, 1, 10, 1000, 70_000])
def test_bytes_without_sense_do_no_harm(size: int) -> None:
    noise = random.Random(size)

    for content_type in (
        "text/html",
        "text/html; charset=utf-16",
        "text/html; charset=gb18030",
    ):
        for alphabet in (range(256), b"<>/=\"'a href!-&;#x\0\xff"):
            extract_links(html(bytes(noise.choices(alphabet, k=size)), content_type))


@given(st.text())
def test_no_text_makes_extraction_fail(text: str) -> None:
    extract_links(html(text.encode("utf-8", "surrogatepass")))
    extract_links(
        html(f"<base href='{text}'><a href='{text}'>".encode("utf-8", "surrogatepass"))
    )


@pytest.mark.parametrize(
    "response",
    [
        Response(URL, body=b"\x89PNG<a href=/x>"),
        TextResponse(URL, body=b"<a href=/x>", headers={"Content-Type": "text/plain"}),
        JsonResponse(URL, body=b'"<a href=/x>"', headers={"Content-Type": "application/json"}),
        HtmlResponse(URL, body=b""),
    ],
    ids=["image", "plain text", "JSON", "empty"],
)
def test_what_a_browser_would_not_read_as_markup_has_no_links(response: Response) -> None:
    assert extract_links(response) == {}


@pytest.mark.parametrize(
    "response",
    [
        XmlResponse(URL, body=b"<a href='/x'/>", headers={"Content-Type": "text/xml"}),
        TextResponse(URL, body=b"<p><a href=/x>"),
    ],
    ids=["XML", "no Content-Type"],
)
def test_xml_and_a_page_without_content_type_have_links(response: Response) -> None:
    assert list(extract_links(response)) == ["http://www.example.com/x"]


def test_the_text_of_an_image_is_empty() -> None:
    assert text_of(Response(URL, body=b"\x89PNG")) == ""


DEEP = "".join(f"<a href=/{n}><div>" for n in range(1000))
ATTRIBUTES = "<a href=/0>x</a><p " + " ".join(f"a{n}='>'" for n in range(200_000)) + ">"
HOSTILE = {
    "100,000 nested tags": "<a href=/first>x</a>" + "<div>" * 100_000,
    "nested links around 9 MB of text": DEEP + "x " * 4_500_000,
    "nested links around 2 million tags": DEEP + "<br>" * 2_000_000,
    "200,000 attributes": ATTRIBUTES.replace("'>'", "1"),
    "200,000 attributes with > inside": ATTRIBUTES,
    "a million open quotes": "<a href=/0>x</a>" + "<a href='" * 1_000_000,
    "10 MB of text": "<a href=/0>x</a>" + "x " * 5_000_000,
    "an href of 9 MB": "<a href=/0>x</a><a href='/" + "y" * 9_000_000 + "'>",
    "a data: image of 5 MB": "<a href=/0>x</a><img src='data:" + "y" * 5_000_000 + "'>",
}


@pytest.mark.parametrize("page", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_page_costs_seconds_at_most_and_its_first_link_is_found(page: str) -> None:
    started = time.process_time()

    found = extract_links(html(page))

    assert time.process_time() - started < 10
    assert found
    assert sum(map(len, found.values())) <= markup.MAX_TEXT * len(found)


def test_memory_for_a_hostile_page_is_a_few_times_its_size() -> None:
    response = html(ATTRIBUTES)

    tracemalloc.start()
    extract_links(response)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * len(ATTRIBUTES)


def test_links_beyond_the_limit_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = "".join(f"<a href=/{n}>t</a>" for n in range(120_000))

    with caplog.at_level(logging.WARNING, "crawling.spiders.link_extraction"):
        assert len(links(page)) == MAX_LINKS

    assert "too many links" in caplog.text


def test_markup_beyond_the_limit_is_not_read_and_a_warning_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = "<a href=/first>1</a>" + "x" * link_extraction.MAX_MARKUP + "<a href=/last>2</a>"

    with caplog.at_level(logging.WARNING, "crawling.spiders.link_extraction"):
        assert links(page) == ["http://www.example.com/first"]

    assert "too long" in caplog.text


def test_a_large_page_keeps_its_links_between_long_scripts_and_images() -> None:
    filler = "<script>if (a<b && c>'d') {" + "x" * 10_000 + "}</script><p it's><!-- ' -->"
    image = "<img alt='a > b' src='data:image/png;base64," + "y" * 10_000 + "'>"
    page = "".join(f"{filler}<a href=/{n}>{n}</a>{image}" for n in range(20))

    assert len(page) > 65_536
    assert links(page) == [f"http://www.example.com/{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("/x/./y/../z", "http://www.example.com/x/z"),
        ("x/../y", "http://www.example.com/dir/y"),
        ("../y", "http://www.example.com/y"),
        (".", "http://www.example.com/dir/"),
        ("/.well-known/x", "http://www.example.com/.well-known/x"),
        ("?a=/../b", "http://www.example.com/dir/page.html?a=/../b"),
        ("a:b", "a:b"),
        ("./a:b", "http://www.example.com/dir/a:b"),
    ],
)
def test_dots_and_colons_mean_what_they_mean_to_browsers(href: str, url: str) -> None:
    assert Base(URL).join(href) == url


SEGMENTS = st.text("abcXYZ019.-_~%!$&'()*+,;=:@/? ", max_size=12)
BASES = st.sampled_from(
    [
        "http://www.example.com",
        "http://www.example.com/",
        "https://www.example.com:8080/a/b/c.html?x=1/2",
        "http://www.example.com/a/b/?q#f",
        "http://user:pw@www.example.com/a",
    ]
)


@given(
    base=BASES, prefix=st.sampled_from(["", "/", "?", "http://h.example.org/"]), rest=SEGMENTS
)
def test_urls_are_joined_as_urljoin_and_scrapy_join_them(
    base: str, prefix: str, rest: str
) -> None:
    href = prefix + rest
    joined = Base(base).join(href)
    # Not for us: empty segments (urljoin drops those of relative paths), other schemes.
    if joined is None or "//" in href.removeprefix("http://") or not href.strip():
        return

    try:
        expected = safe_url_string(urljoin(base, href.strip()))
    except ValueError:
        return

    assert canonicalize_url(joined) == canonicalize_url(expected)
    if "?" not in href and base.count("/") > 2:
        assert joined == expected

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawling.exceptions import ConfigError
from crawling.savers.file_names import FileName, owner_of, safe_name, with_suffix
from tests.pages import make_page

HOSTILE = [
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "a/../../b",
    "a/./b/.",
    "..\\..\\windows",
    "C:\\x",
    "C:/x",
    "nul\0byte",
    "new\nline",
    "tab\tand\x7f",
    "right\u202eto left",
    "\ud800surrogate",
    "con",
    "CON.html",
    "aux.tar.gz",
    "COM1",
    "dot.",
    "space ",
    "...",
    ". .",
    ".hidden",
    ".fleet/names.db",
    "",
    "/",
    "   ",
    "x" * 5000,
    "é" * 300,
    "a/" * 3000,
    "x" * 300 + ".html",
    "emoji😀" * 100,
]
HOSTILE_PATHS = [
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/%252e%252e/x",
    "/a%00b",
    "/a%0ab",
    "/%5c..%5c..%5cx",
    "/C:%5cx",
    "/con",
    "/con.html",
    "/%ff%fe",
    "/\u202etxt.exe",
    "/" + "x" * 1900,
    "/" + "x/" * 900,
    "/?" + "../" * 100,
    "/.fleet/names.db",
    "/.%2e/x",
    "//evil/",
    "/;/|/*/<>/\"'",
]


def assert_harmless(name: str) -> None:
    assert name
    assert not name.startswith("/")
    assert name.isprintable()
    assert not set(name) & set('\\:*?"<>|')
    assert len(name.encode()) <= 1000
    for part in name.split("/"):
        assert 0 < len(part.encode()) <= 255
        assert not part.startswith(".")
        assert not part.endswith((".", " "))
        assert not re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", part, re.IGNORECASE)
    assert not PurePosixPath(name).is_absolute()
    assert not PureWindowsPath(name).drive


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_becomes_harmless(name: str) -> None:
    assert_harmless(safe_name(name))


@pytest.mark.parametrize("path", HOSTILE_PATHS)
@pytest.mark.parametrize("host", ["example.com", "..", "[::1]:80", "user:pass@x.org", "[bad"])
def test_a_hostile_url_becomes_a_harmless_name(host: str, path: str) -> None:
    assert_harmless(FileName()(make_page(url=f"http://{host}{path}")))


@given(st.text())
def test_whatever_the_name_it_becomes_harmless(name: str) -> None:
    assert_harmless(safe_name(name))


@given(st.text())
def test_a_harmless_name_stays_as_it_is(name: str) -> None:
    once = safe_name(name)

    assert safe_name(once) == once


# No deadline: the first domain loads the list of public suffixes.
@settings(deadline=None)
@given(st.text(), st.text(), st.text(max_size=40))
def test_whatever_the_url_its_name_is_harmless(host: str, path: str, query: str) -> None:
    page = make_page(url=f"http://{host}/{path}?{query}", requestid=query)

    assert_harmless(FileName()(page))
    assert_harmless(FileName("{domain}/{url}/{requestid}.{ext}")(page))
    assert_harmless(with_suffix(FileName()(page), owner_of(page)))


@given(st.text())
def test_whatever_a_function_returns_the_name_is_harmless(name: str) -> None:
    assert_harmless(FileName(lambda page: name)(make_page()))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://example.com", "example.com/index.html"),
        ("http://example.com/", "example.com/index.html"),
        ("http://example.com/about", "example.com/about.html"),
        ("http://example.com/about/", "example.com/about/index.html"),
        ("http://example.com/a/b.php", "example.com/a/b.php"),
        ("http://Example.com:8080/x.png", "example.com_8080/x.png"),
        ("http://example.com/caf%C3%A9", "example.com/café.html"),
        ("http://example.com/a%2Fb", "example.com/a_b.html"),
        ("http://example.com/?q=1", "example.com/index-7de36096.html"),
        ("http://example.com/s.php?q=1", "example.com/s-7de36096.php"),
        ("http://example.com/v1.2", "example.com/v1.2.html"),
    ],
)
def test_the_default_name_is_what_a_person_expects(url: str, name: str) -> None:
    assert FileName()(make_page(url=url)) == name


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("text/plain", "example.com/x.txt"),
        ("image/jpeg", "example.com/x.jpg"),
        ("application/pdf; q=1", "example.com/x.pdf"),
        ("application/x-nobody-knows", "example.com/x"),
        ("", "example.com/x"),
    ],
)
def test_a_url_without_extension_gets_that_of_its_content_type(
    content_type: str, name: str
) -> None:
    page = make_page(
        url="http://example.com/x", response_headers={"content-type": [content_type]}
    )

    assert FileName()(page) == name


def test_every_field_of_a_scheme_is_filled_in() -> None:
    page = make_page(7, url="https://www.example.co.uk/a/b.html", depth=2)
    scheme = "{spiderid}/{appid}/{crawlid}/{domain}/{host}/{depth}/{status}/{ext}/{timestamp}"

    assert FileName(scheme)(page) == (
        "link/app/crawl/example.co.uk/www.example.co.uk/2/200/html/2026-11-21T08-41-43.650984"
    )
    assert FileName("{sha1:.2}/{requestid:.8}")(page) == "f5/00000000"


def test_only_the_path_brings_folders_into_a_name() -> None:
    page = make_page(crawlid="../../a/b")

    assert FileName("{crawlid}/x")(page) == "___.._a_b/x"


@pytest.mark.parametrize(
    ("scheme", "problem"),
    [
        ("{nonsense}", "no field {nonsense}"),
        ("{path.__class__}", "no field {path.__class__}"),
        ("{}", "no field {}"),
        ("{path", "expected '}'"),
        ("{path:d}", "Unknown format code"),
        ("  ", "must not be empty"),
    ],
)
def test_a_scheme_that_makes_no_sense_is_refused_at_once(scheme: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        FileName(scheme)

from __future__ import annotations

import pytest

from crawling.service.cookies import bound_to_seeds, cookie_header, parse_cookies


@pytest.mark.parametrize(
    ("text", "cookies"),
    [
        ("a=1", {"a": "1"}),
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2;", {"a": "1", "b": "2"}),
        ("Cookie: a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1; Path=/; Domain=example.com; Max-Age=5; HttpOnly; SameSite=Lax", {"a": "1"}),
        ("a=1; expires=Wed, 21 Oct 2015 07:28:00 GMT; secure", {"a": "1"}),
        ("path=kept; a=1", {"path": "kept", "a": "1"}),
        ('token=a=b==; q="x y"', {"token": "a=b==", "q": '"x y"'}),
        ("time=12:30", {"time": "12:30"}),
        ("a=", {"a": ""}),
        ("a=1; a=2", {"a": "2"}),
        ("=1; ; nonsense", {}),
        ("", {}),
    ],
)
def test_cookies_are_told_from_their_attributes(text: str, cookies: dict[str, str]) -> None:
    assert parse_cookies(text) == cookies


def test_what_is_parsed_from_a_header_makes_the_header_again() -> None:
    header = 'a=1; b="x"; c='

    assert cookie_header(parse_cookies(header)) == header


def test_a_crawls_cookie_is_bound_to_the_registered_domains_of_its_seeds() -> None:
    shared = bound_to_seeds(
        {"cookie": "a=1"},
        ["https://www.example.com/x", "http://shop.example.co.uk/", "ftp://c.example/"],
    )

    assert shared == {"cookie": "a=1", "cookie_domains": ["example.co.uk", "example.com"]}


def test_later_seeds_of_a_crawl_add_their_domains() -> None:
    first = bound_to_seeds({"cookie": "a=1"}, ["http://a.com/"])

    assert bound_to_seeds(first, ["http://b.com/"])["cookie_domains"] == ["a.com", "b.com"]


def test_a_crawl_without_cookie_stays_as_it_is() -> None:
    assert bound_to_seeds({"attrs": None}, ["http://a.com/"]) == {"attrs": None}

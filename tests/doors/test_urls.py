"""URLs: each has a domain and a fingerprint, or is refused with a reason."""

from __future__ import annotations

import re

from hypothesis import given
from w3lib.url import canonicalize_url

from crawling.exceptions import RequestError
from crawling.links import LinkRules
from crawling.service.addresses import is_private
from crawling.service.text import printable
from crawling.spiders.link_extraction import Base
from crawling.tracker.tracker import DROPPED_REASONS, CrawlId, CrawlOptions, Lease
from crawling.tracker.urls import MAX_URL_LENGTH, check_url, domain_of, fingerprint, host_of
from tests.doors.cases import cases
from tests.doors.urls import anything

#: What a key of Redis, a queue's name and a log line can bear.
DOMAIN = re.compile(r"[^\x00-\x20\x7f/]{1,253}")
LEASE = Lease(
    crawl=CrawlId("link", "app", "c"),
    options=CrawlOptions(maxdepth=3),
    rid=b"1",
    token="t",
    url="http://example.com/",
    domain="example.com",
    fingerprint=bytes(8),
    priority=50,
    depth=0,
    attempts=0,
)
RULES = LinkRules(CrawlOptions(maxdepth=3), {"ALLOW_PRIVATE_ADDRESSES": False})


@cases()
@given(anything)
def test_a_url_has_a_domain_or_is_refused(url: str) -> None:
    try:
        domain = check_url(url)
    except RequestError as error:
        assert error.reason in {"scheme", "url_too_long"}
        assert str(error)
        return
    assert len(url) <= MAX_URL_LENGTH
    assert DOMAIN.fullmatch(domain), domain
    assert domain == domain.lower()
    host = host_of(url)
    assert host == host_of(f"http://{'[' + host + ']' if ':' in host else host}/")
    assert isinstance(is_private(host), bool)


@cases()
@given(anything)
def test_what_is_canonical_has_the_same_fingerprint(url: str) -> None:
    try:
        check_url(url)
        first = fingerprint(url)
        canonical = canonicalize_url(url)
    except (RequestError, ValueError):
        return
    assert len(first) == 8
    assert fingerprint(url) == first
    try:
        again = canonicalize_url(canonical)
    except ValueError:
        return
    if again == canonical:
        assert fingerprint(canonical) == first


@cases()
@given(anything, anything)
def test_a_link_on_a_page_is_offered_or_left_out_for_a_reason(page: str, link: str) -> None:
    try:
        check_url(page)
    except RequestError:
        page = "http://example.com/"
    joined = Base(page).join(link)
    if joined is None:
        return
    assert "#" not in joined
    [offer] = RULES.judge([joined], LEASE).offers
    assert offer.rule in {"", *DROPPED_REASONS}
    if not offer.rule:
        assert offer.domain == domain_of(offer.url)
        assert not is_private(host_of(offer.url))


@cases()
@given(anything)
def test_no_url_steers_a_terminal(url: str) -> None:
    shown = printable(url)
    assert shown.isprintable()
    shown.encode("utf-8")

"""What a worker knows of links without asking the tracker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crawling.known_links import KnownLinks
from crawling.links import LinkRules
from crawling.tracker.tracker import CrawlId, CrawlOptions, Lease, Offer, Outcome, TrackerConfig
from crawling.tracker.urls import MAX_URL_LENGTH, fingerprint

PAGE = Lease(
    crawl=CrawlId("link", "app", "crawl"),
    options=CrawlOptions(),
    rid=b"1",
    token="t",
    url="http://example.com/",
    domain="example.com",
    fingerprint=fingerprint("http://example.com/"),
    priority=50,
    depth=1,
    attempts=0,
    era="1.0.1.1",
)
RULES = LinkRules(CrawlOptions(), {})


def url(path: object) -> str:
    return f"http://example.com/{path}"


def found_on(lease: Lease, *paths: object) -> Outcome:
    return Outcome(lease, "done", links=RULES.judge(map(url, paths), lease).offers)


def judged(known: KnownLinks, lease: Lease, *paths: object) -> tuple[list[str], int]:
    offers, count = RULES.judge(map(url, paths), lease, known.of(lease))
    return [offer.url for offer in offers], count


def test_what_was_accepted_is_not_offered_again_but_counted() -> None:
    known = KnownLinks(TrackerConfig())
    known.learn(found_on(PAGE, "a", "b"))

    assert judged(known, PAGE, "a", "c", "b", "a#top") == ([url("c")], 2)


def test_nothing_is_known_in_another_era_of_the_crawl() -> None:
    known = KnownLinks(TrackerConfig())
    known.learn(found_on(PAGE, "a"))

    assert judged(known, replace(PAGE, era="1.1.2.1"), "a") == ([url("a")], 0)


@pytest.mark.parametrize(
    "options", [CrawlOptions(max_pages=9), CrawlOptions(domain_max_pages=9)]
)
def test_nothing_is_known_where_a_refused_link_may_come_again(options: CrawlOptions) -> None:
    limited = replace(PAGE, options=options)
    known = KnownLinks(TrackerConfig())

    known.learn(found_on(limited, "a"))
    assert judged(known, PAGE, "a") == ([url("a")], 0)
    known.learn(found_on(PAGE, "a"))
    assert judged(known, limited, "a") == ([url("a")], 0)


@pytest.mark.parametrize("config", [TrackerConfig(page_limit=9), TrackerConfig(max_queued=9)])
def test_limits_of_the_fleet_count_as_well(config: TrackerConfig) -> None:
    known = KnownLinks(config)
    known.learn(found_on(PAGE, "a"))

    assert judged(known, PAGE, "a") == ([url("a")], 0)


def test_only_the_fingerprint_of_a_plain_url_is_learned() -> None:
    """A POST of the same URL, and the beginning of one that is too long, are others."""
    post = Offer(url("a"), "example.com", fingerprint(url("a"), "POST"), 50, 1, b"\x80")
    begins = url("x" * MAX_URL_LENGTH)
    known = KnownLinks(TrackerConfig())
    known.learn(
        replace(found_on(PAGE, "x" * 3000), links=[post, *found_on(PAGE, "x" * 3000).links])
    )

    assert judged(known, PAGE, "a") == ([url("a")], 0)
    assert judged(known, PAGE, begins[len(url("")) : MAX_URL_LENGTH])[1] == 0


def test_memory_is_bounded_and_what_is_met_again_stays_known() -> None:
    known = KnownLinks(TrackerConfig(), most=100)
    for number in range(1000):
        offers = RULES.judge([url("home"), url(number)], PAGE, known.of(PAGE)).offers
        known.learn(Outcome(PAGE, "done", links=offers))

    young, old = known.of(PAGE)
    assert len(young) + len(old) <= 200
    assert judged(known, PAGE, "home") == ([], 1)
    assert judged(known, PAGE, 0) == ([url(0)], 0)

"""What needs no engine; `tests/integration/test_scheduler_cases.py` has the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from scrapy import Request, Spider

from crawling.crawl_rules import CrawlRules
from crawling.held_lease import HeldLease, run_in
from crawling.in_flight import InFlight
from crawling.known_links import KnownLinks
from crawling.links import LinkBatch
from crawling.outcomes import Verdict
from crawling.tracker.tracker import (
    CrawlId,
    CrawlOptions,
    Lease,
    Offer,
    Outcome,
    TrackerConfig,
)
from crawling.tracker.urls import fingerprint

OWN = CrawlId("named", "default", "named")
CRAWL = CrawlId("named", "app", "crawl")
PAGE = "http://example.com/page"


class Named(Spider):
    name = "named"


class Desk:
    """Keeps what is handed in."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.seeds: list[tuple[CrawlId, Offer]] = []

    def settle(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def seed(self, crawl: CrawlId, offer: Offer) -> None:
        self.seeds.append((crawl, offer))

    def may_send(self, held: HeldLease) -> None: ...


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def in_flight(desk: Desk) -> InFlight:
    rules = CrawlRules(private_allowed=False)
    known = KnownLinks(TrackerConfig())
    return InFlight(Named(), rules, known, desk, default_crawl=OWN, retry_codes=())


def held(in_flight: InFlight) -> HeldLease:
    """Return a lease whose page is being parsed."""
    lease = Lease(
        crawl=CRAWL,
        options=CrawlOptions(),
        rid=b"1",
        token="t",
        url=PAGE,
        domain="example.com",
        fingerprint=fingerprint(PAGE),
        priority=50,
        depth=1,
        attempts=0,
    )
    held = HeldLease(lease)
    in_flight.begin(held, Request(PAGE))
    return held


def engine(*known: Request | None, scraping: bool = False) -> Any:
    active, slot = (set(), set(known)) if scraping else (set(known), set())
    return SimpleNamespace(
        downloader=SimpleNamespace(active=active),
        scraper=SimpleNamespace(slot=SimpleNamespace(active=slot)),
    )


@pytest.mark.parametrize("scraping", [False, True])
def test_the_audit_leaves_alone_what_the_engine_has(
    in_flight: InFlight, desk: Desk, scraping: bool
) -> None:
    page = held(in_flight)

    for _ in range(3):
        in_flight.audit(engine(page.request, scraping=scraping))

    assert desk.outcomes == []


def test_the_audit_releases_what_the_engine_lost_for_two_rounds(
    in_flight: InFlight, desk: Desk
) -> None:
    page = held(in_flight)

    in_flight.audit(engine())
    assert desk.outcomes == []
    in_flight.audit(engine())

    assert [(outcome.lease, outcome.kind) for outcome in desk.outcomes] == [
        (page.lease, "released")
    ]
    assert not in_flight


def test_one_round_without_it_is_forgiven(in_flight: InFlight, desk: Desk) -> None:
    page = held(in_flight)

    in_flight.audit(engine())
    in_flight.audit(engine(page.request))
    in_flight.audit(engine())

    assert desk.outcomes == []


def test_a_lease_is_handed_in_once(in_flight: InFlight, desk: Desk) -> None:
    page = held(in_flight)

    in_flight.finished(page)
    in_flight.finished(page)

    assert len(desk.outcomes) == 1


def test_a_request_from_nowhere_is_a_seed_of_the_spiders_own_crawl(
    in_flight: InFlight, desk: Desk
) -> None:
    assert in_flight.enqueue(Request("http://example.com/"))

    ((crawl, offer),) = desk.seeds
    assert (crawl, offer.url, offer.depth) == (OWN, "http://example.com/", 0)


def test_a_seed_may_name_its_crawl(in_flight: InFlight, desk: Desk) -> None:
    meta = {"appid": "other", "crawlid": "its own", "priority": 90}

    in_flight.enqueue(Request("http://example.com/", meta=meta))

    ((crawl, offer),) = desk.seeds
    assert (crawl, offer.priority) == (CrawlId("named", "other", "its own"), 90)


def test_a_seed_that_must_not_be_fetched_is_booked_as_dropped(
    in_flight: InFlight, desk: Desk
) -> None:
    for url in ("file:///etc/passwd", "http://127.0.0.1/"):
        in_flight.enqueue(Request(url))

    assert [offer.rule for _, offer in desk.seeds] == ["scheme", "private_address"]


def test_what_comes_when_its_page_is_over_is_a_seed_of_the_same_crawl(
    in_flight: InFlight, desk: Desk
) -> None:
    page = held(in_flight)
    in_flight.finished(page)

    run_in(page, in_flight.enqueue, Request("http://example.com/late"))
    run_in(page, in_flight.batch, LinkBatch(["http://example.com/later"]))

    assert [(crawl, offer.url) for crawl, offer in desk.seeds] == [
        (CRAWL, "http://example.com/late"),
        (CRAWL, "http://example.com/later"),
    ]


def test_a_child_that_cannot_be_stored_is_refused_and_its_page_fails(
    in_flight: InFlight, desk: Desk
) -> None:
    page = held(in_flight)
    good, bad = Request("http://example.com/a"), Request("http://example.com/b", callback=print)

    assert run_in(page, in_flight.enqueue, good)
    assert not run_in(page, in_flight.enqueue, bad)
    in_flight.finished(page)

    (outcome,) = desk.outcomes
    assert (outcome.kind, outcome.reason) == ("failed", "spider_error")
    assert [link.url for link in outcome.links] == [good.url]


def test_a_request_for_a_known_page_is_counted_and_not_offered(desk: Desk) -> None:
    known, page = KnownLinks(TrackerConfig()), "http://example.com/a"
    in_flight = InFlight(
        Named(),
        CrawlRules(private_allowed=False),
        known,
        desk,
        default_crawl=OWN,
        retry_codes=(),
    )
    first, second = held(in_flight), held(in_flight)

    def yields(parent: HeldLease) -> Outcome:
        for request in (
            Request(page),
            Request(page, method="POST"),
            Request(page, dont_filter=True),
        ):
            run_in(parent, in_flight.enqueue, request)
        in_flight.settle(parent, Verdict("done"))
        return desk.outcomes[-1]

    before = yields(first)
    known.learn(before)
    after = yields(second)

    assert (len(before.links), before.known) == (3, 0)
    # The others are as they were, the salt of the last one included.
    assert (after.links, after.known) == (before.links[1:], 1)

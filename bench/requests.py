"""What a Request that a spider yields costs on its way in, ours and Scrapy's, by turns."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from scrapy import Request, Spider
from scrapy.core.scheduler import Scheduler
from scrapy.utils.test import get_crawler

from bench.frontier import CRAWL
from bench.processes import CRAWLER_CORE, pinned
from bench.report import Table, spread
from crawling.crawl_rules import CrawlRules
from crawling.held_lease import HeldLease, run_in
from crawling.in_flight import InFlight
from crawling.known_links import KnownLinks
from crawling.outcomes import Verdict
from crawling.tracker.tracker import CrawlOptions, Lease, TrackerConfig
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.http import Response

    from crawling.tracker.tracker import CrawlId, Offer, Outcome

#: Pages of a round, Requests of a page, and rounds.
PAGES, REQUESTS, ROUNDS = 300, 50, 7
PROMISED = 0.5
PAGE = "http://www.example.com/"


class Yielding(Spider):
    name = CRAWL.spiderid

    def parse_page(self, response: Response) -> None: ...


class Sink:
    """Where outcomes go: what it costs to send them is measured elsewhere."""

    def settle(self, outcome: Outcome) -> None: ...

    def seed(self, crawl: CrawlId, offer: Offer) -> None: ...

    def may_send(self, held: HeldLease) -> None: ...


def measure() -> dict[str, Any]:
    ours, theirs = list[float](), list[float]()
    with pinned(CRAWLER_CORE):
        for number in range(ROUNDS):
            pages = range(number * PAGES, (number + 1) * PAGES)
            ours.append(_ours(pages))
            theirs.append(_theirs(pages))
            print(f"ours {ours[-1]:.1f} µs, Scrapy's {theirs[-1]:.1f} µs", file=sys.stderr)
    return {"ours": ours, "scrapy": theirs, "requests": REQUESTS}


def _ours(pages: range) -> float:
    """Return microseconds of CPU a Request, from the engine until it can be sent."""
    spider, spent = Yielding(), 0.0
    in_flight = InFlight(
        spider,
        CrawlRules(private_allowed=False),
        KnownLinks(TrackerConfig()),
        Sink(),
        default_crawl=CRAWL,
        retry_codes=(),
    )
    for page in pages:
        held = HeldLease(_lease())
        in_flight.begin(held, Request(PAGE))
        requests = list(_requests(page, spider))
        began = time.process_time()
        run_in(held, lambda found: list(map(in_flight.enqueue, found)), requests)
        in_flight.settle(held, Verdict("done"))
        spent += time.process_time() - began
    return 1e6 * spent / (len(pages) * REQUESTS)


def _theirs(pages: range) -> float:
    """Return microseconds of CPU a Request, in and out of Scrapy's queue in memory."""
    crawler = get_crawler(
        Yielding, {"SCHEDULER_PRIORITY_QUEUE": "scrapy.pqueues.ScrapyPriorityQueue"}
    )
    spider, spent = Yielding(), 0.0
    crawler.spider = spider
    scheduler = Scheduler.from_crawler(crawler)
    scheduler.open(spider)
    for page in pages:
        requests = list(_requests(page, spider))
        began = time.process_time()
        for request in requests:
            scheduler.enqueue_request(request)
        for _ in requests:
            scheduler.next_request()
        spent += time.process_time() - began
    return 1e6 * spent / (len(pages) * REQUESTS)


def _requests(page: int, spider: Yielding) -> Iterator[Request]:
    for number in range(REQUESTS):
        host = f"www.site-{(7 * page + number) % 300}.example"
        url = f"http://{host}/news/some-words-{page}-{number}.html"
        yield Request(url, callback=spider.parse_page, meta={"depth": 2})


def _lease() -> Lease:
    return Lease(
        crawl=CRAWL,
        options=CrawlOptions(),
        rid=b"1",
        token="",
        url=PAGE,
        domain="example.com",
        fingerprint=fingerprint(PAGE),
        priority=50,
        depth=1,
        attempts=0,
    )


def tables(result: dict[str, Any]) -> list[Table]:
    ours, theirs = result["ours"], result["scrapy"]
    title = (
        f"A Request that a spider yields, µs of CPU in the scheduler ({result['requests']} new "
        f"ones a page, {len(ours)} rounds by turns; min / median / max)"
    )
    head = ["scrapy-fleet", "Scrapy, in memory", "ratio", "promised"]
    # Of neighbours in time: what slows the machine slows both.
    ratio = spread([our / their for our, their in zip(ours, theirs, strict=True)], "2f")
    cells = [spread(ours, "1f"), spread(theirs, "1f"), ratio, f"at most {PROMISED}"]
    return [Table(title, head, [cells])]

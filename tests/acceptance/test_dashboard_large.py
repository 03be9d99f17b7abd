"""The dashboard over more domains than a browser can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.tracker.tracker import CrawlId, Offer
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import serve
from tests.servers.browser import chromium
from tests.servers.kafka_server import free_ports
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawling.tracker.tracker import Tracker
    from tests.servers.browser import Browser

CRAWL = CrawlId("link", "fleet", "large")
DOMAINS, REQUESTS = 100_000, 150_000
#: Bytes that an answer of the service may have.
HEAVIEST = 50_000
TABLE = "Domains with something queued or in flight"


def offers() -> Iterator[Offer]:
    for number in range(REQUESTS):
        # Half as many are all of one domain.
        domain = f"site-{number if number < DOMAINS else 7:06d}.example"
        url = f"https://{domain}/page/{number}"
        yield Offer(url, domain, fingerprint(url), 50, 0)


async def fill(tracker: Tracker) -> None:
    found = list(offers())
    for begin in range(0, REQUESTS, 5000):
        await tracker.submit(CRAWL, found[begin : begin + 5000], entry="known")


def heaviest(browser: Browser) -> int:
    """Return the bytes of the largest answer of the API."""
    code = (
        "return performance.getEntriesByType('resource')"
        ".filter((each) => each.name.includes('/api/')).map((each) => each.decodedBodySize)"
    )
    return int(max(browser.script(code)))


def test_all_domains_are_paged_by_the_service(
    redis_needed: None, browsers: None, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as tracker:
        ask(tracker, fill)
        with serve(tmp_path, tracker, free_ports(1)[0]) as ui, chromium(tmp_path) as browser:
            browser.open(f"{ui}#/domains")
            browser.see("1 to 50 of 100,000")
            assert len(browser.rows(TABLE)) == 50
            browser.press("Next")
            browser.see("51 to 100 of 100,000")
            browser.choose("sort", "longest queues first")
            browser.until(lambda: browser.rows(TABLE)[0][1] == "50,001", "the longest queue")
            browser.fill("name", "site-099999")
            browser.see("1 to 1 of 1")
            assert heaviest(browser) < HEAVIEST

            browser.open(f"{ui}#/crawls/link/fleet/large")
            browser.see("1 to 20 of 100,000", "site-000007.example")
            assert browser.fact("Queued") == "150,000"
            assert heaviest(browser) < HEAVIEST
            assert browser.console() == []

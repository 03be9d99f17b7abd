"""A worker of the cluster with its link spider, as it is measured."""

from __future__ import annotations

import sys
from pathlib import Path

from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer
from crawling.tracker.urls import domain_of, fingerprint
from tests.acceptance.crawls import ask

ROOT = Path(__file__).parents[1]
#: The same for all that are compared: requests at once, where nothing else is said,
#: robots.txt not asked, only errors logged.
CONCURRENCY = 32
SETTINGS = {
    "ALLOW_PRIVATE_ADDRESSES": "1",
    "CONCURRENT_REQUESTS": str(CONCURRENCY),
    "KAFKA_HOSTS": "none",
    "PYTHONPATH": f"{ROOT}/crawler:{ROOT}",
    "QUEUE_HITS": "0",
    "ROBOTSTXT_OBEY": "0",
    "SC_LOG_LEVEL": "ERROR",
    "SCRAPY_SETTINGS_MODULE": "crawling.settings",
}
LINK_SPIDER = ROOT / "crawler" / "crawling" / "spiders" / "link_spider.py"
RUN_SPIDER = [sys.executable, "-m", "scrapy", "runspider", str(LINK_SPIDER)]


def submit(
    tracker: str, url: str, options: CrawlOptions | None = None, *, shards: int = 1
) -> None:
    """Submit a crawl of everything that *url* leads to, within what *options* allow."""
    seed = Offer(url, domain_of(url), fingerprint(url), 100_000, 0)
    crawl = CrawlId("link", "bench", "bench")
    options = options or CrawlOptions()
    ask(tracker, lambda tracker: tracker.submit(crawl, [seed], options), shards)

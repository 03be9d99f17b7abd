"""What a worker does with requests that it must not or cannot fetch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scrapy import Request, Spider

from crawling.request_record import extras_of
from crawling.tracker.sqlite_tracker import SqliteTracker
from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer, Trace, TrackerConfig
from crawling.tracker.urls import domain_of, fingerprint
from tests.servers.nasty_site import NastySite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.http import Response

CRAWLER = Path(__file__).parents[2] / "crawler"
CRAWL = CrawlId("following", "tests", "rules")
#: What the spider follows and its crawl may not.
ELSEWHERE = ("http://elsewhere.example/1", "http://elsewhere.example/2", "file:///etc/passwd")

SPIDER = """
import scrapy

from crawling.links import LinkBatch


class Following(scrapy.Spider):
    name = "following"

    def parse(self, response):
        yield {"url": response.url}
        if "start" in response.url:
            for url in ("http://elsewhere.example/1", "file:///etc/passwd", "/page/2"):
                yield scrapy.Request(response.urljoin(url))
            yield LinkBatch(["http://elsewhere.example/2", response.urljoin("/page/3")])
"""


class Older(Spider):
    """The spider before a callback was renamed."""

    name = "following"

    def parse_gone(self, response: Response) -> None: ...


@pytest.fixture
def site() -> Iterator[NastySite]:
    with NastySite() as site:
        yield site


def offer(url: str) -> Offer:
    return Offer(url, domain_of(url), fingerprint(url), priority=50, depth=0)


async def crawl(folder: Path, options: CrawlOptions, *seeds: Offer) -> dict[str, Trace]:
    """Crawl to the end; return what became of the URLs that the tests ask about."""
    url = f"sqlite:///{folder}/crawl.db"
    tracker = SqliteTracker(url, TrackerConfig(hits=0))
    await tracker.open()
    await tracker.submit(CRAWL, seeds, options)
    work(folder, url)
    status = await tracker.crawl(CRAWL)
    assert status is not None
    assert (status.state, status.balanced) == ("finished", True)
    asked = [*ELSEWHERE, *(seed.url for seed in seeds)]
    traces = {each: await tracker.trace(CRAWL, fingerprint(each)) for each in asked}
    await tracker.close()
    return traces


def work(folder: Path, tracker_url: str) -> None:
    """Run a worker until the crawl has ended."""
    (folder / "following.py").write_text(SPIDER, "utf-8")
    given = [f"TRACKER={tracker_url}", f"CRAWL={'/'.join(CRAWL)}", "ALLOW_PRIVATE_ADDRESSES=1"]
    given += ["QUEUE_HITS=0", "ROBOTSTXT_OBEY=0", "ITEM_PIPELINES={}"]
    options = [part for setting in given for part in ("-s", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", "runspider", "following.py", *options],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(CRAWLER),
            "SCRAPY_SETTINGS_MODULE": "crawling.settings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def test_links_and_requests_out_of_the_crawls_domains_are_dropped(
    site: NastySite, tmp_path: Path
) -> None:
    options = CrawlOptions(shared={"allowed_domains": ["127.0.0.1"]})

    traces = await crawl(tmp_path, options, offer(f"{site.url}/page/start"))

    assert traces["http://elsewhere.example/1"].reason == "offsite"
    assert traces["http://elsewhere.example/2"].reason == "offsite"
    assert traces["file:///etc/passwd"].reason == "scheme"
    assert sorted(site.paths()) == ["/page/2", "/page/3", "/page/start"]


async def test_a_redirect_out_of_the_crawls_domains_is_dropped(
    site: NastySite, tmp_path: Path
) -> None:
    seed = offer(f"{site.url}/offsite/1")

    traces = await crawl(
        tmp_path, CrawlOptions(shared={"allowed_domains": ["127.0.0.1"]}), seed
    )

    assert (traces[seed.url].state, traces[seed.url].reason) == ("dropped", "offsite")


async def test_a_crawl_with_senseless_options_fails_and_fetches_nothing(
    site: NastySite, tmp_path: Path
) -> None:
    seed = offer(f"{site.url}/page/1")

    traces = await crawl(tmp_path, CrawlOptions(shared={"deny_regex": ["("]}), seed)

    assert (traces[seed.url].state, traces[seed.url].reason) == ("failed", "spider_error")
    assert site.paths() == []


async def test_a_request_for_a_callback_that_is_gone_fails_alone(
    site: NastySite, tmp_path: Path
) -> None:
    good, gone = offer(f"{site.url}/page/1"), offer(f"{site.url}/page/2")
    older = Older()
    request = Request(gone.url, callback=older.parse_gone)
    gone = gone._replace(extras=extras_of(request, older))

    traces = await crawl(tmp_path, CrawlOptions(), good, gone)

    assert traces[good.url].state == "done"
    assert (traces[gone.url].state, traces[gone.url].reason) == ("failed", "spider_error")
    assert site.paths() == ["/page/1"]

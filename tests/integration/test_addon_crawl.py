"""An ordinary Scrapy spider, crawling with the fleet by one line of settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.sqlite_tracker import SqliteTracker
from crawling.tracker.tracker import CrawlId, CrawlStatus, TrackerConfig
from tests.servers.nasty_site import NastySite

if TYPE_CHECKING:
    from collections.abc import Iterator

CRAWLER = Path(__file__).parents[2] / "crawler"

SPIDER = '''
import scrapy
from scrapy import Request


class Ordinary(scrapy.Spider):
    """As it would be without the add-on."""

    name = "ordinary"
    custom_settings = {"ADDONS": {"crawling.addon.FleetAddon": 0}, "DEPTH_LIMIT": 3}

    def __init__(self, site):
        super().__init__()
        self.start_urls = [f"{site}/page/start", f"{site}/redirect/1"]

    def parse(self, response):
        yield {"url": response.url, "how": "parse"}
        yield response.follow("/page/a", self.parse_other, cb_kwargs={"how": "follow"})
        yield response.follow("/page/a", self.parse_other, cb_kwargs={"how": "twice"})
        yield Request(response.urljoin("/missing/1"), errback=self.failed)
        yield Request(response.urljoin("/drop/1"), errback=self.failed, meta={"mine": (1, 2)})

    async def parse_other(self, response, how):
        yield {"url": response.url, "how": how}
        yield response.follow("/page/deep/" + "x" * response.meta["depth"], self.parse_deep)

    def parse_deep(self, response):
        depth = response.meta["depth"]
        yield {"url": response.url, "how": f"depth {depth}"}
        yield response.follow("/page/deep/" + "x" * depth, self.parse_deep)

    def failed(self, failure):
        error = type(failure.value).__name__
        yield {"url": failure.request.url, "how": error, "mine": failure.request.meta.get("mine")}
'''


@pytest.fixture
def site() -> Iterator[NastySite]:
    with NastySite() as site:
        yield site


def crawl(folder: Path, site: NastySite, *settings: str) -> list[dict[str, Any]]:
    """Run the spider as its user would; return the items of its feed."""
    (folder / "ordinary.py").write_text(SPIDER, "utf-8")
    given = [
        f"TRACKER=sqlite:///{folder}/crawl.db",
        "ALLOW_PRIVATE_ADDRESSES=1",
        "QUEUE_HITS=0",
    ]
    given += ["RETRY_TIMES=1", "RETRY_DELAY=0.01", *settings]
    command = ["runspider", "ordinary.py", "-a", f"site={site.url}", "-O", "items.jsonl"]
    options = [part for setting in given for part in ("-s", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", *command, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CRAWLER)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [
        json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()
    ]


async def books(folder: Path) -> CrawlStatus:
    tracker = SqliteTracker(f"sqlite:///{folder}/crawl.db", TrackerConfig())
    await tracker.open()
    status = await tracker.crawl(CrawlId("ordinary", "default", "ordinary"))
    await tracker.close()
    assert status is not None
    return status


def test_an_ordinary_spider_crawls_as_ever(site: NastySite, tmp_path: Path) -> None:
    items = crawl(tmp_path, site)

    assert Counter(
        (item["url"].removeprefix(site.url), item["how"]) for item in items
    ) == Counter(
        {
            ("/page/start", "parse"): 1,
            ("/page/target", "parse"): 1,
            ("/page/a", "follow"): 1,
            ("/page/deep/x", "depth 2"): 1,
            ("/page/deep/xx", "depth 3"): 1,
            ("/drop/1", "GaveUp"): 1,
            # Scrapy keeps errors of HTTP from spiders, here as ever.
            ("/missing/1", "HttpError"): 1,
        }
    )
    assert [item["mine"] for item in items if item["how"] == "GaveUp"] == [[1, 2]]


async def test_the_run_ends_with_its_crawl_and_the_books_balance(
    site: NastySite, tmp_path: Path
) -> None:
    crawl(tmp_path, site)

    status = await books(tmp_path)

    assert (status.state, status.outstanding, status.balanced) == ("finished", 0, True)
    assert (status.done, status.failed, status.dropped) == (5, 2, 0)
    assert status.reasons == {"http_404": 1, "reset": 1}


def test_the_same_run_again_starts_from_the_start_urls(site: NastySite, tmp_path: Path) -> None:
    crawl(tmp_path, site)
    site.hits.clear()

    items = crawl(tmp_path, site)

    assert "parse" in {item["how"] for item in items}
    assert {"/page/start", "/redirect/1"} <= set(site.paths())

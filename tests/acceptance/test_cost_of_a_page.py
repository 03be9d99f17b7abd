"""What a page costs a worker, counted: a gross regression shows whatever the machine does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from bench.processes import SERVER_CORE
from bench.site import PAGES, bench_site
from bench.worker import ROOT, SETTINGS, submit
from redis import Redis

from crawling.tracker.tracker import CrawlOptions

if TYPE_CHECKING:
    from pathlib import Path


#: Two crawls, whose difference is without what a worker does once.  Primes: see `BenchSite`.
FEW, MANY = 503, 1511


@dataclass(frozen=True)
class Cost:
    """Of a whole crawl; for each page, the difference of two of them."""

    pages: int
    calls: float
    blocks: float
    commands: float
    scripts: float

    def each(self, less: Cost) -> Cost:
        pages = self.pages - less.pages
        return Cost(
            1,
            (self.calls - less.calls) / pages,
            (self.blocks - less.blocks) / pages,
            (self.commands - less.commands) / pages,
            (self.scripts - less.scripts) / pages,
        )


@pytest.fixture(scope="module")
def page(redis_url: str, kafka_hosts: str, tmp_path_factory: pytest.TempPathFactory) -> Cost:
    """Return what one page of 15 kB costs, on Redis and Kafka, of whose 50 links most are known."""
    few, many = (
        _crawl(pages, None, redis_url, kafka_hosts, tmp_path_factory.mktemp("counted"))
        for pages in (FEW, MANY)
    )
    return many.each(few)


@pytest.fixture(scope="module")
def offering(
    redis_url: str, kafka_hosts: str, tmp_path_factory: pytest.TempPathFactory
) -> Cost:
    """Return the same of a page all of whose links the tracker has to judge."""
    few, many = (
        _crawl(PAGES, limit, redis_url, kafka_hosts, tmp_path_factory.mktemp("counted"))
        for limit in (FEW, MANY)
    )
    return many.each(few)


def _crawl(
    pages: int, max_pages: int | None, redis_url: str, kafka_hosts: str, folder: Path
) -> Cost:
    with bench_site(SERVER_CORE, pages) as site, Redis.from_url(redis_url) as redis:
        redis.flushall()
        submit(redis_url, site.start, CrawlOptions(max_pages=max_pages))
        redis.config_resetstat()
        env = {
            **os.environ,
            **SETTINGS,
            "TRACKER": redis_url,
            "KAFKA_HOSTS": kafka_hosts,
            "KAFKA_TOPIC_PREFIX": "counted",
            "CRAWL": "link/bench/bench",
        }
        command = [sys.executable, "-m", "tests.acceptance.counted_worker", str(folder / "x")]
        subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=120)
        used = redis.info("commandstats")
        told = json.loads((folder / "x").read_text())
        return Cost(
            site.served(),
            told["calls"],
            told["blocks"],
            sum(each["calls"] for each in used.values()),
            used["cmdstat_evalsha"]["calls"],
        )


def test_a_page_takes_some_thousand_calls_of_functions(page: Cost, offering: Cost) -> None:
    assert page.calls < 4000
    assert offering.calls < 5100


def test_links_that_are_known_are_not_offered(page: Cost, offering: Cost) -> None:
    assert page.commands < 40
    assert offering.commands < 130


def test_pages_share_their_calls_of_redis(page: Cost, offering: Cost) -> None:
    assert page.scripts < 1
    assert offering.scripts < 1


def test_a_page_leaves_nothing_in_the_memory_of_its_worker(page: Cost) -> None:
    assert page.blocks < 40

"""An output whose pages nobody takes: the crawl waits, in bounded memory, and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from bench.processes import rss

from tests.servers.tree_site import tree_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from tests.servers.small_site import SmallSite

PAGES = 1500
#: Bytes of a page; all pages together are 30 MB.
SIZE = 20_000
CONCURRENCY = 32
#: Pages that a crawl holds whose output takes none: 8 * CONCURRENT_REQUESTS, and those
#: that are on their way when it notices.
HELD = 8 * CONCURRENCY + CONCURRENCY
#: Seconds without a request after which the crawl counts as waiting.
QUIET = 3.0
LIMIT = 60.0


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with tree_site(PAGES, SIZE) as running:
        yield running


def start_crawl(site: SmallSite, folder: Path, target: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "crawling.cli", "crawl", site.url("/"), "--save", target]
    tracker = ["--tracker", f"sqlite:///{folder}/crawl.db", "--crawlid", "c"]
    at_once = ["--concurrency", str(CONCURRENCY), "--hits", "0"]
    free = ["--allow-private", "--ignore-robots", "--depth", "20"]
    return subprocess.Popen(
        [*command, *tracker, *at_once, *free],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def until_it_waits(site: SmallSite) -> int:
    """Return how many pages the crawl fetched before it began to wait."""
    deadline = time.monotonic() + LIMIT
    served, last = 0, time.monotonic()
    while not served or time.monotonic() < last + QUIET:
        assert time.monotonic() < deadline
        if len(site.asked) != served:
            served, last = len(site.asked), time.monotonic()
        time.sleep(0.05)
    return served


def test_a_crawl_waits_for_whoever_reads_its_standard_output(
    site: SmallSite, tmp_path: Path
) -> None:
    crawl = start_crawl(site, tmp_path, "-")

    assert until_it_waits(site) <= HELD
    memory = rss(crawl.pid)
    time.sleep(QUIET)
    assert rss(crawl.pid) - memory < 1_000_000

    lines = crawl.communicate(timeout=LIMIT)[0].splitlines()
    assert crawl.returncode == 0
    assert len({json.loads(line)["url"] for line in lines}) == len(lines) == PAGES


def test_a_crawl_waits_for_whoever_empties_its_redis(
    site: SmallSite, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 8_000_000)
    try:
        crawl = start_crawl(site, tmp_path, redis_url)
        fetched = until_it_waits(site)
        kept = redis.dbsize()
        assert 0 < kept < PAGES
        assert fetched - kept <= HELD

        urls: list[str] = []
        while crawl.poll() is None or redis.dbsize():
            for key in redis.scan_iter(count=100):
                page = redis.getdel(key)
                assert isinstance(page, bytes)
                urls.append(json.loads(page)["url"])
            time.sleep(0.05)
    finally:
        redis.config_set("maxmemory", 0)

    crawl.communicate(timeout=LIMIT)
    assert crawl.returncode == 0
    assert len(set(urls)) == PAGES
    # A group that Redis took in part is set again whole, also what was taken out meanwhile.
    assert len(urls) - PAGES <= HELD

"""A crawl whose output is away for a while loses nothing, whether it waits or is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.saved import from_redis
from tests.servers.tree_site import tree_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

PAGES = 40
LIMIT = 60.0


@pytest.fixture
def site() -> Iterator[str]:
    with tree_site(PAGES) as running:
        yield running.url("/")


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    """Let *redis* refuse what it is to keep."""
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


def start_crawl(site: str, folder: Path, redis_url: str) -> subprocess.Popen[str]:
    tracker = ["--tracker", f"sqlite:///{folder}/crawl.db", "--crawlid", "c"]
    polite_enough = ["--hits", "0", "--allow-private", "--ignore-robots", "--depth", "9"]
    command = [sys.executable, "-m", "crawling.cli", "crawl", site, "--json"]
    return subprocess.Popen(
        [*command, *tracker, *polite_enough, "--save", redis_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_refused(redis: Redis) -> None:
    """Return when a page was refused: from then on pages are held."""
    deadline = time.monotonic() + LIMIT
    while not redis.info("errorstats").get("errorstat_OOM"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_crawl_waits_for_an_output_that_is_away(
    site: str, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis.config_resetstat()
    with full(redis):
        crawl = start_crawl(site, tmp_path, redis_url)
        until_refused(redis)
        assert redis.dbsize() == 0

    told = json.loads(crawl.communicate(timeout=LIMIT)[0])

    assert crawl.returncode == 0
    assert (told["accepted"], told["done"], told["failed"]) == (PAGES, PAGES, 0)
    assert len(from_redis(redis)) == PAGES


def test_a_crawl_that_is_stopped_while_its_output_is_away_goes_on_later(
    site: str, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis.config_resetstat()
    with full(redis):
        crawl = start_crawl(site, tmp_path, redis_url)
        until_refused(redis)
        crawl.send_signal(signal.SIGINT)
        crawl.communicate(timeout=LIMIT)
    assert crawl.returncode == 130
    assert redis.dbsize() == 0

    crawl = start_crawl(site, tmp_path, redis_url)
    told = json.loads(crawl.communicate(timeout=LIMIT)[0])

    assert crawl.returncode == 0
    assert (told["accepted"], told["done"], told["failed"]) == (PAGES, PAGES, 0)
    assert len(from_redis(redis)) == PAGES

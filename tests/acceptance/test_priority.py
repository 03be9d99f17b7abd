from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.crawls import ask, status_of, stop, submit, until, worker
from tests.servers.website import website

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Tracker


@pytest.mark.alone
def test_an_urgent_crawl_overtakes_ten_thousand_requests_within_a_second(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    flat = ("--site", "flat", "--pages", "20000", "--hosts", "20")
    with website(tmp_path, *flat) as site, worker(tmp_path, redis_url) as running:
        submit(redis_url, "patient", f"http://127.2.0.1:{site.port}/", priority=70)
        until(lambda: status_of(redis_url, "patient").queued > 10_000, "a backlog")
        until(lambda: status_of(redis_url, "patient").done > 100, "a running crawl")
        submitted = time.monotonic()

        submit(redis_url, "urgent", f"http://127.2.0.7:{site.port}/urgent", priority=90)
        until(lambda: status_of(redis_url, "urgent").state == "finished", "the urgent page")

        assert status_of(redis_url, "patient").queued > 10_000
        came = next(access.time for access in site.accesses() if access.path == "/urgent")
        assert came - submitted < 1.0
        ask(redis_url, stop_all)
        assert stop(running) == 0


async def stop_all(tracker: Tracker) -> None:
    for crawl in await tracker.crawls():
        await tracker.stop(crawl)

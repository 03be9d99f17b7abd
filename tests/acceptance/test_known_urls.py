"""Many known URLs, from a file into Redis: all of them, and a queue touched once for many."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.acceptance.crawls import ask, crawl_id, running_fleet, status_of, until

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Tracker

DOMAINS, OF_EACH, BATCH = 2_000, 5, 1_000


def test_known_urls_of_a_domain_are_queued_together(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    urls = [
        f"https://site-{domain}.example/{number}"
        for domain in range(DOMAINS)
        for number in range(OF_EACH)
    ]
    random.Random(1).shuffle(urls)
    (tmp_path / "known.txt").write_text("\n".join(urls))
    redis.config_resetstat()
    ask(redis_url, _pause)
    command = ("crawl", "--quiet", "--known", "known.txt", "--tracker", redis_url)

    with running_fleet(*command, "--crawlid", "known", cwd=tmp_path):
        until(lambda: status_of(redis_url, "known").queued == len(urls), "all are queued")

    appended = redis.info("commandstats")["cmdstat_rpush"]["calls"]
    # The first batch goes ahead; of the rest a domain may lie in two.
    assert appended <= BATCH + DOMAINS + len(urls) // BATCH


async def _pause(tracker: Tracker) -> None:
    """Make the crawl and keep it from fetching anything."""
    await tracker.submit(crawl_id("known"), [], hold=60.0)
    await tracker.pause(crawl_id("known"))

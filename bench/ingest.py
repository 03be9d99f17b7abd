"""Ten million known URLs from a file into Redis, by `fleet crawl --known`."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from redis import Redis

from bench.processes import (
    CRAWLER_CORE,
    SERVER_CORE,
    InVain,
    cpu_seconds,
    peak_rss,
    pin_redis,
    running,
)
from bench.report import Table
from bench.worker import ROOT
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId, TrackerConfig
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker

URLS, DOMAINS = 10_000_000, 100_000
CRAWL = CrawlId("link", "fleet", "ingest")
#: Seconds until a run that does not end is given up.
PATIENCE = 1800.0


def measure(urls: int = URLS) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        size = write_urls(folder / "known.txt", urls)
        url = stack.enter_context(redis_server(folder))
        pin_redis(url, SERVER_CORE)
        result = asyncio.run(_ingest(url, folder, urls))
        return {"urls": urls, "domains": DOMAINS, "url_bytes": size / urls - 1, **result}


def write_urls(path: Path, urls: int) -> int:
    """Write URLs of which half are on a hundredth of the domains, as on the web."""
    choose = random.Random(1)
    with path.open("w") as lines:
        for number in range(urls):
            among = DOMAINS if number % 2 else DOMAINS // 100
            domain = choose.randrange(among)
            section = choose.choice(("news", "products", "articles", "forum"))
            lines.write(f"https://www.site-{domain}.com/{section}/some-words-{number}.html\n")
    return path.stat().st_size


async def _ingest(url: str, folder: Path, urls: int) -> dict[str, Any]:
    """Run `fleet crawl` on a paused crawl: it takes in all URLs and fetches none."""
    tracker = await open_tracker(url, TrackerConfig())
    try:
        await tracker.submit(CRAWL, [], hold=PATIENCE)
        await tracker.pause(CRAWL)
        with Redis.from_url(url) as client:
            before = client.info("memory")["used_memory"]
            command = _command(url, folder / "known.txt")
            env = {"PYTHONPATH": str(ROOT / "crawler")}
            began = time.monotonic()
            with running(command, core=CRAWLER_CORE, cwd=folder, env=env) as process:
                await _until_queued(tracker, urls)
                seconds = time.monotonic() - began
                rss, cpu = peak_rss(process.pid), cpu_seconds(process.pid)
            used = client.info("memory")["used_memory"] - before
    finally:
        await close_tracker(url)
    return {"seconds": seconds, "cpu": cpu, "rss": rss, "redis_bytes": used / urls}


def _command(url: str, known: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "crawling.cli", "crawl", "--quiet", "--known", str(known)),
        *("--tracker", url, "--crawlid", CRAWL.crawlid),
    ]


async def _until_queued(tracker: Tracker, urls: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (status := await tracker.crawl(CRAWL)) is None or status.queued < urls:
        if time.monotonic() > deadline:
            raise InVain(f"{status} after {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


def tables(result: dict[str, Any]) -> list[Table]:
    head = ["", "measured", "promised"]
    rows = [
        ["seconds, start of the process included", f"{result['seconds']:.1f}", ""],
        ["URLs a second", f"{result['urls'] / result['seconds']:,.0f}", "60,000"],
        ["CPU seconds of the process", f"{result['cpu']:.1f}", ""],
        ["peak memory of the process, MB", f"{result['rss'] / 1e6:.0f}", "less than 300"],
        ["Redis bytes a queued URL, dupefilter included", f"{result['redis_bytes']:.0f}", ""],
    ]
    title = (
        f"Taking in {result['urls']:,} known URLs ({result['domains']:,} domains, "
        f"{result['url_bytes']:.0f} bytes a URL) from a file into Redis"
    )
    return [Table(title, head, rows)]

"""What a lease costs when the tracker has 10 domains, and when it has 100,000."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.processes import CRAWLER_CORE, SERVER_CORE, pin_redis, pinned
from bench.report import Table, median, spread
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId, Offer, Outcome, TrackerConfig
from crawling.tracker.urls import fingerprint
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawling.tracker.tracker import Tracker

FEW, MANY = 10, 100_000
REQUESTS = 200_000
#: Requests in one lease, as a busy worker asks, and how many of those are timed.
BATCH, LEASES = 16, 500
CRAWL = CrawlId("link", "bench", "frontier")
#: A throttle that is kept in full and never has to wait.
CONFIG = TrackerConfig(hits=100_000_000, window=60.0, concurrency=1000)
LIMIT = 1.5


def measure(rounds: int) -> dict[str, Any]:
    runs: dict[str, list[float]] = {}
    with pinned(CRAWLER_CORE):
        for _ in range(rounds):
            for store in ("redis", "sqlite"):
                for domains in (FEW, MANY):
                    cost = _run(store, domains)
                    runs.setdefault(f"{store} {domains}", []).append(cost)
                    print(
                        f"{store}, {domains} domains: {cost:.1f} µs a request", file=sys.stderr
                    )
    return {"rounds": rounds, "requests": REQUESTS, "batch": BATCH, "microseconds": runs}


def _run(store: str, domains: int) -> float:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = f"sqlite:///{folder}/tracker.db"
        if store == "redis":
            url = stack.enter_context(redis_server(folder))
            pin_redis(url, SERVER_CORE)
        return asyncio.run(_leases(url, domains))


async def _leases(url: str, domains: int) -> float:
    """Return microseconds a leased request, of `lease` alone."""
    tracker = await open_tracker(url, CONFIG)
    try:
        for batch in _offers(domains):
            await tracker.submit(CRAWL, batch, entry="known")
        await _lease_and_settle(tracker, LEASES // 10)
        return 1e6 * await _lease_and_settle(tracker, LEASES) / (LEASES * BATCH)
    finally:
        await close_tracker(url)


async def _lease_and_settle(tracker: Tracker, times: int) -> float:
    spent = 0.0
    for _ in range(times):
        began = time.perf_counter()
        leased = await tracker.lease("bench", BATCH, CRAWL.spiderid)
        spent += time.perf_counter() - began
        if len(leased.leases) != BATCH:
            raise RuntimeError(f"asked for {BATCH} requests, got {len(leased.leases)}")
        outcomes = [Outcome(lease, "done", status=200) for lease in leased.leases]
        await tracker.settle("bench", outcomes)
    return spent


def _offers(domains: int, size: int = 2000) -> Iterator[list[Offer]]:
    for first in range(0, REQUESTS, size):
        yield [_offer(number, number % domains) for number in range(first, first + size)]


def _offer(number: int, domain: int) -> Offer:
    url = f"http://domain-{domain}.example/page/{number}"
    return Offer(url, f"domain-{domain}.example", fingerprint(url), 50, 0)


def tables(result: dict[str, Any]) -> list[Table]:
    runs = result["microseconds"]
    rows = []
    for store in ("redis", "sqlite"):
        few, many = runs[f"{store} {FEW}"], runs[f"{store} {MANY}"]
        ratio = f"{median(many) / median(few):.2f}"
        rows.append([store, spread(few, "1f"), spread(many, "1f"), ratio, f"at most {LIMIT}"])
    title = (
        f"Leasing, µs a request ({result['requests']:,} queued, {result['batch']} at a time, "
        f"{result['rounds']} rounds; min / median / max)"
    )
    head = ["tracker", f"{FEW} domains", f"{MANY:,} domains", "ratio", "promised"]
    return [Table(title, head, rows)]

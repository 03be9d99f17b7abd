"""What links and leases cost a tracker by itself, with few domains and with a million."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis

from bench.processes import CRAWLER_CORE, SERVER_CORE, pin_redis, pinned, thread_seconds
from bench.report import Table, median, spread
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId, Offer, Outcome, TrackerConfig
from crawling.tracker.urls import fingerprint
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from crawling.tracker.tracker import Tracker

FEW, MANY = 10, 1_000_000
DOMAINS = (FEW, 1000, 100_000, MANY)
REQUESTS = 200_000
#: A worker's batch, the pages that it settles together, the links of a page, and how many
#: pages are settled while Redis's CPU is read.
LEASED, GROUP, LINKS, PAGES = 64, 16, 50, 8000
#: Of the links, the share that is known.
KNOWN = 0.6
#: Requests in one lease, as a busy worker asks, and how many of those are timed.
BATCH, LEASES = 16, 500
CRAWL = CrawlId("link", "bench", "frontier")
#: A throttle that is kept in full and never has to wait.
CONFIG = TrackerConfig(hits=100_000_000, window=60.0, concurrency=1000)
UNTHROTTLED = TrackerConfig(hits=0, concurrency=1000)
LIMIT = 1.5
#: A second and core of Redis: links offered; leases without and with a throttle.
LINKS_PROMISED, LEASES_PROMISED = 150_000, {"without": 50_000, "with": 40_000}


def measure(rounds: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {}
    with pinned(CRAWLER_CORE):
        for _ in range(rounds):
            for store in ("redis", "sqlite"):
                for domains in DOMAINS:
                    cost = _run(store, domains)
                    runs.setdefault(f"{store} {domains}", []).append(cost._asdict())
                    print(f"{store}, {domains} domains: {cost}", file=sys.stderr)
        cores: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, measured in (
                ("links", partial(_per_core, UNTHROTTLED, _links)),
                ("without", partial(_per_core, UNTHROTTLED, _fenced_leases)),
                ("with", partial(_per_core, CONFIG, _fenced_leases)),
            ):
                cores.setdefault(name, []).append(measured())
                print(f"{name}: {cores[name][-1]:,.0f} a second", file=sys.stderr)
    return {
        "rounds": rounds,
        "requests": REQUESTS,
        "batch": BATCH,
        "costs": runs,
        "cores": cores,
    }


def _per_core(config: TrackerConfig, work: Callable[[Tracker, int], Awaitable[Spent]]) -> float:
    """Return how much is done in a second of Redis's CPU."""

    async def run(url: str, pid: int) -> float:
        tracker = await open_tracker(url, config)
        try:
            spent = await work(tracker, pid)
        finally:
            await close_tracker(url)
        return spent.things / spent.seconds

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = stack.enter_context(redis_server(folder))
        return asyncio.run(run(url, pin_redis(url, SERVER_CORE)))


class Spent(NamedTuple):
    things: int
    seconds: float


async def _links(tracker: Tracker, pid: int) -> Spent:
    """Settle pages in groups, of whose links most are known."""
    for first in range(0, REQUESTS, 2000):
        batch = [_offer(n, _domain_of(n)) for n in range(first, first + 2000)]
        await tracker.submit(CRAWL, batch, entry="known")
    chooser, fresh, seconds = random.Random(1), REQUESTS, 0.0
    for _ in range(PAGES // GROUP):
        leased = await tracker.lease("bench", GROUP, CRAWL.spiderid)
        outcomes = []
        for lease in leased.leases:
            links = []
            for _ in range(LINKS):
                known = chooser.random() < KNOWN
                fresh += not known
                number = chooser.randrange(fresh) if known else fresh
                links.append(_offer(number, _domain_of(number), depth=1))
            outcomes.append(Outcome(lease, "done", links=links, status=200))
        before = thread_seconds(pid)
        await tracker.settle("bench", outcomes)
        seconds += thread_seconds(pid) - before
    return Spent(PAGES * LINKS, seconds)


async def _fenced_leases(tracker: Tracker, pid: int) -> Spent:
    for batch in _offers(10_000):
        await tracker.submit(CRAWL, batch, entry="known")
    count, seconds = 0, 0.0
    while count < REQUESTS // 2:
        before = thread_seconds(pid)
        leased = await tracker.lease("bench", LEASED, CRAWL.spiderid)
        seconds += thread_seconds(pid) - before
        count += len(leased.leases)
        await tracker.settle("bench", [Outcome(lease, "done") for lease in leased.leases])
    return Spent(count, seconds)


class Cost(NamedTuple):
    """Of one request: microseconds to offer, lease and settle it, bytes while it is queued."""

    offer: float
    lease: float
    settle: float
    bytes: float


def _run(store: str, domains: int) -> Cost:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if store == "sqlite":
            file = folder / "tracker.db"
            return asyncio.run(_costs(f"sqlite:///{file}", domains, lambda: _disk(file)))
        url = stack.enter_context(redis_server(folder))
        pin_redis(url, SERVER_CORE)
        redis = stack.enter_context(Redis.from_url(url))
        return asyncio.run(_costs(url, domains, lambda: redis.info("memory")["used_memory"]))


def _disk(file: Path) -> int:
    return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))


async def _costs(url: str, domains: int, size: Callable[[], int]) -> Cost:
    tracker = await open_tracker(url, CONFIG)
    try:
        count, spent, empty = 0, 0.0, size()
        for batch in _offers(domains):
            began = time.perf_counter()
            await tracker.submit(CRAWL, batch, entry="known")
            spent += time.perf_counter() - began
            count += len(batch)
        queued = (size() - empty) / count
        await _lease_and_settle(tracker, LEASES // 10)
        lease, settle = await _lease_and_settle(tracker, LEASES)
        return Cost(1e6 * spent / count, lease, settle, queued)
    finally:
        await close_tracker(url)


async def _lease_and_settle(tracker: Tracker, times: int) -> tuple[float, float]:
    """Return microseconds a request, of `lease` and of `settle`."""
    leasing = settling = 0.0
    for _ in range(times):
        began = time.perf_counter()
        leased = await tracker.lease("bench", BATCH, CRAWL.spiderid)
        leasing += time.perf_counter() - began
        if len(leased.leases) != BATCH:
            raise RuntimeError(f"asked for {BATCH} requests, got {len(leased.leases)}")
        outcomes = [Outcome(lease, "done", status=200) for lease in leased.leases]
        began = time.perf_counter()
        await tracker.settle("bench", outcomes)
        settling += time.perf_counter() - began
    each = 1e6 / (times * BATCH)
    return leasing * each, settling * each


def _offers(domains: int, size: int = 2000) -> Iterator[list[Offer]]:
    for first in range(0, max(REQUESTS, domains), size):
        yield [_offer(number, number % domains) for number in range(first, first + size)]


def _domain_of(number: int) -> int:
    """Return a domain as on the web, where four of five links lead to a few."""
    return number % (7 if number % 5 else 10_000)


def _offer(number: int, domain: int, depth: int = 0) -> Offer:
    url = f"http://domain-{domain}.example/page/{number}"
    return Offer(url, f"domain-{domain}.example", fingerprint(url), 50, depth)


def tables(result: dict[str, Any]) -> list[Table]:
    rows = [
        [store, f"{domains:,}", *_cost_cells(result["costs"][f"{store} {domains}"])]
        for store in ("redis", "sqlite")
        for domains in DOMAINS
    ]
    title = (
        f"What a request costs a tracker, by domains ({result['requests']:,} queued or one in "
        f"each domain, {result['batch']} leased at a time; {result['rounds']} rounds; "
        "min / median / max)"
    )
    head = ["tracker", "domains", "offer, µs", "lease, µs", "settle, µs", "bytes queued"]
    growth = [
        [store, f"{_growth(result['costs'], store):.2f}", f"at most {LIMIT}"]
        for store in ("redis", "sqlite")
    ]
    grown = Table(
        f"Leasing with {MANY:,} domains against {FEW}", ["tracker", "ratio", "promised"], growth
    )
    return [Table(title, head, rows), grown, _per_core_table(result["cores"])]


def _cost_cells(runs: list[dict[str, float]]) -> list[str]:
    forms = {"offer": "1f", "lease": "1f", "settle": "1f", "bytes": "0f"}
    return [spread([run[name] for run in runs], form) for name, form in forms.items()]


def _growth(costs: dict[str, Any], store: str) -> float:
    few, many = (
        median([run["lease"] for run in costs[f"{store} {domains}"]]) for domains in (FEW, MANY)
    )
    return many / few


def _per_core_table(cores: dict[str, list[float]]) -> Table:
    rows = [
        [
            f"links offered, {KNOWN:.0%} known, {GROUP} pages of {LINKS} settled together",
            spread(cores["links"], "0f"),
            f"{LINKS_PROMISED:,}",
        ]
    ]
    rows += [
        [f"leases, {LEASED} at a time, {name} a throttle", spread(cores[name], "0f"), f"{n:,}"]
        for name, n in LEASES_PROMISED.items()
    ]
    title = "What a second of one Redis core does (min / median / max)"
    return Table(title, ["", "a second", "promised"], rows)

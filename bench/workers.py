"""Workers on one Redis: what a second one adds, and what the memory of one does."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.crawl import WARM_UP
from bench.kafka import kafka_on
from bench.processes import (
    CRAWLER_CORE,
    SERVER_CORE,
    cpu_seconds,
    pin,
    pin_redis,
    rss,
    running,
)
from bench.report import Table, median, spread
from bench.site import PAGES, bench_site
from bench.worker import ROOT, RUN_SPIDER, SETTINGS, submit
from tests.servers.redis_fleets import redis_cluster
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from bench.site import RunningSite

#: Pages between two looks at the memory.
STEP = 5000
#: Seconds that a slow site takes for each page, and requests that a worker then has at once.
LATENCY, AT_ONCE = 0.1, 256
#: Seconds without a page after which a run was in vain.
PATIENCE = 90.0


@dataclass(frozen=True)
class Run:
    """*count* workers: pages a second, and milliseconds of their CPU a page."""

    count: int
    pages: float
    crawler: float


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Let one worker crawl, and two others together, at once on one core."""
    runs = []
    with crawling(1, kafka=True) as alone, crawling(2, kafka=True) as together:
        for _ in range(rounds):
            with ThreadPoolExecutor() as pool:
                both = pool.map(lambda crawl: _run(crawl, seconds), (alone, together))
                runs += [asdict(run) for run in both]
            print(f"CPU ms a page: {runs[-2:]}", file=sys.stderr)
    return {"rounds": rounds, "seconds": seconds, "runs": runs}


def measure_memory(pages: int) -> dict[str, Any]:
    """Crawl so many pages with one worker; bytes of memory at every `STEP`."""
    sizes = []
    with crawling(1) as crawl:
        [worker] = crawl.workers
        for step in range(1, pages // STEP + 1):
            crawl.site.must_reach(step * STEP, PATIENCE, worker)
            sizes.append(rss(worker.pid))
            print(f"{step * STEP} pages: {sizes[-1] / 1e6:.1f} MB", file=sys.stderr)
    return {"pages": pages, "step": STEP, "sizes": sizes}


def measure_latency(rounds: int, seconds: float) -> dict[str, Any]:
    """Crawl with many requests at once, each answered at once or after `LATENCY`."""
    runs: dict[str, list[dict[str, float]]] = {"0.0": [], str(LATENCY): []}
    for _ in range(rounds):
        for latency, some in runs.items():
            busy = crawling(
                1, kafka=True, latency=float(latency), CONCURRENT_REQUESTS=str(AT_ONCE)
            )
            with busy as crawl:
                time.sleep(seconds / 2)
                some.append(asdict(_run(crawl, seconds)))
            print(f"{latency} s: {some[-1]['pages']:.0f} pages/s", file=sys.stderr)
    return {"rounds": rounds, "seconds": seconds, "runs": runs}


@dataclass(frozen=True)
class Crawl:
    """What crawls, and where: *redis* are process ids."""

    site: RunningSite
    workers: list[Popen[bytes]]
    tracker: str
    redis: list[int]


@contextmanager
def crawling(
    count: int, *, nodes: int = 1, kafka: bool = False, latency: float = 0.0, **settings: str
) -> Iterator[Crawl]:
    """Let *count* workers crawl the site, on one core together; servers have the other.

    With 3 *nodes* Redis is a cluster, and has as many shards.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        site = stack.enter_context(bench_site(SERVER_CORE, PAGES, f"--latency={latency}"))
        if nodes > 1:
            cluster = stack.enter_context(redis_cluster(folder))
            url, redis = cluster.url, [server.process.pid for server in cluster.servers]
            for pid in redis:
                pin(pid, SERVER_CORE)
        else:
            url = stack.enter_context(redis_server(folder))
            redis = [pin_redis(url, SERVER_CORE)]
        submit(url, site.start, shards=nodes)
        env = {**SETTINGS, **settings, "TRACKER": url, "TRACKER_SHARDS": str(nodes)}
        if kafka:
            env["KAFKA_HOSTS"] = stack.enter_context(kafka_on(SERVER_CORE, folder))
        workers = [
            stack.enter_context(
                running(
                    RUN_SPIDER,
                    core=CRAWLER_CORE,
                    cwd=ROOT / "crawler",
                    env=env,
                )
            )
            for _ in range(count)
        ]
        site.must_reach(WARM_UP * count, PATIENCE, *workers)
        yield Crawl(site, workers, url, redis)


def _run(crawl: Crawl, seconds: float) -> Run:
    site, workers = crawl.site, crawl.workers
    before, began, cpu = site.served(), time.monotonic(), _cpu(workers)
    time.sleep(seconds)
    pages, took = site.served() - before, time.monotonic() - began
    return Run(len(workers), pages / took, 1000 * (_cpu(workers) - cpu) / pages)


def _cpu(workers: list[Popen[bytes]]) -> float:
    return sum(cpu_seconds(worker.pid) for worker in workers)


def tables(result: dict[str, Any]) -> list[Table]:
    by_count = {
        count: [run for run in result["runs"] if run["count"] == count] for count in (1, 2)
    }
    rows = [
        [
            str(count),
            spread([run["pages"] for run in runs], "0f"),
            spread([run["crawler"] for run in runs], "2f"),
        ]
        for count, runs in by_count.items()
    ]
    ratios = [
        two["crawler"] / one["crawler"]
        for one, two in zip(by_count[1], by_count[2], strict=True)
    ]
    rows.append(["ratio of CPU a page, 2 : 1", "", f"{spread(ratios, '2f')} (at most 1.1)"])
    title = (
        f"One worker, and two on one Redis and Kafka, at once on one core, {result['rounds']} "
        f"windows of {result['seconds']:.0f} s: what counts is CPU a page"
    )
    head = [
        "workers",
        "pages/s: min / median / max",
        "CPU ms a page of all: min / median / max",
    ]
    return [Table(title, head, rows)]


def latency_tables(result: dict[str, Any]) -> list[Table]:
    at_once, late = result["runs"].values()
    rows = [
        [
            name,
            spread([run["pages"] for run in runs], "0f"),
            spread([run["crawler"] for run in runs], "2f"),
        ]
        for name, runs in (("none", at_once), (f"{1000 * LATENCY:.0f} ms", late))
    ]
    without, with_it = (median([run["pages"] for run in runs]) for runs in (at_once, late))
    rows.append(["pages/s with : without", f"{with_it / without:.2f} (at least 0.8)", ""])
    title = (
        f"A worker with {AT_ONCE} requests at once, on Redis and Kafka, {result['rounds']} "
        f"rounds of {result['seconds']:.0f} s; min / median / max"
    )
    return [Table(title, ["latency of the site", "pages/s", "CPU ms a page"], rows)]


def memory_tables(result: dict[str, Any]) -> list[Table]:
    sizes, step = result["sizes"], result["step"]
    marks = sorted({0, len(sizes) // 4, len(sizes) // 2, 3 * len(sizes) // 4, len(sizes) - 1})
    rows = [[f"{(mark + 1) * step:,}", f"{sizes[mark] / 1e6:.1f}"] for mark in marks]
    title = f"Memory of one worker over {result['pages']:,} pages"
    return [Table(title, ["pages", "resident MB"], rows)]

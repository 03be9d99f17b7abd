"""A worker at full speed whose Kafka, or Redis, is away for two minutes."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer

from bench.processes import CRAWLER_CORE, SERVER_CORE, rss, running
from bench.report import Table
from bench.site import bench_site
from bench.worker import ROOT, RUN_SPIDER, SETTINGS, submit
from tests.chaos.arena import durable_redis
from tests.servers.kafka_server import kafka_server

if TYPE_CHECKING:
    from bench.site import RunningSite
    from tests.servers.kafka_server import KafkaServer
    from tests.servers.redis_fleets import Server

#: A prime, so that every page is reached from the first, which has a second URL.
PAGES = 20_011
URLS = PAGES + 1
#: Pages before the server goes away.
BEFORE = 8000
#: Seconds without a page after which nothing more is expected.
QUIET = 60.0
TOPIC = "demo.crawled_firehose"


@dataclass(frozen=True)
class Run:
    """Bytes of memory, seconds until the first page after the outage, and the books."""

    before: int
    most: int
    again: float
    lost: int


def measure(seconds: float) -> dict[str, Any]:
    runs = {}
    for name in ("Kafka", "Redis"):
        runs[name] = _run(name, seconds)
        print(f"{name}: {runs[name]}", file=sys.stderr)
    return {"seconds": seconds, "runs": {name: asdict(run) for name, run in runs.items()}}


def _run(name: str, seconds: float) -> Run:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        site = stack.enter_context(bench_site(SERVER_CORE, PAGES))
        kafka = stack.enter_context(kafka_server(folder))
        redis = stack.enter_context(durable_redis(folder / "redis"))
        url = f"redis://127.0.0.1:{redis.port}/0"
        submit(url, site.start)
        env = {**SETTINGS, "TRACKER": url, "KAFKA_HOSTS": kafka.hosts}
        worker = stack.enter_context(
            running(RUN_SPIDER, core=CRAWLER_CORE, cwd=ROOT / "crawler", env=env)
        )
        site.must_reach(BEFORE, QUIET)
        before, most, again = _outage(
            kafka if name == "Kafka" else redis, site, worker.pid, seconds
        )
        site.must_reach(URLS, QUIET)
        return Run(before, most, again, URLS - _sent(kafka.hosts))


def _outage(
    server: KafkaServer | Server, site: RunningSite, pid: int, seconds: float
) -> tuple[int, int, float]:
    before = most = rss(pid)
    server.kill()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, rss(pid))
        time.sleep(0.5)
    server.start()
    back, served = time.monotonic(), site.served()
    site.must_reach(served + 1, QUIET)
    return before, most, time.monotonic() - back


def _sent(hosts: str) -> int:
    """Return how many different pages came to Kafka, when no more come."""
    consumer = KafkaConsumer(TOPIC, bootstrap_servers=hosts, auto_offset_reset="earliest")
    with closing(consumer):
        urls, last = set[str](), time.monotonic()
        while len(urls) < URLS and time.monotonic() < last + QUIET:
            for records in consumer.poll(timeout_ms=500).values():
                urls |= {json.loads(record.value)["url"] for record in records}
                last = time.monotonic()
    return len(urls)


def tables(result: dict[str, Any]) -> list[Table]:
    title = (
        f"Kafka, then Redis, killed for {result['seconds']:.0f} s while a worker crawls "
        f"{URLS:,} pages at full speed"
    )
    head = [
        "away",
        "resident MB before",
        "at most while it was away",
        "seconds until the next page",
        "pages lost",
    ]
    rows = [
        [
            name,
            f"{run['before'] / 1e6:.1f}",
            f"{run['most'] / 1e6:.1f}",
            f"{run['again']:.1f}",
            str(run["lost"]),
        ]
        for name, run in result["runs"].items()
    ]
    return [Table(title, head, rows)]

"""The books of a crawl of a million pages whose workers are killed."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer

from bench.processes import CRAWLER_CORE, SERVER_CORE, InVain, running
from bench.report import Table
from bench.site import bench_site
from bench.worker import ROOT, RUN_SPIDER, SETTINGS, submit
from tests.acceptance.crawls import ask
from tests.chaos.arena import durable_redis
from tests.servers.kafka_server import kafka_server

if TYPE_CHECKING:
    from subprocess import Popen

    from crawling.tracker.tracker import CrawlStatus, Tracker

#: A prime, so that every page is reached from the first, which has a second URL.
PAGES = 1_000_003
WORKERS, KILLS = 2, 5
LEASE_TIMEOUT = 10
#: Seconds without a page after which nothing more is expected.
QUIET = 60.0
TOPIC = "demo.crawled_firehose"


@dataclass(frozen=True)
class Run:
    """The ledger, and what came on Kafka; *in_flight* has the requests at each kill."""

    seconds: float
    state: str
    accepted: int
    done: int
    failed: int
    dropped: int
    ended: int
    in_flight: list[int]
    messages: int
    urls: int
    requestids: int


def measure(pages: int = PAGES) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        site = stack.enter_context(bench_site(SERVER_CORE, pages, "--links=20", "--size=3000"))
        kafka = stack.enter_context(kafka_server(folder))
        redis = stack.enter_context(durable_redis(folder / "redis"))
        url = f"redis://127.0.0.1:{redis.port}/0"
        submit(url, site.start)
        env = {
            **SETTINGS,
            "TRACKER": url,
            "KAFKA_HOSTS": kafka.hosts,
            "LEASE_TIMEOUT": str(LEASE_TIMEOUT),
        }

        def worker() -> Popen[bytes]:
            return stack.enter_context(
                running(RUN_SPIDER, core=CRAWLER_CORE, cwd=ROOT / "crawler", env=env)
            )

        began = time.monotonic()
        workers, in_flight = [worker() for _ in range(WORKERS)], []
        for kill in range(KILLS):
            site.must_reach((kill + 1) * pages // (KILLS + 1), QUIET)
            victim = workers[kill % WORKERS]
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            in_flight.append(_leased(url, victim.pid))
            workers[kill % WORKERS] = worker()
            print(f"{time.monotonic() - began:.0f} s: kill {kill + 1}", file=sys.stderr)
        site.must_reach(pages + 1, QUIET)
        books = _books(url)
        run = Run(
            round(time.monotonic() - began),
            books.state,
            books.accepted,
            books.done,
            books.failed,
            books.dropped,
            len(ask(url, lambda tracker: tracker.events())),
            in_flight,
            *_arrived(kafka.hosts),
        )
    return {"pages": pages + 1, "workers": WORKERS, "run": asdict(run)}


def _leased(tracker: str, pid: int) -> int:
    async def leased(tracker: Tracker) -> int:
        return sum(some.leased for some in await tracker.workers() if some.pid == str(pid))

    return ask(tracker, leased)


def _books(tracker: str) -> CrawlStatus:
    """Return the books when the crawl has ended."""

    async def books(tracker: Tracker) -> CrawlStatus | None:
        [crawl] = await tracker.crawls()
        return await tracker.crawl(crawl)

    deadline = time.monotonic() + QUIET
    while (status := ask(tracker, books)) is None or status.state == "running":
        if time.monotonic() > deadline:
            raise InVain(f"the crawl does not end: {status}")
        time.sleep(0.5)
    return status


def _arrived(hosts: str) -> tuple[int, int, int]:
    """Return how many messages came to Kafka, of how many URLs, with how many ids."""
    consumer = KafkaConsumer(TOPIC, bootstrap_servers=hosts, auto_offset_reset="earliest")
    messages, last = 0, time.monotonic()
    urls, ids = set[str](), set[str]()
    with closing(consumer):
        while time.monotonic() < last + 10.0:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    page = json.loads(record.value)
                    messages += 1
                    urls.add(page["url"])
                    ids.add(page["requestid"])
                last = time.monotonic()
    return messages, len(urls), len(ids)


def tables(result: dict[str, Any]) -> list[Table]:
    run, pages = result["run"], result["pages"]
    kills = len(run["in_flight"])
    title = (
        f"The books of a crawl of {pages:,} pages of 3 kB with 20 links, {kills} times one of "
        f"{result['workers']} workers killed with SIGKILL and started again at once"
    )
    rows = [
        ["state of the crawl", run["state"]],
        *(
            [f"ledger: {column}", f"{run[column]:,}"]
            for column in ("accepted", "done", "failed", "dropped")
        ),
        ["`finished` events", f"{run['ended']}"],
        ["different URLs on Kafka", f"{run['urls']:,}"],
        ["pages lost", f"{pages - run['urls']:,}"],
        ["different `requestid`s", f"{run['requestids']:,}"],
        ["pages that came once more", f"{run['messages'] - run['urls']:,}"],
        ["requests in flight at the kills", " + ".join(map(str, run["in_flight"]))],
        ["minutes", f"{run['seconds'] / 60:.0f}"],
    ]
    return [Table(title, ["", ""], rows)]

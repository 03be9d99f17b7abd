"""Where the CPU of a page goes: a worker on Redis and Kafka under py-spy, by stage."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.processes import cpu_seconds
from bench.report import Table
from bench.workers import crawling

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Samples a second.
RATE = 50
#: Stage -> what names it, in frames of the form `function (file.py:line)`.  The frame
#: nearest to the leaf that names a stage has the sample.
STAGES = {
    "finding links in the markup": ("spiders/markup.py", "spiders/link_extraction.py"),
    "judging links: rules, domain, fingerprint": ("crawling/links.py", "tracker/urls.py"),
    "talk with Redis": ("crawling/tracker/", "redis/"),
    "leases in and out": ("crawling/leasing.py", "lease_buffer.py", "distributed_scheduler"),
    "making the Request": ("request_record.py", "scrapy/http/request"),
    "page to Kafka message": ("kafka_saver.py", "messages/page.py", "crawling/items.py"),
    "Kafka client": ("service/kafka.py", "kafka/", "crc32c"),
    "logging": ("logging/__init__.py", "service/logs.py", "fleet_logs.py"),
    "spider: item and headers": ("redis_spider.py", "link_spider.py"),
    "books of the leases (hooks)": ("engine_hooks.py", "in_flight.py", "held_lease.py"),
    "robots, addresses, retries, statistics": ("_middleware.py", "address_guard.py"),
    "Scrapy's downloader middlewares": (
        "scrapy/downloadermiddlewares",
        "downloader/middleware",
    ),
    "Scrapy's spider middlewares": ("scrapy/spidermiddlewares", "scrapy/core/spidermw"),
    "Scrapy's HTTP handler": (
        "handlers/http11",
        "handlers/_aiohttp",
        "twisted/web",
        "aiohttp/",
    ),
    "response: class and decoding": ("scrapy/responsetypes", "scrapy/http/response"),
    "signals and statistics": ("scrapy/signalmanager", "utils/signal.py", "statscollectors"),
    "Scrapy's engine, scraper, pipelines": ("scrapy/core/", "scrapy/middleware", "utils/defer"),
    "event loop, sockets, Deferreds": ("asyncio/", "selectors.py", "twisted/internet"),
}


def measure(seconds: float) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        crawl = stack.enter_context(crawling(1, kafka=True))
        site, [worker] = crawl.site, crawl.workers
        time.sleep(3.0)
        before, cpu = site.served(), cpu_seconds(worker.pid)
        stacks = _record(worker.pid, seconds, folder / "stacks")
        pages = site.served() - before
        each = 1000 * (cpu_seconds(worker.pid) - cpu) / pages
    samples = Counter[str]()
    for line in stacks:
        text, _, count = line.rpartition(" ")
        samples[stage_of(text.split(";"))] += int(count)
    return {"ms": each, "pages": pages, "samples": dict(samples.most_common())}


def _record(pid: int, seconds: float, path: Path) -> list[str]:
    spy = str(Path(sys.executable).with_name("py-spy"))
    command = [spy, "record", "--format", "raw", "--pid", str(pid), "--output", str(path)]
    command += ["--rate", str(RATE), "--duration", str(round(seconds))]
    # Who holds it computes; whether a thread without it waits, the sampler often mistakes.
    command += ["--gil"]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_text().splitlines()


def stage_of(frames: Iterable[str]) -> str:
    for frame in reversed(list(frames)):
        for stage, parts in STAGES.items():
            if any(part in frame for part in parts):
                return stage
    return "the rest"


def tables(result: dict[str, Any]) -> list[Table]:
    whole = sum(result["samples"].values())
    rows = [
        [stage, f"{100 * count / whole:.1f} %", f"{result['ms'] * count / whole:.3f}"]
        for stage, count in result["samples"].items()
    ]
    rows.append(["all", "100 %", f"{result['ms']:.3f}"])
    title = (
        f"CPU of a page, by stage ({result['pages']:,} pages of one worker, links, Kafka; "
        "where the interpreter's lock was held)"
    )
    return [Table(title, ["stage", "share", "CPU ms a page"], rows)]

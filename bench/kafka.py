"""Crawl requests from a Kafka topic into Redis, by one Kafka monitor on a core of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis import Redis

from bench.processes import (
    CRAWLER_CORE,
    SERVER_CORE,
    InVain,
    cpu_seconds,
    pin_redis,
    pinned,
    running,
)
from bench.report import Table
from bench.worker import ROOT
from crawling import settings as defaults
from crawling.service.config import named
from crawling.service.kafka import kafka_config
from crawling.service.kafka_sender import KafkaSender
from tests.servers.kafka_server import any_kafka
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUESTS = 20_000
#: Requests that share a crawl.
SIZES = (1, 1000)
#: Seconds until a run that does not end is given up.
PATIENCE = 120.0
PACKAGES = ":".join(str(ROOT / folder) for folder in ("crawler", "kafka-monitor"))


def measure(requests: int = REQUESTS) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        hosts = stack.enter_context(kafka_on(SERVER_CORE, folder))
        url = stack.enter_context(redis_server(folder))
        pin_redis(url, SERVER_CORE)
        runs = {size: _run(url, hosts, folder, requests, size) for size in SIZES}
    return {"requests": requests, "runs": {str(size): run for size, run in runs.items()}}


@contextmanager
def kafka_on(core: int, folder: Path) -> Iterator[str]:
    """Yield the address of a broker, which has *core* if it is our own."""
    with ExitStack() as stack:
        with pinned(core):
            hosts = stack.enter_context(any_kafka(folder))
        if hosts is None:
            raise InVain("there is no Kafka: set KAFKA_HOSTS, or run `make test` once")
        yield hosts


def _run(url: str, hosts: str, folder: Path, requests: int, size: int) -> dict[str, float]:
    prefix = f"bench-{uuid4().hex[:12]}"
    env = {
        "PYTHONPATH": PACKAGES,
        "TRACKER": url,
        "KAFKA_HOSTS": hosts,
        "KAFKA_INCOMING_TOPIC": f"{prefix}.incoming",
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_GROUP": prefix,
    }
    asyncio.run(_feed(env, requests, size))
    command = [sys.executable, "-m", "kafka_monitor", "run", "-ll", "INFO"]
    with Redis.from_url(url) as client:
        client.flushall()

        def queued() -> int:
            # Each request is numbered by the tracker.
            return int(client.hget("fleet:meta", "seq") or 0)

        with running(command, core=CRAWLER_CORE, cwd=folder, env=env) as process:
            _until(lambda: queued() > 0)
            began, cpu, already = time.monotonic(), cpu_seconds(process.pid), queued()
            _until(lambda: queued() >= requests)
            seconds = time.monotonic() - began
            cpu = cpu_seconds(process.pid) - cpu
    taken = requests - already
    return {"rate": taken / seconds, "cpu_ms": 1000 * cpu / taken}


async def _feed(env: dict[str, str], requests: int, size: int) -> None:
    settings = {**named(defaults), **env, "KAFKA_HOSTS": [env["KAFKA_HOSTS"]]}
    sender = KafkaSender(kafka_config(settings))
    await sender.open()
    messages = (json.dumps(_request(number, size)).encode() for number in range(requests))
    topic = env["KAFKA_INCOMING_TOPIC"]
    await sender.ensure_topic(topic)
    await asyncio.gather(*(sender.send(topic, message) for message in messages))
    await sender.close()


def _request(number: int, size: int) -> dict[str, Any]:
    return {
        "url": f"https://www.site-{number % 5000}.com/news/some-words-{number}.html",
        "appid": "bench",
        "crawlid": f"crawl-{number // size}",
        "maxdepth": 2,
        "priority": number % 100 + 1,
        "attrs": {"number": number},
    }


def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_true():
        if time.monotonic() > deadline:
            raise InVain(f"not within {PATIENCE:.0f} s")
        time.sleep(0.02)


def tables(result: dict[str, Any]) -> list[Table]:
    head = [
        "requests a crawl",
        "requests/s",
        "CPU ms a request",
        "requests a second of its core",
        "promised",
    ]
    rows = [
        [
            size,
            f"{run['rate']:,.0f}",
            f"{run['cpu_ms']:.3f}",
            f"{1000 / run['cpu_ms']:,.0f}",
            "at least 5,000",
        ]
        for size, run in result["runs"].items()
    ]
    title = (
        f"Taking in {result['requests']:,} crawl requests from Kafka into Redis: "
        "one Kafka monitor on one core, each request logged"
    )
    return [Table(title, head, rows)]

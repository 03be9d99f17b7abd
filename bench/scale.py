"""What a crawl of billions of pages would take, from what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report import Table, median

if TYPE_CHECKING:
    from collections.abc import Mapping

BILLIONS, DAYS = (1, 10, 100), 30
#: How busy a core may be, URLs that wait in Redis for each page, and bytes of a message
#: on Kafka (a page of 15 kB; zstd keeps a quarter).
BUSY, WAITING, MESSAGE = 0.7, 0.5, 17_000
#: Megabytes of a worker, copies of each message and of each shard.
WORKER_MB, COPIES, REPLICAS = 150, 3, 2
#: Assumed, US dollars an hour: a core, a GB of memory; and a GB on disk for a month.
CORE_PRICE, MEMORY_PRICE, DISK_PRICE = 0.04, 0.005, 0.08


def measure(costs: Mapping[str, Any]) -> dict[str, Any]:
    cluster = costs["crawl"]["runs"]["cluster"]
    return {
        "worker": median([each["crawler"] for each in cluster]) / 1000,
        "redis": median([each["redis"] for each in cluster]) / 1000,
        "bytes": costs["ingest"]["redis_bytes"],
    }


def tables(result: dict[str, Any]) -> list[Table]:
    rows = [_row(result, billions) for billions in BILLIONS]
    title = (
        f"A crawl in {DAYS} days, cores {BUSY:.0%} busy: worker {1000 * result['worker']:.2f} ms "
        f"and Redis {1000 * result['redis']:.2f} ms a page, {result['bytes']:.0f} bytes a URL"
    )
    head = [
        "pages",
        "pages/s",
        "workers (a core each)",
        "shards (a core each)",
        "memory of all shards",
        "into Kafka",
        "dollars, as assumed",
    ]
    return [Table(title, head, rows)]


def _row(costs: Mapping[str, float], billions: int) -> list[str]:
    pages, hours = billions * 1e9, DAYS * 24
    rate = pages / (hours * 3600)
    workers = rate * costs["worker"] / BUSY
    shards = max(1.0, rate * costs["redis"] / BUSY)
    # What was fetched stays in the dupefilter, what waits is in a queue too.
    gigabytes = pages * (costs["bytes"] * WAITING + 21) / 1e9
    memory = gigabytes * REPLICAS + workers * WORKER_MB / 1000
    disk = pages * MESSAGE * COPIES / 4 / 1e9
    cores = workers + shards * REPLICAS
    bill = hours * (cores * CORE_PRICE + memory * MEMORY_PRICE) + disk * DISK_PRICE
    return [
        f"{billions} billion",
        f"{rate:,.0f}",
        f"{workers:,.0f}",
        f"{shards:,.0f}",
        f"{gigabytes:,.0f} GB",
        f"{rate * MESSAGE / 4 / 1e6:,.0f} MB/s",
        f"{bill:,.0f}",
    ]

"""What crawls that have ended may leave in Redis: nothing that no crawl or worker owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.tracker.redis_tracker import RedisTracker
from crawling.tracker.sharded_tracker import ShardedTracker
from tests.integration.redis_fleet import parts_of

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker

#: What there is only while a crawl runs, or is being cleared up.
OF_RUNNING_CRAWLS = frozenset(
    {
        "{spider}:{domain}:queue",
        "{spider}:{domain}:queue:{cno}.{run}:{priority}",
        "fleet:lanes:{cno}.{run}",
        "fleet:parked:{cno}.{run}",
        "fleet:pages:{cno}",
        "fleet:pages:{cno}.{run}",
        "fleet:ready:{view}",
        "fleet:resting:{view}",
        "fleet:active:{spider}",
        "fleet:flight:{spider}",
        "fleet:capped:{spider}",
        "fleet:delayed",
        "fleet:delayed:{spider}",
        "fleet:dead",
        "fleet:dead:{grave}",
        "fleet:expires",
        "fleet:holds",
        "fleet:quiet",
        "fleet:sweep",
    }
)


async def leftovers(tracker: Tracker) -> list[str]:
    """Return the keys that nothing owns, of a tracker all whose crawls have ended."""
    shards = tracker.shards if isinstance(tracker, ShardedTracker) else [tracker]
    found: list[str] = []
    for shard in shards:
        assert isinstance(shard, RedisTracker)
        found += await _leftovers(shard)
    return found


async def _leftovers(tracker: RedisTracker) -> list[str]:
    tag = tracker.keys.tag
    keys = [key.decode().removeprefix(tag) async for key in tracker._redis.scan_iter(f"{tag}*")]
    workers = {worker.worker for worker in await tracker.workers()}
    parted = {key: parts_of(key) for key in keys}
    crawls = {
        names["cno"] for pattern, names in parted.values() if pattern == "fleet:crawl:{cno}"
    }
    return [
        tag + key
        for key, (pattern, names) in parted.items()
        if pattern in OF_RUNNING_CRAWLS
        or names.get("cno", "") not in {"", *crawls}
        or names.get("worker", "") not in {"", *workers}
        or (pattern is None and not key.startswith("stats:"))
    ]

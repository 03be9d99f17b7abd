"""What the tests of the Redis tracker alone need."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from crawling.tracker.keys import PATTERNS
from crawling.tracker.redis_tracker import RedisTracker
from crawling.tracker.tracker import TrackerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis import Redis

EAGER = TrackerConfig(hits=0, concurrency=1000, retry_delay=0.0, lease_timeout=0.2)


@asynccontextmanager
async def redis_tracker(
    url: str, *, tag: str = "", **changes: Any
) -> AsyncIterator[RedisTracker]:
    tracker = RedisTracker(url, replace(EAGER, **changes), tag=tag)
    await tracker.open()
    try:
        yield tracker
    finally:
        await tracker.close()


def all_keys(redis: Redis) -> set[str]:
    return {key.decode() for key in cast("list[bytes]", redis.keys())}


#: What stays when no crawl is known: nothing of it belongs to one.
LASTING = {
    "fleet:meta",
    "fleet:views",
    "fleet:workers",
    "fleet:outbox",
    "fleet:idle:link",
    "fleet:times",
}


def pattern_of(key: str) -> str | None:
    """Return the pattern of `keys.PATTERNS` that a key has."""
    return parts_of(key)[0]


def parts_of(key: str) -> tuple[str | None, dict[str, str]]:
    """Return the pattern of `keys.PATTERNS` that a key has, and what stands for its names."""
    for pattern, expression in _EXPRESSIONS.items():
        if found := expression.fullmatch(key):
            return pattern, found.groupdict()
    return None, {}


def _expression(pattern: str) -> re.Pattern[str]:
    wildcards = {"domain": ".+", "worker": ".+", "throttle": r"(?:[^:]+:)*", "partition": ".+"}
    parts = re.split(r"\{(\w+)\}", pattern)
    for index in range(1, len(parts), 2):
        parts[index] = f"(?P<{parts[index]}>{wildcards.get(parts[index], '[^:]+')})"
    for index in range(0, len(parts), 2):
        parts[index] = re.escape(parts[index])
    return re.compile("".join(parts))


_EXPRESSIONS = {pattern: _expression(pattern) for pattern in PATTERNS}

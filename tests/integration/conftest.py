from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.tracker import TrackerConfig
from tests.integration.monitoring import monitored
from tests.integration.serving import serving_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Tracker
    from tests.integration.monitoring import Monitored
    from tests.integration.serving import Served
    from tests.integration.tracking import MakeTracker

#: How many shards the tracker over shards has, on a cluster of three.
SHARDS = 4
#: What most tests want: nothing rests, and a retry is due at once.
EAGER = TrackerConfig(hits=0, concurrency=1000, retry_delay=0.0, lease_timeout=0.2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is promised of one shard alone; shards.md says what differs."""
    left_out = [
        item
        for item in items
        if item.get_closest_marker("one_shard") and "[shards" in item.name
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(params=["memory", "file", "redis", "cluster", "shards"])
def tracker_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tracker_url(tracker_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty tracker, of each kind in turn."""
    if tracker_kind == "memory":
        return "sqlite://"
    if tracker_kind == "file":
        return f"sqlite:///{tmp_path}/crawl.db"
    if tracker_kind in {"cluster", "shards"}:
        return str(request.getfixturevalue("cluster").url)
    request.getfixturevalue("redis")
    return str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def make_tracker(tracker_kind: str, tracker_url: str) -> AsyncIterator[MakeTracker]:
    """Return a function that opens one more tracker at the same URL, eager but for *changes*.

    In memory each has a database of its own.
    """
    trackers: list[Tracker] = []

    async def make(**changes: object) -> Tracker:
        shards = SHARDS if tracker_kind == "shards" else 1
        config = replace(EAGER, shards=shards, **changes)  # type: ignore[arg-type]  # fields by name
        tracker = tracker_at(tracker_url, config)
        await tracker.open()
        trackers.append(tracker)
        return tracker

    yield make
    for tracker in trackers:
        await tracker.close()


@pytest.fixture
async def tracker(make_tracker: MakeTracker) -> Tracker:
    return await make_tracker()


@pytest.fixture
async def kafka(
    redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> AsyncIterator[Monitored]:
    redis.ping()
    async with monitored(redis_url, kafka_hosts, topic_prefix) as made:
        yield made


@pytest.fixture
async def rest(tracker_url: str, tracker: Tracker) -> AsyncIterator[Served]:
    """Return a REST service over the tracker of the test."""
    async with serving_over(tracker_url, tracker) as served:
        yield served

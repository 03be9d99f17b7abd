from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.tracker import TrackerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker

#: What most tests want: nothing rests, and a retry is due at once.
EAGER = TrackerConfig(hits=0, concurrency=1000, retry_delay=0.0, lease_timeout=0.2)


@pytest.fixture(params=["memory", "file", "redis"])
def tracker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty tracker, of each kind in turn."""
    if request.param == "memory":
        return "sqlite://"
    if request.param == "file":
        return f"sqlite:///{tmp_path}/crawl.db"
    request.getfixturevalue("redis")
    return str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def make_tracker(tracker_url: str) -> AsyncIterator[MakeTracker]:
    """Return a function that opens one more tracker at the same URL, eager but for *changes*.

    In memory each has a database of its own.
    """
    trackers: list[Tracker] = []

    async def make(**changes: object) -> Tracker:
        config = replace(EAGER, **changes)  # type: ignore[arg-type]  # fields by name
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

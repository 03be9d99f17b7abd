"""One tracker per URL and process, whoever asks for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError, FleetError
from crawling.tracker.redis_connect import is_redis, shown, tag_of

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker, TrackerConfig

#: URL -> the tracker, or what opens it at this moment, and how many use it.
_open: dict[str, tuple[asyncio.Future[Tracker], int]] = {}


async def open_tracker(url: str, config: TrackerConfig) -> Tracker:
    """Open the tracker at *url*, or share the one that this process has open.

    The scheduler and `CrawlManager` so use one connection pool, and `sqlite://` (in
    memory) is the same tracker for both.  Each caller ends with `close_tracker`.
    """
    if url in _open:
        opening, users = _open[url]
    else:
        opening, users = asyncio.ensure_future(_opened(url, config)), 0
    _open[url] = (opening, users + 1)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(FleetError):
            await close_tracker(url)
        raise
    except Exception:
        if url in _open and _open[url][0] is opening:
            del _open[url]
        raise


async def close_tracker(url: str) -> None:
    opening, users = _open[url]
    if users > 1:
        _open[url] = (opening, users - 1)
        return
    del _open[url]
    tracker = await opening
    await tracker.close()


async def _opened(url: str, config: TrackerConfig) -> Tracker:
    tracker = _make(url, config)
    await tracker.open()
    return tracker


def _make(url: str, config: TrackerConfig) -> Tracker:
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        from crawling.tracker.sqlite_tracker import SqliteTracker  # noqa: PLC0415

        return SqliteTracker(url, config)
    if is_redis(url):
        if config.shards > 1:
            from crawling.tracker.sharded_tracker import ShardedTracker  # noqa: PLC0415

            return ShardedTracker(url, config)
        from crawling.tracker.redis_tracker import RedisTracker  # noqa: PLC0415

        return RedisTracker(url, config, tag=tag_of(url))
    raise ConfigError(
        "TRACKER",
        f"must be sqlite://, sqlite:///FILE, redis://, rediss://, unix://, redis+sentinel:// or "
        f"redis+cluster://, not {shown(url)!r}",
    )

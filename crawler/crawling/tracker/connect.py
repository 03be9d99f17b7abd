"""One tracker per URL and process, whoever asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker, TrackerConfig

_open: dict[str, tuple[Tracker, int]] = {}


async def open_tracker(url: str, config: TrackerConfig) -> Tracker:
    """Open the tracker at *url*, or share the one that this process has open.

    The scheduler and `CrawlManager` so use one connection pool, and `sqlite://` (in
    memory) is the same tracker for both.  Each caller ends with `close_tracker`.
    """
    if url in _open:
        tracker, users = _open[url]
        _open[url] = (tracker, users + 1)
        return tracker
    tracker = _make(url, config)
    await tracker.open()
    _open[url] = (tracker, 1)
    return tracker


async def close_tracker(url: str) -> None:
    tracker, users = _open[url]
    if users > 1:
        _open[url] = (tracker, users - 1)
        return
    del _open[url]
    await tracker.close()


def _make(url: str, config: TrackerConfig) -> Tracker:
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        from crawling.tracker.sqlite_tracker import SqliteTracker  # noqa: PLC0415

        return SqliteTracker(url, config)
    if scheme in {"redis", "rediss", "unix"}:
        from crawling.tracker.redis_tracker import RedisTracker  # noqa: PLC0415

        return RedisTracker(url, config)
    raise ConfigError(
        "TRACKER",
        f"must be sqlite://, sqlite:///FILE, redis://, rediss:// or unix://, not {url!r}",
    )

"""Counts over rolling windows and for ever, in memory and in Redis."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError, ResponseError

from crawling.tracker.redis_connect import redis_client, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

logger = logging.getLogger(__name__)

#: Buckets of a window: its sum is exact to this part of it.
BUCKETS = 60
#: Seconds with a count of their own at most, for all names together.
FRESH = 600
LIFETIME = "lifetime"
#: Every key of the statistics; docs/reference/redis_keys.md tells what is in them.
PATTERNS = (
    "{prefix}:{counter}:{window}",
    "{prefix}:{counter}:lifetime",
    "{prefix}:names",
    "stats:prefixes",
    "stats:{service}:self:{host}:{uuid}",
    "stats:{service}:nodes",
)
#: Sorted set of the prefixes under which there are counts, by the time of the last write:
#: nobody has to search the keys.
PREFIXES = "stats:prefixes"


def names_key(prefix: str) -> str:
    """Return the key of the set of all names that were ever counted under *prefix*."""
    return f"{prefix}:names"


class Bucket(NamedTuple):
    """The part of a window that begins at *start* (Unix time); window 0: for ever."""

    name: str
    window: int
    start: int


class RollingCounts:
    """How often each name was counted, in each of *windows* (seconds) and for ever.

    Counting is one addition; what a name takes is bounded by the buckets.
    """

    def __init__(self, windows: Sequence[int], clock: Callable[[], float] = time.time) -> None:
        self._windows = tuple(windows)
        self._clock = clock
        #: What was counted in each second, until it is sorted into the buckets.
        self._fresh: Counter[tuple[str, int]] = Counter()
        self._lifetime: Counter[str] = Counter()
        self._buckets: dict[tuple[str, int], deque[list[int]]] = {}
        self._pending: Counter[Bucket] = Counter()

    def count(self, name: str) -> None:
        self._fresh[name, int(self._clock())] += 1
        if len(self._fresh) > FRESH:
            self._sort()

    def total(self, name: str, window: int) -> int:
        self._sort()
        buckets = self._buckets.get((name, window), ())
        oldest = self._clock() - window
        return sum(count for start, count in buckets if start > oldest)

    def totals(self) -> dict[str, dict[str, int]]:
        """Return the sums of each name by window (its seconds as text) and `lifetime`."""
        self._sort()
        return {
            name: {
                **{str(window): self.total(name, window) for window in self._windows},
                LIFETIME: count,
            }
            for name, count in self._lifetime.items()
        }

    def take(self) -> Counter[Bucket]:
        """Return what was counted since the last call."""
        self._sort()
        pending, self._pending = self._pending, Counter()
        return pending

    def put_back(self, pending: Counter[Bucket]) -> None:
        """Keep what could not be written, for the next `take`."""
        self._pending = self._current(self._pending + pending)

    def _sort(self) -> None:
        fresh, self._fresh = self._fresh, Counter()
        for (name, second), count in fresh.items():
            self._lifetime[name] += count
            self._pending[Bucket(name, 0, 0)] += count
            for window in self._windows:
                self._add(Bucket(name, window, bucket_start(second, window)), count)
        # Where nobody writes nobody takes either.
        self._pending = self._current(self._pending)

    def _add(self, bucket: Bucket, count: int) -> None:
        self._pending[bucket] += count
        buckets = self._buckets.setdefault((bucket.name, bucket.window), deque())
        if not buckets or buckets[-1][0] < bucket.start:
            buckets.append([bucket.start, 0])
            _forget(buckets, bucket.start - bucket.window)
        buckets[-1][1] += count

    def _current(self, pending: Counter[Bucket]) -> Counter[Bucket]:
        """Return *pending* without what its window holds no longer."""
        now = self._clock()
        return Counter(
            {
                bucket: count
                for bucket, count in pending.items()
                if not bucket.window or bucket.start > now - bucket.window
            }
        )


class RedisCounts:
    """Adds counts to those of all processes that share *prefix*.

    `<prefix>:<name>:<window>` is a hash of bucket start to count, `<prefix>:<name>:lifetime`
    a number.  A window expires when nothing was counted in it for its length.
    """

    def __init__(self, url: str, prefix: str, *, timeout: float) -> None:
        self._prefix = prefix
        self._windows_seen: dict[tuple[str, int], int] = {}
        self._tag = tag_of(url)
        self._redis = redis_client(url, tag=self._tag, timeout=timeout, connections=1)

    async def write(self, counts: RollingCounts) -> None:
        """Send what was counted since the last write, in one round trip.

        Without Redis it is kept for the next write.
        """
        pending = counts.take()
        if not pending:
            return
        try:
            answers = await self._send(pending)
        except RedisError as error:
            counts.put_back(pending)
            self._warn(error)
            return
        refused = next((a for a in answers if isinstance(a, ResponseError)), None)
        if refused is not None:
            self._warn(refused)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _send(self, pending: Counter[Bucket]) -> list[object]:
        pipeline = self._redis.pipeline(transaction=False)
        tagged = f"{self._tag}{self._prefix}"
        pipeline.zadd(f"{self._tag}{PREFIXES}", {self._prefix: time.time()})
        pipeline.sadd(names_key(tagged), *{bucket.name for bucket in pending})
        for bucket, count in pending.items():
            if not bucket.window:
                pipeline.incrby(f"{tagged}:{bucket.name}:{LIFETIME}", count)
                continue
            key = f"{tagged}:{bucket.name}:{bucket.window}"
            pipeline.hincrby(key, str(bucket.start), count)
            if self._windows_seen.get((bucket.name, bucket.window), 0) < bucket.start:
                self._windows_seen[bucket.name, bucket.window] = bucket.start
                pipeline.hdel(key, *_stale(bucket))
            pipeline.expire(key, bucket.window)
        # Another program's key of the same name must not take the other counts along.
        answers: list[object] = await pipeline.execute(raise_on_error=False)
        return answers

    def _warn(self, error: RedisError) -> None:
        logger.warning(
            "Statistics not written",
            extra={"action": "stats", "key": self._prefix, "error": str(error)},
        )


def bucket_width(window: int) -> int:
    return max(1, window // BUCKETS)


def bucket_start(second: int, window: int) -> int:
    width = bucket_width(window)
    return second // width * width


def _stale(bucket: Bucket) -> Iterable[str]:
    """Return the buckets that a window of the same age before the current one held.

    Older ones are gone: their key expired, or was written and so cleaned since.
    """
    width = bucket_width(bucket.window)
    newest = bucket.start - bucket.window
    return [str(start) for start in range(newest, newest - bucket.window - width, -width)]


def _forget(buckets: deque[list[int]], oldest: float) -> None:
    while buckets[0][0] <= oldest:
        buckets.popleft()

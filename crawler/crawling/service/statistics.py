"""Reading what all processes of the fleet have counted; nothing here searches the keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from crawling.service.counters import LIFETIME, PREFIXES, names_key
from crawling.service.node import heartbeat_key, nodes_key
from crawling.tracker.redis_connect import redis_client, tag_of
from crawling.tracker.scripts import answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    #: Sums by window, its seconds as text, and `lifetime`.
    Sums = dict[str, int]

#: Seconds after which what nobody has counted in any more is forgotten.
FORGET = 2_592_000.0


class Statistics:
    """The counts in one Redis, over the rolling *windows* (seconds)."""

    def __init__(self, url: str, windows: Sequence[int], *, timeout: float) -> None:
        self._windows = [*map(str, windows)]
        self._tag = tag_of(url)
        self._redis = redis_client(url, tag=self._tag, timeout=timeout, connections=4)

    async def close(self) -> None:
        await self._redis.aclose()

    async def nodes(self, service: str) -> dict[str, list[str]]:
        """Return the processes that live, by host."""
        names = await self._all("ZRANGE", nodes_key(service), "0", "-1")
        living = await self._each("EXISTS", [heartbeat_key(service, name) for name in names])
        hosts: dict[str, list[str]] = {}
        for name, lives in zip(names, living, strict=True):
            if lives:
                host, _, uuid = name.rpartition(":")
                hosts.setdefault(host, []).append(uuid)
        return hosts

    async def counts(self, prefix: str) -> dict[str, Sums]:
        """Return the sums of every name under *prefix*; a window without any is left out."""
        names = sorted(await self._all("SMEMBERS", names_key(prefix)))
        keys = [f"{prefix}:{name}:{window}" for name in names for window in self._windows]
        buckets = iter(await self._each("HGETALL", keys))
        lifetimes = await self._each("GET", [f"{prefix}:{name}:{LIFETIME}" for name in names])
        sums: dict[str, Sums] = {}
        for name, lifetime in zip(names, lifetimes, strict=True):
            windows = {window: _recent(next(buckets), int(window)) for window in self._windows}
            sums[name] = {window: total for window, total in windows.items() if total}
            sums[name][LIFETIME] = int(lifetime or 0)
        return sums

    async def prefixes(self, beginning: str) -> list[str]:
        """Return under what has been counted lately, of what begins with *beginning*."""
        known = await self._all("ZRANGE", PREFIXES, "0", "-1")
        return [prefix for prefix in known if prefix.startswith(beginning)]

    async def trim(self) -> None:
        """Forget what hosts have counted that are long gone."""
        before = time.time() - FORGET
        for prefix in await self._all("ZRANGEBYSCORE", PREFIXES, "0", str(before)):
            names = await self._all("SMEMBERS", names_key(prefix))
            keys = [f"{prefix}:{name}:{LIFETIME}" for name in names]
            await self._each("UNLINK", [*keys, names_key(prefix)])
            await answer(self._redis.zrem(self._tag + PREFIXES, prefix))

    async def _all(self, command: str, key: str, *how: str) -> list[str]:
        """Return the members of a set."""
        asked = self._redis.execute_command(command, self._tag + key, *how)  # type: ignore[no-untyped-call]  # redis-py's
        found: Any = await answer(asked)
        return [member.decode() for member in found]

    async def _each(self, command: str, keys: Sequence[str]) -> list[Any]:
        """Return the answers of one command for each key, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.execute_command(command, self._tag + key)
        answers: list[Any] = await answer(pipeline.execute()) if keys else []
        return answers


def _recent(buckets: dict[bytes, bytes], window: int) -> int:
    oldest = time.time() - window
    return sum(int(count) for start, count in buckets.items() if int(start) > oldest)


def add_up(sums: Iterable[Sums]) -> Sums:
    """Return the sum of several sums, window by window."""
    total: Sums = {}
    for each in sums:
        for window, count in each.items():
            total[window] = total.get(window, 0) + count
    return total

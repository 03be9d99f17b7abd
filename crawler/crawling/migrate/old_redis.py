"""The Redis of a Scrapy Cluster or of scrapy-redis: read, and never written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.tracker.redis_connect import redis_client
from crawling.tracker.scripts import answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Keys or members of one round trip, about.
PAGE = 1000
#: Seconds until a Redis that does not answer counts as away.
TIMEOUT = 30.0


class Key(NamedTuple):
    """A key whose name says what is in it; *kind* is what of."""

    name: str
    kind: str
    spider: str


#: How the names of keys end -> what they are.
_SCRAPY_REDIS = {":requests": "requests", ":start_urls": "start_urls", ":dupefilter": "seen"}


class OldRedis:
    def __init__(self, url: str) -> None:
        self._redis = redis_client(url, timeout=TIMEOUT, connections=4, setting="--from")

    async def close(self) -> None:
        await self._redis.aclose()

    async def identity(self) -> tuple[str, int]:
        """Return what no other database has: the server's run and the database's number."""
        info: Any = await answer(self._redis.info("server"))
        number = self._redis.connection_pool.connection_kwargs.get("db") or 0
        return str(info["run_id"]), int(number)

    async def keys(self) -> AsyncIterator[Key]:
        """Yield the keys that matter. The names are listed nowhere: all are looked through."""
        cursor = 0
        while True:
            cursor, found = await answer(self._redis.scan(cursor, count=PAGE))
            for raw in found:
                if key := key_of(raw.decode("utf-8", "surrogateescape")):
                    yield key
            if cursor == 0:
                return

    async def members(self, key: Key) -> AsyncIterator[tuple[bytes, float]]:
        """Yield what a sorted set, set or list holds, with its score."""
        name = key.name.encode("utf-8", "surrogateescape")
        kind = (await answer(self._redis.type(name))).decode()
        if kind == "list":
            async for each in self._items(name):
                yield each, 0.0
            return
        if kind not in {"zset", "set"}:
            return
        cursor = 0
        scan: Any = self._redis.zscan if kind == "zset" else self._redis.sscan
        while True:
            cursor, found = await answer(scan(name, cursor, count=PAGE))
            for each in found:
                yield each if kind == "zset" else (each, 0.0)
            if cursor == 0:
                return

    async def _items(self, name: bytes) -> AsyncIterator[bytes]:
        at = 0
        while found := await answer(self._redis.lrange(name, at, at + PAGE - 1)):
            for each in found:
                yield each
            at += len(found)

    async def text(self, key: Key) -> str:
        value = await answer(self._redis.get(key.name.encode("utf-8", "surrogateescape")))
        return (value or b"").decode("utf-8", "replace")


def key_of(name: str) -> Key | None:
    """Return what the key *name* is, None for one that is none of theirs."""
    spider, _, rest = name.partition(":")
    if name.startswith("timeout:"):
        return Key(name, "timeout", "")
    if name.endswith(":blacklist"):
        return Key(name, "blacklist", name[: -len(":blacklist")])
    if rest.startswith("dupefilter:"):
        return Key(name, "dupefilter", spider)
    if rest.endswith(":queue") and rest.count(":") == 1:
        return Key(name, "queue", spider)
    for ending, kind in _SCRAPY_REDIS.items():
        if name.endswith(ending) and name.count(":") == 1:
            return Key(name, kind, spider)
    return None

"""Auditing one Redis: each step is one script, and looks at one moment."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

from crawling.tracker import keys as names
from crawling.tracker.findings import Finding
from crawling.tracker.redis_records import pack, text
from crawling.tracker.redis_views import RedisViews
from crawling.tracker.scripts import redis_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from crawling.tracker.findings import Kind
    from crawling.tracker.tracker import CrawlId

#: Lanes, leases or delayed requests that one step counts: some 20 ms.
MOST_COUNTED = 20_000
#: Crawls, keys and lanes in one step.
CRAWLS, KEYS, LANES = 50, 500, 2_000
#: How often a crawl with more lanes is counted again because it moved meanwhile.
TRIES = 3


class RedisAudit(RedisViews):
    """The part of a tracker on Redis that looks for what cannot be."""

    async def audit(
        self, crawl: CrawlId | None = None, *, repair: bool = False
    ) -> list[Finding]:
        """See `Tracker.audit`.

        Keys come first: leases that nobody watches would else count as lost.
        """
        found = await self._audit_keys(repair=repair)
        crawls = await self.crawls() if crawl is None else [crawl]
        for page in _pages(map(names.crawl_name, crawls), CRAWLS):
            found |= await self._audit_crawls(page, repair=repair)
        if not crawls:
            found |= await self._audit_crawls([], repair=repair)
        return list(found)

    async def _audit_keys(self, *, repair: bool) -> dict[Finding, None]:
        tag, found, batch = self.keys.tag, dict[Finding, None](), list[bytes]()

        async def look() -> None:
            rows = await self._scripts.run("audit_keys", pack(batch), int(repair))
            found.update(dict.fromkeys(map(_finding, rows)))
            batch.clear()

        with redis_errors():
            async for key in self._redis.scan_iter(f"{tag}*", count=KEYS):
                batch.append(key[len(tag) :])
                if len(batch) >= KEYS:
                    await look()
        await look()
        return found

    async def _audit_crawls(self, page: Sequence[str], *, repair: bool) -> dict[Finding, None]:
        found, counted = dict[Finding, None](), dict[str, tuple[bytes, int]]()
        for _ in range(TRIES):
            rows, large = await self._scripts.run(
                "audit", pack(page), MOST_COUNTED, pack(counted), int(repair)
            )
            found |= dict.fromkeys(map(_finding, rows))
            if not large:
                return found
            for name, books in large:
                queued, hidden = await self._count_lanes(text(name), repair=repair)
                counted[text(name)] = (books, queued)
                found |= dict.fromkeys(hidden)
            page = [text(name) for name, _ in large]
        return found | {
            Finding("unsteady", names.parse_crawl_name(name)): None for name in page
        }

    async def _count_lanes(self, name: str, *, repair: bool) -> tuple[int, list[Finding]]:
        cursor, lanes, found = b"0", dict[bytes, int](), list[Finding]()
        while True:
            cursor, page, rows = await self._scripts.run(
                "audit_lanes", name, cursor, LANES, int(repair)
            )
            lanes |= dict(page)
            found += map(_finding, rows)
            if int(cursor) == 0:
                return sum(lanes.values()), found


def _finding(row: Sequence[bytes]) -> Finding:
    kind, name, where, booked, found = map(text, row)
    crawl = names.parse_crawl_name(name) if name else None
    return Finding(cast("Kind", kind), crawl, where, int(booked), int(found))


def _pages(items: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page

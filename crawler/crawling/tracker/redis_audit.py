"""Auditing one Redis: each step is one script, and looks at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from crawling.tracker import keys as names
from crawling.tracker.findings import Finding
from crawling.tracker.redis_records import pack, text
from crawling.tracker.redis_views import RedisViews
from crawling.tracker.scripts import redis_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.findings import Kind
    from crawling.tracker.tracker import CrawlId

#: Lanes, leases and delayed requests, of each, that one step counts.
MOST_COUNTED = 10_000
#: Crawls, keys and lanes in one step.
CRAWLS, KEYS, LANES = 50, 500, 2_000
#: How often a crawl with more lanes is counted again because it moved meanwhile.
TRIES = 3

#: Name of a crawl -> its books, and how many requests it has queued by them.
Counted = dict[str, tuple[bytes, int]]
#: In the order in which they were found, each once.
Findings = dict[Finding, None]


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
        todo = list(map(names.crawl_name, crawls))
        while True:
            page, todo = todo[:CRAWLS], todo[CRAWLS:]
            rows, large, later = await self._audit_crawls(page, {}, repair=repair)
            found |= rows
            for name, books in large:
                found |= await self._audit_large(name, books, repair=repair)
            todo = [*later, *todo]
            if not todo:
                return list(found)

    async def _audit_keys(self, *, repair: bool) -> Findings:
        tag, found, batch = self.keys.tag, Findings(), list[bytes]()

        async def look() -> None:
            rows = await self._scripts.run("audit_keys", pack(batch), int(repair))
            found.update(_findings(rows))
            batch.clear()

        with redis_errors():
            async for key in self._redis.scan_iter(f"{tag}*", count=KEYS):
                batch.append(key[len(tag) :])
                if len(batch) >= KEYS:
                    await look()
        await look()
        return found

    async def _audit_crawls(
        self, page: Sequence[str], counted: Counted, *, repair: bool
    ) -> tuple[Findings, list[tuple[str, bytes]], list[str]]:
        """Return what is found, crawls of too many lanes, and those for another call."""
        rows, large, later = await self._scripts.run(
            "audit", pack(page), MOST_COUNTED, pack(counted), int(repair)
        )
        many = [(text(name), books) for name, books in large]
        return _findings(rows), many, list(map(text, later))

    async def _audit_large(self, name: str, books: bytes, *, repair: bool) -> Findings:
        """Count a crawl of many lanes in steps, which agree when nothing of it has moved."""
        found = Findings()
        for _ in range(TRIES):
            queued, hidden = await self._count_lanes(name, repair=repair)
            found |= hidden
            rows, large, _ = await self._audit_crawls(
                [name], {name: (books, queued)}, repair=repair
            )
            found |= rows
            if not large:
                return found
            [(_, books)] = large
        return found | {Finding("unsteady", names.parse_crawl_name(name)): None}

    async def _count_lanes(self, name: str, *, repair: bool) -> tuple[int, Findings]:
        cursor, lanes, found = b"0", dict[bytes, int](), Findings()
        while True:
            cursor, page, rows = await self._scripts.run(
                "audit_lanes", name, cursor, LANES, int(repair)
            )
            lanes |= dict(page)
            found |= _findings(rows)
            if int(cursor) == 0:
                return sum(lanes.values()), found


def _findings(rows: Sequence[Sequence[bytes]]) -> Findings:
    return dict.fromkeys(map(_finding, rows))


def _finding(row: Sequence[bytes]) -> Finding:
    kind, name, where, booked, found = map(text, row)
    crawl = names.parse_crawl_name(name) if name else None
    return Finding(cast("Kind", kind), crawl, where, int(booked), int(found))

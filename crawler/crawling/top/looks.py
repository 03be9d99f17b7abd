"""What `fleet top` reads of a tracker at each look: a bounded number of answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from crawling.progress import Rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crawling.tracker.tracker import CrawlId, CrawlStatus, Tracker

#: Crawls whose books are read at each look, beside those on the screen: the others take turns.
BATCH = 200


class CrawlRow(NamedTuple):
    status: CrawlStatus
    #: Pages a second.
    rate: float


class Looks:
    """The newest books of all crawls."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._rows: dict[CrawlId, CrawlRow] = {}
        self._rates: dict[CrawlId, Rate] = {}
        self._turn = 0

    async def crawls(self, on_screen: Iterable[CrawlId]) -> list[CrawlRow]:
        """Return all crawls that were read so far: those with work first, then the newest."""
        known = await self._tracker.crawls()
        for crawl in self._rows.keys() - set(known):
            del self._rows[crawl], self._rates[crawl]
        await asyncio.gather(*map(self._read, self._due(known, on_screen)))
        return sorted(self._rows.values(), key=_place)

    def _due(self, known: list[CrawlId], on_screen: Iterable[CrawlId]) -> set[CrawlId]:
        if self._turn >= len(known):
            self._turn = 0
        turn = known[self._turn : self._turn + BATCH]
        self._turn += BATCH
        return {*turn, *(set(on_screen) & set(known))}

    async def _read(self, crawl: CrawlId) -> None:
        status = await self._tracker.crawl(crawl)
        if status is not None:
            rate = self._rates.setdefault(crawl, Rate())
            self._rows[crawl] = CrawlRow(status, rate.update(status.done))


def _place(row: CrawlRow) -> tuple[bool, float]:
    return not row.status.outstanding, -row.status.started

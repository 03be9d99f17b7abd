"""Domains with work, of the fleet and of a crawl, looked at once for everybody who asks."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crawling.idle_report import waiting_of
from crawling.tracker.idleness import of_domain
from crawling.tracker.throttle import scaled
from rest_service.shared_look import SharedLook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.idle_report import Waiting
    from crawling.tracker.idleness import Why
    from crawling.tracker.tracker import CrawlId, DomainSetting, DomainStatus
    from rest_service.backends import Backends

Order = Literal["next", "backlog", "rate", "name"]

#: Crawls whose domains are kept for the next to ask, and lists of the same look.
MOST_CRAWLS, MOST_LISTS = 32, 16


class Wanted(NamedTuple):
    """Which domains, and in what order; next: as the tracker takes them."""

    order: Order = "next"
    why: Why | None = None
    spiderid: str = ""
    name: str = ""


@dataclass
class Board:
    """The domains at one moment, *time* in Unix seconds."""

    time: float
    domains: Sequence[DomainStatus]
    settings: Mapping[str, DomainSetting]
    #: For the next page: a list of very many takes a tenth of a second to make.
    lists: dict[Wanted, Sequence[DomainStatus]] = field(default_factory=dict)

    def chosen(self, wanted: Wanted) -> Sequence[DomainStatus]:
        """Return the domains that are wanted, as the tracker takes them."""
        found, name = self.domains, wanted.name.lower()
        if wanted.spiderid:
            found = [each for each in found if each.spiderid == wanted.spiderid]
        if name:
            found = [each for each in found if name in each.domain]
        if wanted.why is not None:
            found = [each for each in found if of_domain(each).why == wanted.why]
        return found


class DomainBoard:
    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._all = SharedLook(self._look)
        self._of_crawls: OrderedDict[CrawlId, SharedLook[Sequence[Waiting]]] = OrderedDict()

    def touch(self) -> None:
        """Let the next to ask look anew: something was changed through this process."""
        self._all.touch()
        for look in self._of_crawls.values():
            look.touch()

    async def fresh(self) -> Board:
        """Return all domains that have something queued or in flight."""
        return await self._all.fresh()

    async def of_crawl(self, crawl: CrawlId) -> Sequence[Waiting]:
        """Return the domains in which a crawl waits, longest queues first."""
        look = self._of_crawls.pop(crawl, None)
        look = self._of_crawls[crawl] = look or SharedLook(partial(self._waiting, crawl))
        if len(self._of_crawls) > MOST_CRAWLS:
            self._of_crawls.popitem(last=False)
        return await look.fresh()

    async def _waiting(self, crawl: CrawlId) -> Sequence[Waiting]:
        tracker = self._backends.tracker
        status = await tracker.crawl(crawl)
        return [] if status is None else await waiting_of(tracker, status, self._of_spider)

    async def _of_spider(self, spiderid: str) -> Sequence[DomainStatus]:
        return (await self.fresh()).chosen(Wanted(spiderid=spiderid))

    async def _look(self) -> Board:
        tracker = self._backends.tracker
        domains: list[DomainStatus] = []
        for spiderid in sorted({crawl.spiderid for crawl in await tracker.crawls()}):
            domains += await tracker.all_domains(spiderid)
        settings = {each.domain: each for each in await tracker.domain_settings()}
        return Board(time.time(), domains, settings)

    def throttle(self, board: Board, domain: str) -> tuple[float, float, bool]:
        """Return hits and window that count for a domain, and whether they are its own."""
        setting = board.settings.get(domain)
        if setting is not None and setting.hits:
            hits, window = scaled(setting.hits, setting.window, setting.scale)
            return float(hits), window, True
        config = self._backends.tracker.config
        return float(config.hits), config.window, False

    def row(self, board: Board, status: DomainStatus) -> dict[str, Any]:
        idle = of_domain(status)
        hits, window, is_own = self.throttle(board, status.domain)
        return {
            "domain": status.domain,
            "spiderid": status.spiderid,
            "queued": status.queued,
            "leased": status.leased,
            "paused": status.paused,
            "why": idle.why,
            "until": idle.until,
            "blocked": status.blocked,
            "hits": hits,
            "window": window,
            "rate": hits / window if hits else None,
            "own": is_own,
        }

    def listed(self, board: Board, wanted: Wanted) -> Sequence[DomainStatus]:
        """Return the domains of *board* that are wanted, in their order."""
        if wanted not in board.lists:
            if len(board.lists) >= MOST_LISTS:
                board.lists.clear()
            board.lists[wanted] = self._sorted(board, board.chosen(wanted), wanted.order)
        return board.lists[wanted]

    def _sorted(
        self, board: Board, domains: Sequence[DomainStatus], order: Order
    ) -> Sequence[DomainStatus]:
        def rate(status: DomainStatus) -> float:
            hits, window, _ = self.throttle(board, status.domain)
            return -hits / window if hits else float("-inf")

        match order:
            case "backlog":
                return sorted(domains, key=lambda status: -status.queued)
            case "rate":
                return sorted(domains, key=rate)
            case "name":
                return sorted(domains, key=lambda status: status.domain)
        return domains

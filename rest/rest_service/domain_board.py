"""All domains with work, sorted in every way, looked at once for everybody who asks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crawling.tracker.idleness import of_domain
from crawling.tracker.throttle import scaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.tracker.tracker import DomainSetting, DomainStatus
    from rest_service.backends import Backends

Order = Literal["next", "backlog", "rate", "name"]

#: Seconds for which a look is good, and the part of its time a process may spend on looks.
FRESH, SHARE = 1.0, 0.1
#: Seconds that a look may be old, however long it took: it may have been the machine.
OLDEST = 30.0


class Board(NamedTuple):
    """The domains at one moment: *time* in Unix seconds, *at* monotonic."""

    time: float
    at: float
    domains: Sequence[DomainStatus]
    settings: Mapping[str, DomainSetting]


class DomainBoard:
    """Lists domains from one look that all who ask share; less often when it takes long."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._board: Board | None = None
        self._cost = 0.0
        self._lock = asyncio.Lock()

    def touch(self) -> None:
        """Let the next to ask look anew: something was changed through this process."""
        self._board = None

    async def fresh(self) -> Board:
        async with self._lock:
            board = self._board
            allowed = min(max(FRESH, self._cost / SHARE), OLDEST)
            if board is None or time.monotonic() - board.at > allowed:
                began = time.monotonic()
                board = self._board = await self._look()
                self._cost = time.monotonic() - began
            return board

    async def _look(self) -> Board:
        tracker = self._backends.tracker
        domains: list[DomainStatus] = []
        for spiderid in sorted({crawl.spiderid for crawl in await tracker.crawls()}):
            domains += await tracker.all_domains(spiderid)
        settings = {each.domain: each for each in await tracker.domain_settings()}
        return Board(time.time(), time.monotonic(), domains, settings)

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

    def sorted(
        self, board: Board, domains: Sequence[DomainStatus], order: Order
    ) -> Sequence[DomainStatus]:
        """Return *domains* in an order; next: as the tracker takes them."""

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

"""What `fleet crawl` shows while it runs, on standard error."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from crawling.exceptions import Unavailable
from crawling.report import size_text
from crawling.service.text import printable

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlId, CrawlStatus, DomainStatus, Tracker

#: Seconds between two looks at the tracker: for a terminal, and for a log.
REFRESH, LINE_EVERY = 0.5, 10.0
#: Seconds over which pages/s is measured.
RATE_SPAN = 10.0
#: Domains shown: the ones with the longest queues, which end the crawl last.
SLOWEST = 3


class Rate:
    """Pages a second over the last `RATE_SPAN`."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def update(self, done: int) -> float:
        """Return the rate, of which *done* pages are the latest reading."""
        now = time.monotonic()
        self._readings.append((now, done))
        while now - self._readings[0][0] > RATE_SPAN:
            self._readings.popleft()
        since, before = self._readings[0]
        return (done - before) / (now - since) if now > since else 0.0


async def show_bar(tracker: Tracker, crawl: CrawlId) -> None:
    """Keep a live line on the terminal until cancelled."""
    rate, spinner = Rate(), Spinner("dots")
    with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:
        while True:
            look = await _look(tracker, crawl)
            if look is not None:
                status, slowest = look
                live.update(_bar(spinner, status, slowest, rate.update(status.done)))
            await asyncio.sleep(REFRESH)


async def print_lines(tracker: Tracker, crawl: CrawlId) -> None:
    """Print a line every `LINE_EVERY` seconds until cancelled."""
    rate = Rate()
    while True:
        await asyncio.sleep(LINE_EVERY)
        look = await _look(tracker, crawl)
        if look is not None:
            status, slowest = look
            print(_line(status, slowest, rate.update(status.done)), file=sys.stderr)


async def _look(
    tracker: Tracker, crawl: CrawlId
) -> tuple[CrawlStatus, list[DomainStatus]] | None:
    """Return the crawl's books and its slowest domains; None while the tracker is away."""
    try:
        status = await tracker.crawl(crawl)
        domains = await tracker.domains(crawl.spiderid)
    except Unavailable:
        return None
    if status is None:
        return None
    return status, sorted(domains, key=lambda domain: -domain.queued)[:SLOWEST]


def _line(status: CrawlStatus, slowest: list[DomainStatus], rate: float) -> str:
    waiting = ", ".join(f"{printable(domain.domain)} {domain.queued}" for domain in slowest)
    return (
        f"{status.done} pages ({rate:.1f}/s, {size_text(status.size)}), "
        f"{status.queued + status.delayed} queued, {status.leased} in flight, "
        f"{status.failed} failed, {status.dropped} dropped"
        + (f"; longest queues: {waiting}" if waiting else "")
    )


def _bar(
    spinner: Spinner, status: CrawlStatus, slowest: list[DomainStatus], rate: float
) -> Table:
    """Return what is settled of what is accepted, as a bar and in words."""
    settled = status.accepted - status.outstanding
    table = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(status.accepted, 1), completed=settled, width=24)
    table.add_row(spinner, bar, Text(_line(status, slowest, rate)))
    return table

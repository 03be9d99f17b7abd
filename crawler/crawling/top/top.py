"""`fleet top`: looks at a tracker again and again, and does what keys say."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text

from crawling.crawl_actions import ACTIONS
from crawling.exceptions import FleetError, Unavailable
from crawling.idle_report import MOST_DOMAINS, idle_workers
from crawling.service.text import printable
from crawling.top.columns import CRAWLS, DOMAINS, WORKERS
from crawling.top.listing import Listing
from crawling.top.looks import Looks
from crawling.top.screen import rows_of, screen

if TYPE_CHECKING:
    from crawling.service.patience import Patience
    from crawling.top.looks import CrawlRow
    from crawling.top.terminal import Terminal
    from crawling.tracker.idleness import Idle
    from crawling.tracker.tracker import (
        CrawlId,
        CrawlStatus,
        DomainStatus,
        Tracker,
        WorkerStatus,
    )

#: Seconds between two looks at the tracker.
REFRESH = 1.0
#: Domains of a spider that are looked at to say why its workers are idle.
REASONS = 100
#: Domains below the screen that are read too: keys are faster than the tracker is asked.
AHEAD = 200
VIEWS = {"c": "crawls", "d": "domains", "w": "workers"}


class Question(NamedTuple):
    """An action that waits for y or n."""

    action: str
    crawl: CrawlId
    text: str


QUESTIONS = {
    "p": ("pause", "Pause {crawl}?"),
    "r": ("resume", "Resume {crawl}?"),
    "x": ("stop", "Stop {crawl}, and drop the {queued} requests that wait?"),
    "t": ("retry", "Queue again the {failed} requests of {crawl} that failed?"),
}


class Top:
    """One terminal, one tracker."""

    def __init__(
        self, tracker: Tracker, terminal: Terminal, *, place: str, patience: Patience
    ) -> None:
        self._tracker = tracker
        self._terminal = terminal
        self._place = place
        self._patience = patience
        self._looks = Looks(tracker)
        self._crawls: Listing[CrawlRow] = Listing(CRAWLS, lambda row: row.status.crawl)
        self._domains: Listing[DomainStatus] = Listing(DOMAINS)
        self._workers: Listing[tuple[WorkerStatus, Idle]] = Listing(WORKERS)
        self._view = "crawls"
        #: The kind of spider whose domains are shown.
        self._spider = ""
        self._question: Question | None = None
        self._message = ""
        self._away = ""
        self._wake, self._end = asyncio.Event(), asyncio.Event()
        self._acting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Show, until q or SIGTERM or the terminal is gone; raise what the tracker raised."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._terminal.keyboard, self._pressed)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        tasks = [asyncio.ensure_future(work) for work in (self._watch(), self._end.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            loop.remove_reader(self._terminal.keyboard)
            for task in (*tasks, *self._acting):
                task.cancel()
            await asyncio.gather(*tasks, *self._acting, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Unavailable as error:
                self._away = f"the tracker does not answer: {error}"
                self._draw()
                self._patience.lost(error)
            else:
                self._away = ""
                self._patience.met()
                self._draw()
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), REFRESH)
            except asyncio.TimeoutError:
                continue

    async def _look(self) -> None:
        """Read what the view shows, and the books of crawls, which all of them show."""
        height = rows_of(self._terminal.console.size)
        rows = self._crawls.window(height)
        self._crawls.fill(await self._looks.crawls(row.status.crawl for row in rows))
        if self._view == "domains":
            self._domains.fill(await self._read_domains(height))
        elif self._view == "workers":
            self._workers.fill(await idle_workers(self._tracker, REASONS))

    async def _read_domains(self, height: int) -> list[DomainStatus]:
        """Return those on the screen and before it, and some more to scroll to."""
        spiders = self._spiders()
        if self._spider not in spiders:
            self._spider = spiders[0] if spiders else ""
        listing = self._domains
        wanted = listing.first + height + AHEAD if listing.sorted_by is None else MOST_DOMAINS
        return await self._tracker.domains(self._spider, min(wanted, MOST_DOMAINS))

    def _spiders(self) -> list[str]:
        return sorted({row.status.crawl.spiderid for row in self._crawls.rows})

    @property
    def _listing(self) -> Listing[Any]:
        listings: dict[str, Listing[Any]] = {
            "crawls": self._crawls,
            "domains": self._domains,
            "workers": self._workers,
        }
        return listings[self._view]

    def _pressed(self) -> None:
        keys = self._terminal.keys()
        if keys is None:
            self._end.set()
            return
        for key in keys:
            if self._question:
                self._answer(self._question, key)
            else:
                self._do(key)
        self._draw()

    def _do(self, key: str) -> None:
        height = rows_of(self._terminal.console.size)
        steps = {
            "up": -1, "down": 1, "page up": -height, "page down": height,
            "home": -MOST_DOMAINS, "end": MOST_DOMAINS,
        }  # fmt: skip
        self._message = ""
        if key == "q":
            self._end.set()
        elif key in steps:
            self._listing.move(steps[key])
            self._wake.set()
        elif key == "tab":
            names = list(VIEWS.values())
            self._view = names[(names.index(self._view) + 1) % len(names)]
            self._wake.set()
        elif key in VIEWS:
            self._show(VIEWS[key])
        elif key == "s":
            self._listing.sort_by_next(self._terminal.console.width)
            self._wake.set()
        elif key == "o":
            self._listing.reverse()
        elif key in QUESTIONS and self._view == "crawls" and self._crawls.chosen:
            self._ask(key, self._crawls.chosen.status)

    def _show(self, view: str) -> None:
        """Go to a view; from that of domains to those of the next kind of spider."""
        if view == self._view == "domains":
            spiders = self._spiders()
            place = spiders.index(self._spider) + 1 if self._spider in spiders else 0
            self._spider = spiders[place % len(spiders)] if spiders else ""
            self._domains.fill([])
        self._view = view
        self._wake.set()

    def _ask(self, key: str, status: CrawlStatus) -> None:
        action, text = QUESTIONS[key]
        queued = status.queued + status.delayed
        name = status.crawl.crawlid
        question = text.format(crawl=name, queued=queued, failed=status.failed)
        self._question = Question(action, status.crawl, question)

    def _answer(self, question: Question, key: str) -> None:
        self._question = None
        if key not in {"y", "Y"}:
            self._message = f"{question.crawl.crawlid}: nothing was changed"
            return
        task = asyncio.ensure_future(self._act(question))
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    async def _act(self, question: Question) -> None:
        try:
            done = await ACTIONS[question.action](self._tracker, question.crawl)
            self._message = f"{question.crawl.crawlid}: {done.text}"
        except FleetError as error:
            self._message = f"{question.action} {question.crawl.crawlid}: {error}"
        self._draw()
        self._wake.set()

    def _suspend(self) -> None:
        self._terminal.suspend()
        self._draw()

    def _draw(self) -> None:
        domains = f"domains of {self._spider}" if self._spider else "domains"
        lines = screen(
            self._terminal.console.size,
            place=self._place,
            crawls=self._crawls.rows,
            views={"crawls": "crawls", "domains": domains, "workers": "workers"},
            view=self._view,
            listing=self._listing,
            message=self._said(),
        )
        try:
            self._terminal.show(lines)
        except OSError:
            self._end.set()

    def _said(self) -> Text:
        if self._question:
            return Text(f"{printable(self._question.text)} y/n", "bold yellow")
        if self._away:
            return Text(printable(self._away), "bold red")
        return Text(printable(self._message), "bold")

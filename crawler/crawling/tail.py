"""What becomes of a crawl, line by line, until it ends."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.text import Text

from crawling.exceptions import Unavailable
from crawling.report import show, status_text
from crawling.service.patience import Patience
from crawling.service.text import printable
from crawling.tracker_commands import books_json, print_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from crawling.page_reader import PageReader
    from crawling.tracker.tracker import CrawlId, CrawlStatus, Failure, Tracker

Result = TypeVar("Result")

#: Seconds between two looks at the tracker.
REFRESH = 1.0
#: Failures that are named; of more only the number is known.
MOST_FAILURES = 1000
STYLES = {"page": "", "failure": "red", "counts": "dim"}


class Tail:
    """Pages are told by Kafka where they go there, else counted; failures by the tracker."""

    def __init__(
        self, tracker: Tracker, crawl: CrawlId, *, as_json: bool, patience: float
    ) -> None:
        self._tracker = tracker
        self._crawl = crawl
        self._as_json = as_json
        self._patience = Patience(patience)
        self._told: set[Failure] = set()
        self._counts = ""

    async def follow(self, pages: PageReader | None) -> None:
        """Tell what comes, until nothing of the crawl is left to do."""
        self._told = set(await self._failures())
        opened = await self._opened(pages)
        try:
            status = await self._books()
            while not _has_ended(status):
                self._tell_pages(await opened.pages() if opened else ())
                if opened is None:
                    self._count(status)
                    await asyncio.sleep(REFRESH)
                await self._tell_failures()
                status = await self._books()
            if opened:
                async for page in opened.rest():
                    self._tell_pages([page])
            await self._tell_failures()
            self._tell("end", books_json(status), status_text(status))
        finally:
            if opened:
                await opened.close()

    async def _opened(self, pages: PageReader | None) -> PageReader | None:
        """Return *pages*, None where there is no Kafka: then they are only counted."""
        if pages is None:
            return None
        try:
            await pages.open()
        except Unavailable as error:
            sys.stderr.write(f"fleet: pages are only counted: {printable(str(error))}\n")
            await pages.close()
            return None
        return pages

    async def _books(self) -> CrawlStatus:
        status = await self._ask(lambda: self._tracker.crawl(self._crawl))
        if status is None:
            raise Unavailable(f"the tracker has forgotten the crawl {self._crawl.crawlid!r}")
        return status

    async def _failures(self) -> list[Failure]:
        return await self._ask(lambda: self._tracker.failures(self._crawl, MOST_FAILURES))

    async def _ask(self, question: Callable[[], Awaitable[Result]]) -> Result:
        """Return the tracker's answer, after waiting for it while it is away."""
        while True:
            try:
                answer = await question()
            except Unavailable as error:
                self._patience.lost(error)
                await asyncio.sleep(REFRESH)
            else:
                self._patience.met()
                return answer

    async def _tell_failures(self) -> None:
        failures = await self._failures()
        for failure in failures:
            if failure in self._told:
                continue
            detail = f" ({failure.detail})" if failure.detail else ""
            text = f"failed  {failure.url}: {failure.reason}{detail}"
            self._tell("failure", vars(failure), text)
        # What was queued again may fail again.
        self._told = set(failures)

    def _tell_pages(self, pages: Iterable[dict[str, Any]]) -> None:
        for page in pages:
            text = f"{page['status_code']}  {page['url']}"
            if page["response_url"] != page["url"]:
                text += f" -> {page['response_url']}"
            self._tell("page", page, text)

    def _count(self, status: CrawlStatus) -> None:
        text = (
            f"{status.done} done, {status.queued} queued, {status.delayed} delayed, "
            f"{status.leased} in flight, {status.failed} failed, {status.dropped} dropped"
        )
        if text != self._counts:
            self._counts = text
            self._tell("counts", books_json(status), text)

    def _tell(self, event: str, fields: dict[str, Any], text: str) -> None:
        if self._as_json:
            print_json({"event": event, **fields})
        elif event == "end":
            show(text)
        else:
            show(_styled(printable(text), STYLES[event]))


def _has_ended(status: CrawlStatus) -> bool:
    return status.state not in {"running", "paused"} and not status.outstanding


def _styled(text: str, style: str) -> str:
    """Return *text* with colours where standard output is a terminal that has them."""
    if not style:
        return text
    console = Console()
    with console.capture() as capture:
        console.print(Text(text, style), soft_wrap=True, end="")
    return capture.get()

"""What happens in a crawl, written down where it happens."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from crawling.distributed_scheduler import current_lease
from crawling.tracker import connect
from crawling.tracker.sqlite_tracker import SqliteTracker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from scrapy.crawler import Crawler

    from crawling.tracker.tracker import (
        CrawlId,
        CrawlOptions,
        Entry,
        Leased,
        Offer,
        Outcome,
        Source,
        Submitted,
        Tracker,
        TrackerConfig,
    )

    #: JSON: `at` (time.monotonic), `what`, `url`, and what else is known.
    Note = dict[str, Any]


class RecordingTracker(SqliteTracker):
    """The real tracker, with a notebook that the spiders of the cases write in too."""

    def __init__(self, url: str, config: TrackerConfig) -> None:
        super().__init__(url, config)
        self.url = url
        self.notes: list[Note] = []
        #: What goes on beside the crawl; a task that nobody refers to may vanish.
        self.tasks: list[asyncio.Future[None]] = []
        #: Set at the first note of each kind, and as `settled N` when N leases are.
        self.first: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.settled = 0

    def note(self, what: str, url: str = "", **facts: Any) -> Note:
        note = {"at": time.monotonic(), "what": what, "url": url, **facts}
        self.notes.append(note)
        self.first[what].set()
        return note

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* while the crawl runs."""
        self.tasks.append(asyncio.ensure_future(work))

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        self.note("ask")
        leased = await super().lease(worker, limit, spiderid)
        for lease in leased.leases:
            key = _key(lease.rid, lease.token)
            self.note("lease", lease.url, lease=key, start=lease.start)
        return leased

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        notes = [self._settling(outcome) for outcome in outcomes]
        answers = await super().settle(worker, outcomes)
        for note, accepted in zip(notes, answers, strict=True):
            note["accepted"] = accepted
            self.settled += accepted
            self.first[f"settled {self.settled}"].set()
        return answers

    async def submit(
        self,
        crawl: CrawlId,
        offers: Sequence[Offer],
        options: CrawlOptions | None = None,
        *,
        entry: Entry = "seed",
        source: Source | None = None,
        hold: float = 0.0,
    ) -> Submitted:
        for offer in offers:
            self.note("submit", offer.url)
        return await super().submit(
            crawl, offers, options, entry=entry, source=source, hold=hold
        )

    async def leave(self, worker: str) -> int:
        left = await super().leave(worker)
        self.note("leave", left=left)
        return left

    def _settling(self, outcome: Outcome) -> Note:
        return self.note(
            "settle",
            outcome.lease.url,
            lease=_key(outcome.lease.rid, outcome.lease.token),
            kind=outcome.kind,
            reason=outcome.reason,
            detail=outcome.detail,
            links=[link.url for link in outcome.links if not link.rule],
            accepted=None,
        )


#: The value of the TRACKER setting -> the tracker of that case.
trackers: dict[str, RecordingTracker] = {}


def recorder(crawler: Crawler) -> RecordingTracker:
    return trackers[crawler.settings["TRACKER"]]


def lease_in_context() -> str:
    """Return the URL of the lease that the running code works for, or ""."""
    lease = current_lease()
    return "" if lease is None else lease.url


def child_url(page: str, name: str) -> str:
    """Return the URL of a link on *page* that itself tells which page it was on."""
    return urljoin(page, f"/leaf/{name}?" + urlencode({"parent": _path(page)}))


def is_child_of(url: str, page: str) -> bool:
    return parse_qs(urlsplit(url).query).get("parent") == [_path(page)]


def _path(url: str) -> str:
    return urlsplit(url)._replace(scheme="", netloc="").geturl()


def _key(rid: bytes, token: str) -> str:
    return f"{rid.hex()} {token}"


def share(url: str, tracker: RecordingTracker) -> None:
    """Let whoever opens the tracker at *url* get this one."""
    opened: asyncio.Future[Tracker] = asyncio.get_running_loop().create_future()
    opened.set_result(tracker)
    connect._open[url] = (opened, 1)

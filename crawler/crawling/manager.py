"""One crawl from Python or the command line: seeds in, pages saved, a summary out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.settings import Settings
from scrapy.utils.reactor import is_reactor_installed

from crawling.components import check_components, check_reactor, find_spider
from crawling.exceptions import ConfigError, Unavailable
from crawling.links import LinkRules
from crawling.savers.targets import make_saver, open_savers
from crawling.service.config import crawl_setting, tracker_config
from crawling.service.cookies import bound_to_seeds
from crawling.spiders.id_spider import IdSpider
from crawling.spiders.link_spider import LinkSpider
from crawling.spiders.redis_spider import RedisSpider
from crawling.spiders.simple_spider import SimpleSpider
from crawling.spiders.wandering_spider import WanderingSpider
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from scrapy import Spider

    from crawling.messages.page import Page
    from crawling.tracker.tracker import CrawlStatus, Entry, Failure, Tracker

logger = logging.getLogger(__name__)

SPIDERS: dict[str, type[Spider]] = {
    spider.name: spider for spider in (LinkSpider, WanderingSpider, SimpleSpider, IdSpider)
}
#: Requests per submit: one round trip and one short transaction.
BATCH = 1000
#: URLs among which those of a domain are put into one submit: a queue is touched once for all.
WINDOW = 10_000
#: Submits on their way at once: the tracker has the next when it is done with one.
MOST_SENT = 3
#: Seconds that a bulk submit keeps the crawl open between two batches.
HOLD = 60.0
#: Seconds between two tries of a submit while the tracker is away.
RETRY_PAUSE = 1.0
#: States of a seed in which the same command queues it, again or for the first time.
DUE = frozenset({"unseen", "failed", "dropped"})

_ran: list[CrawlId] = []


@dataclass(frozen=True)
class Summary:
    """What became of a crawl.

    *state* is `interrupted` when the process was stopped before the crawl's end.
    *fetched_seeds* says whether any seed (or, without seeds, anything at all) was done.
    """

    state: str
    status: CrawlStatus
    elapsed: float
    failures: Sequence[Failure] = ()
    fetched_seeds: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the object that `fleet crawl --json` ends with."""
        return {
            "action": "finished",
            **self.status.totals(),
            "state": self.state,
            "elapsed": round(self.elapsed, 3),
            "server_time": int(time.time()),
        }


@dataclass
class CrawlManager:
    """Runs one crawl in this process, alone or together with other workers.

    *spider* is link, wandering, simple, id, `module:Class` or a class; *savers* are
    targets (`dir/`, `x.tar.gz`, `x.warc.gz`, `x.jsonl`, `-`, `redis://…`); *file_name* is
    a name scheme or a callable.  A process can run one crawl: Twisted's reactor cannot be
    started again.
    """

    spider: str | type[Spider] = "link"
    tracker: str = "sqlite://"
    savers: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: CrawlOptions = field(default_factory=CrawlOptions)
    crawlid: str = "crawl"
    appid: str = "fleet"
    priority: int = 1
    file_name: str | Callable[[Page], str] | None = None
    #: Called with the tracker and the crawl while the crawl runs, until cancelled.
    watch: Callable[[Tracker, CrawlId], Coroutine[Any, Any, None]] | None = None

    def __post_init__(self) -> None:
        self._spidercls = find_spider(self.spider, SPIDERS)
        self.crawl_id = CrawlId(self._spidercls.name, self.appid, self.crawlid)
        self._settings = self._make_settings()
        self._check()

    def _check(self) -> None:
        """Raise `ConfigError` now for what would otherwise fail in the middle of the crawl."""
        check_reactor(self._settings)
        LinkRules(self.options, self._settings)
        # Seeds may be where links must not lead.
        self._anywhere = LinkRules(CrawlOptions(), self._settings)
        for target in self.savers:
            make_saver(target, self.file_name)
        if issubclass(self._spidercls, RedisSpider):
            self._spidercls.check_options(self.options.shared)

    def run(
        self,
        known: Iterable[str] = (),
        explored: Iterable[str] = (),
        *,
        seeds: Sequence[str] = (),
    ) -> Summary:
        """Crawl until nothing is outstanding, or until interrupted.

        *known* and *explored* may be generators of millions: *explored* URLs are never
        fetched, *known* ones are fetched once.  *seeds* are fetched unless an earlier run
        of the same crawl has fetched them; one that failed then is tried again.  For the
        ID spider all three are IDs.
        """
        if _ran:
            raise ConfigError("CrawlManager", "a process can run one crawl, this is the second")
        _ran.append(self.crawl_id)
        process = AsyncCrawlerProcess(self._settings)
        check_components(self._settings)
        loop = asyncio.get_event_loop()
        tracker = loop.run_until_complete(
            open_tracker(self.tracker, tracker_config(self._settings))
        )
        started, rest = time.monotonic(), iter(known)
        try:
            loop.run_until_complete(self._try_savers())
            loop.run_until_complete(self._begin(tracker, seeds, rest, explored))
            self._crawl(process, loop, tracker, rest)
            return loop.run_until_complete(self._summary(tracker, seeds, started))
        finally:
            loop.run_until_complete(close_tracker(self.tracker))

    def _crawl(
        self,
        process: AsyncCrawlerProcess,
        loop: asyncio.AbstractEventLoop,
        tracker: Tracker,
        known: Iterator[str],
    ) -> None:
        tasks = [loop.create_task(self._feed(tracker, known))]
        if self.watch is not None:
            tasks.append(loop.create_task(self.watch(tracker, self.crawl_id)))
        crawling = process.crawl(self._spidercls)
        process.start()
        if crawling.done():
            crawling.result()
        # A second Ctrl-C stops the reactor in the middle of the crawl.
        loop.run_until_complete(_cancel([crawling, *tasks]))

    async def _try_savers(self) -> None:
        """Open each output once: one that cannot be written must not begin a crawl."""
        for saver in await open_savers(self.savers, self.file_name):
            await saver.close()

    async def _begin(
        self,
        tracker: Tracker,
        seeds: Sequence[str],
        known: Iterator[str],
        explored: Iterable[str],
    ) -> None:
        """Record what is explored, then queue the seeds and the first of the known."""
        await self._warn_of_others(tracker)
        shared = bound_to_seeds(self.options.shared, map(self._url, seeds))
        options = replace(self.options, shared=shared)
        await tracker.submit(self.crawl_id, (), options, entry="known", hold=HOLD)
        await self._submit_all(tracker, explored, "explored")
        due = [seed for seed in seeds if await self._state(tracker, seed) in DUE]
        await self._submit(tracker, self._offers(due), "seed")
        await self._submit(tracker, self._offers(islice(known, BATCH)), "known")

    async def _warn_of_others(self, tracker: Tracker) -> None:
        """Say so when pages of other crawls will be among ours: workers share a tracker."""
        for crawl in await tracker.crawls():
            status = await tracker.crawl(crawl)
            if status and status.outstanding and crawl != self.crawl_id:
                logger.warning(
                    "The tracker has another unfinished crawl, whose pages are fetched too",
                    extra={"action": "crawl", **crawl._asdict()},
                )

    async def _feed(self, tracker: Tracker, known: Iterator[str]) -> None:
        """Submit the rest of the known, then let the crawl end."""
        await self._submit_all(tracker, known, "known")
        await self._submit(tracker, [], "known", hold=0.0)

    async def _submit_all(self, tracker: Tracker, entries: Iterable[str], entry: Entry) -> None:
        """Submit in batches; the next are made while others are on their way."""
        sending: deque[asyncio.Task[None]] = deque()
        async for batch in self._batches(entries):
            if len(sending) == MOST_SENT:
                await sending.popleft()
            sending.append(asyncio.create_task(self._submit(tracker, batch, entry)))
        await asyncio.gather(*sending)

    async def _batches(self, entries: Iterable[str]) -> AsyncIterator[list[Offer]]:
        """Yield one batch of a window for each that is made of the next."""
        ready: Iterator[list[Offer]] = iter(())
        window: list[Offer] = []
        for batch in batches(entries):
            # In a thread: here it would keep the loop from sending.
            window += await asyncio.to_thread(self._offers, batch)
            for offers in islice(ready, 1):
                yield offers
            if len(window) >= WINDOW:
                ready, window = iter(await asyncio.to_thread(by_domain, window)), []
        for offers in chain(ready, by_domain(window)):
            yield offers

    async def _submit(
        self, tracker: Tracker, offers: Sequence[Offer], entry: Entry, hold: float = HOLD
    ) -> None:
        while True:
            try:
                await tracker.submit(self.crawl_id, offers, entry=entry, hold=hold)
            except Unavailable:
                logger.warning("Tracker unavailable", extra={"action": "submit"}, exc_info=True)
                await asyncio.sleep(RETRY_PAUSE)
            else:
                return

    def _offers(self, entries: Iterable[str]) -> list[Offer]:
        return [self._anywhere.seed(self._url(entry), self.priority) for entry in entries]

    async def _state(self, tracker: Tracker, seed: str) -> str:
        trace = await tracker.trace(self.crawl_id, fingerprint(self._url(seed)))
        return trace.state

    def _url(self, entry: str) -> str:
        if issubclass(self._spidercls, IdSpider):
            return IdSpider.seed_url(entry, self.options.shared.get("download_url_fmt"))
        return entry

    async def _summary(self, tracker: Tracker, seeds: Sequence[str], started: float) -> Summary:
        status = await tracker.crawl(self.crawl_id)
        assert status is not None
        states = [await self._state(tracker, seed) for seed in seeds]
        return Summary(
            state="interrupted" if status.state in {"running", "paused"} else status.state,
            status=status,
            elapsed=time.monotonic() - started,
            failures=await tracker.failures(self.crawl_id),
            fetched_seeds="done" in states if states else status.done > 0,
        )

    def _make_settings(self) -> Settings:
        settings = Settings()
        settings.setmodule("crawling.settings", priority="project")
        for name, value in self.settings.items():
            settings.set(name, value, priority="cmdline")
        settings.set("TRACKER", self.tracker, priority="cmdline")
        settings.set("CRAWL", crawl_setting(self.crawl_id), priority="cmdline")
        settings.set("SAVERS", list(self.savers), priority="cmdline")
        # One command needs no Kafka: only who names it gets it.
        if "KAFKA_HOSTS" not in self.settings:
            settings.set("KAFKA_HOSTS", None, priority="cmdline")
        # A program that has installed the reactor has chosen the loop too.
        if is_reactor_installed() and "ASYNCIO_EVENT_LOOP" not in self.settings:
            settings.set("ASYNCIO_EVENT_LOOP", None, priority="cmdline")
        if self.file_name is not None:
            settings.set("FILE_NAME", self.file_name, priority="cmdline")
        return settings


def batches(entries: Iterable[str]) -> Iterator[list[str]]:
    entries = iter(entries)
    for first in entries:
        yield list(chain([first], islice(entries, BATCH - 1)))


def by_domain(offers: Sequence[Offer]) -> list[list[Offer]]:
    """Return batches, the offers of a domain in one or in neighbours.

    Within a batch they keep their order: what is lent first is not all of one domain.
    """
    places = defaultdict[str, list[int]](list)
    for at, offer in enumerate(offers):
        places[offer.domain].append(at)
    order = list(chain.from_iterable(places.values()))
    parts = [sorted(order[begin : begin + BATCH]) for begin in range(0, len(order), BATCH)]
    return [[offers[at] for at in part] for part in parts]


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

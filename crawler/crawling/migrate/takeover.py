"""Taking over what another crawler had still to fetch, and what it had seen.

First all that waits is queued, in crawls that are paused; then what the old dupefilters
held is recorded as seen; then the crawls run.  Each step may be repeated: a request that
is queued already, or was fetched since, is not queued again.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError
from crawling.migrate.members import MemberReader, ScrapyRedisReader, Unreadable
from crawling.tracker.tracker import CrawlId, Offer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from crawling.migrate.members import Found
    from crawling.migrate.old_redis import Key, OldRedis
    from crawling.tracker.tracker import CrawlOptions, Tracker

#: Requests in one submit, and of all crawls together before some are submitted.
BATCH, WAITING = 1000, 20_000
#: Seconds that a crawl is held open between two submits.
HOLD = 3600.0


@dataclass
class Report:
    """What was found, and what became of it."""

    requests: Counter[CrawlId] = field(default_factory=Counter)
    queued: Counter[CrawlId] = field(default_factory=Counter)
    domains: Counter[tuple[str, str]] = field(default_factory=Counter)
    seen: Counter[CrawlId] = field(default_factory=Counter)
    ended: Counter[CrawlId] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    #: Dupefilters of crawls that have nothing left to fetch.
    idle_dupefilters: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests.total(),
            "queued": self.queued.total(),
            "crawls": [
                {
                    **crawl._asdict(),
                    "requests": count,
                    "queued": self.queued[crawl],
                    "seen": self.seen[crawl],
                }
                for crawl, count in sorted(self.requests.items())
            ],
            "domains": len(self.domains),
            "ended": self.ended.total(),
            "unreadable": dict(self.unreadable),
            "idle_dupefilters": self.idle_dupefilters,
        }


class Takeover:
    """Reads the *old* Redis; without a *tracker* it only tells what there is."""

    def __init__(
        self,
        old: OldRedis,
        settings: Mapping[str, Any],
        tracker: Tracker | None,
        reject: Callable[[dict[str, str]], None],
    ) -> None:
        self._old = old
        self._tracker = tracker
        self._reject = reject
        self._reader = MemberReader(settings)
        self._keys: dict[str, list[Key]] = defaultdict(list)
        self._ended: set[tuple[str, str, str]] = set()
        self._expires: dict[CrawlId, float] = {}
        self._waiting: dict[CrawlId, list[Offer]] = defaultdict(list)
        self._options: dict[CrawlId, CrawlOptions] = {}
        self.report = Report()

    async def run(self) -> Report:
        async for key in self._old.keys():
            self._keys[key.kind].append(key)
        await self._read_ends()
        await self._take_requests()
        await self._take_seen()
        await self._let_run()
        return self.report

    async def _read_ends(self) -> None:
        """Read which crawls were stopped, and when others end."""
        for key in self._keys["blacklist"]:
            async for member, _ in self._old.members(key):
                appid, _, crawlid = member.decode("utf-8", "replace").partition("||")
                self._ended.add((key.spider, appid, crawlid))
        for key in self._keys["timeout"]:
            parts = key.name.split(":", 3)[1:]
            value = await self._old.text(key)
            if len(parts) == 3 and value.lstrip("-").isdigit():
                self._expires[CrawlId(*parts)] = float(value)

    async def _take_requests(self) -> None:
        waiting = 0
        async for found in self._requests():
            crawl = found.crawl
            if tuple(crawl) in self._ended:
                self.report.ended[crawl] += 1
                continue
            self.report.requests[crawl] += 1
            self.report.domains[crawl.spiderid, found.offer.domain] += 1
            self._options.setdefault(crawl, self._with_end(found))
            self._waiting[crawl].append(found.offer)
            waiting += 1
            if waiting >= WAITING or len(self._waiting[crawl]) >= BATCH:
                await self._submit_waiting()
                waiting = 0
        await self._submit_waiting()

    def _with_end(self, found: Found) -> CrawlOptions:
        expires = self._expires.get(found.crawl)
        return replace(found.options, expires=expires) if expires else found.options

    async def _requests(self) -> AsyncIterator[Found]:
        for kind in ("queue", "requests", "start_urls"):
            for key in self._keys[kind]:
                read = self._reader_of(key)
                async for member, score in self._old.members(key):
                    try:
                        yield read(member, score)
                    except Unreadable as error:
                        self._refuse(key, member, str(error))

    def _reader_of(self, key: Key) -> Callable[[bytes, float], Found]:
        if key.kind == "queue":
            return self._reader.read
        theirs = ScrapyRedisReader(key.spider)
        return theirs.request if key.kind == "requests" else theirs.start_url

    def _refuse(self, key: Key, member: bytes, reason: str) -> None:
        self.report.unreadable[key.name] += 1
        self._reject(
            {"key": key.name, "reason": reason, "member": b64encode(member).decode("ascii")}
        )

    async def _submit_waiting(self) -> None:
        waiting, self._waiting = self._waiting, defaultdict(list)
        if self._tracker is None:
            return
        for crawl, offers in waiting.items():
            options = self._options.get(crawl)
            done = await self._tracker.submit(crawl, offers, options, entry="known", hold=HOLD)
            self.report.queued[crawl] += done.queued
            await self._tracker.pause(crawl)

    async def _take_seen(self) -> None:
        """Record what each crawl had seen; a crawl with nothing to fetch needs no memory."""
        crawls = defaultdict(list)
        for crawl in self.report.requests:
            crawls[crawl.spiderid, crawl.crawlid].append(crawl)
        for key in (*self._keys["dupefilter"], *self._keys["seen"]):
            crawlid = key.name.partition(":dupefilter:")[2] or key.spider
            owners = crawls.get((key.spider, crawlid), [])
            if not owners:
                self.report.idle_dupefilters += 1
            for crawl in owners:
                await self._take_dupefilter(crawl, key)

    async def _take_dupefilter(self, crawl: CrawlId, key: Key) -> None:
        batch: list[Offer] = []
        async for member, _ in self._old.members(key):
            seen_as = _fingerprint(member)
            if seen_as is None:
                self._refuse(key, member, "is no SHA-1 in hex")
                continue
            self.report.seen[crawl] += 1
            batch.append(Offer("", "", seen_as, 0, 0))
            if len(batch) >= BATCH:
                await self._record(crawl, batch)
                batch = []
        await self._record(crawl, batch)

    async def _record(self, crawl: CrawlId, seen: list[Offer]) -> None:
        if self._tracker is not None and seen:
            await self._tracker.submit(crawl, seen, entry="explored", hold=HOLD)

    async def _let_run(self) -> None:
        if self._tracker is None:
            return
        for crawl in self.report.requests:
            await self._tracker.resume(crawl)
            await self._tracker.submit(crawl, (), entry="known", hold=0.0)


def _fingerprint(member: bytes) -> bytes | None:
    """Return our fingerprint, the beginning of theirs."""
    try:
        digest = bytes.fromhex(member.decode("ascii"))
    except ValueError:
        return None
    return digest[:8] if len(digest) == 20 else None


async def check_apart(old: OldRedis, new: OldRedis) -> None:
    """Raise `ConfigError` when both are one database: their keys have the same names."""
    if await old.identity() == await new.identity():
        raise ConfigError(
            "--tracker",
            "is the database that --from names, whose queues have the same names as ours: "
            "take another one, such as redis://HOST:PORT/1",
        )

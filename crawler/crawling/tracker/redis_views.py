"""Looking at the Redis tracker: nothing here changes anything."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from crawling.exceptions import ConfigError, FleetError, Unavailable
from crawling.tracker import keys as names
from crawling.tracker.redis_connect import Histories, is_cluster, redis_client, shown
from crawling.tracker.redis_records import (
    text,
    unpack_failure,
    unpack_held,
    unpack_status,
    unpack_trace,
    unpack_vitals,
)
from crawling.tracker.redis_watch import read_deadlines
from crawling.tracker.replicas import Replicas
from crawling.tracker.scripts import Scripts, answer, is_lasting, redis_errors
from crawling.tracker.tracker import (
    DomainCounts,
    DomainSetting,
    DomainStatus,
    Event,
    FailedPage,
    Failure,
    QueuedIn,
    Trace,
    Tracker,
    Treatment,
    WorkerStatus,
    longest_first,
    place_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.tracker.tracker import (
        CrawlId,
        CrawlStatus,
        Held,
        TrackerConfig,
    )

logger = logging.getLogger(__name__)

#: How the data lies in Redis; another number is another program's.
SCHEMA = b"3"
OLDEST_REDIS = (6, 2)
#: Seconds until a Redis that does not answer counts as away; `?socket_timeout=` in
#: the URL says otherwise.
ANSWER_TIMEOUT = 30.0
#: Connections of a process at most; who finds none free waits.
CONNECTIONS = 64
#: Crawls that one call looks at: some 2 ms.
PAGE = 2000
#: Domains, lanes of a crawl, books and failures that one call looks at: some 5 ms.
DOMAINS, LANES, BOOKS, FAILURES = 500, 500, 100, 500
#: Domains at rest that are looked at for the oldest request.
RESTING = 500
#: Milliseconds in which workers that wait for work ask several times.
RECENT = 60_000
#: Calls that look for the failures of one page.
MOST_CALLS = 40


class RedisViews(Tracker):
    """The part of the Redis tracker that reads."""

    def __init__(
        self,
        url: str,
        config: TrackerConfig,
        *,
        tag: str = "",
        histories: Histories | None = None,
    ) -> None:
        super().__init__(config)
        self._place = shown(url)
        self._is_cluster = is_cluster(url)
        self._histories = histories or Histories()
        self._redis = redis_client(
            url,
            tag=tag,
            timeout=ANSWER_TIMEOUT,
            connections=CONNECTIONS,
            histories=self._histories,
        )
        self.keys = names.Keys(tag)
        self.replicas = Replicas(self._redis)
        self._scripts = Scripts(self._redis, self.keys.meta)

    async def open(self) -> None:
        try:
            await self._check_server()
        except FleetError as error:
            await self.close()
            # Later it may be somebody at work on the server: then it is waited for.
            if isinstance(error, Unavailable) and is_lasting(error):
                raise ConfigError("TRACKER", f"{self._place}: {error}") from error
            if isinstance(error, Unavailable):
                raise Unavailable(
                    f"TRACKER: no answer from Redis at {self._place} ({error}); start it, or "
                    "set TRACKER, or REDIS_HOST and REDIS_PORT, to where it is"
                ) from error
            raise

    async def close(self) -> None:
        await self._redis.aclose()

    async def breaks(self) -> int:
        # A master that has been replaced may still confirm what it is asked to do.
        await self.replicas.until_followed(self.keys.meta)
        return self._histories.breaks

    async def crawl(self, crawl: CrawlId) -> CrawlStatus | None:
        cno = await self._number(crawl)
        book = cno and await self._ask("HGETALL", self.keys.crawl(cno))
        return unpack_status(book) if book else None

    async def statuses(self, crawls: Sequence[CrawlId]) -> list[CrawlStatus]:
        found = []
        for begin in range(0, len(crawls), BOOKS):
            fields = [names.crawl_name(crawl) for crawl in crawls[begin : begin + BOOKS]]
            numbers = await self._ask("HMGET", self.keys.crawls, *fields)
            pipeline = self._redis.pipeline(transaction=False)
            for number in filter(None, numbers):
                pipeline.hgetall(self.keys.crawl(int(number)))
            books: list[Any] = await answer(pipeline.execute()) if any(numbers) else []
            found += [unpack_status(book) for book in books if book]
        return found

    async def crawls(self, spiderid: str = "", appid: str = "") -> list[CrawlId]:
        pattern = ":".join(_glob(names.escape(part)) for part in (spiderid, appid, ""))
        cursor, found = b"0", dict[str, None]()
        while True:
            cursor, page = await self._ask(
                "HSCAN", self.keys.crawls, cursor, "MATCH", pattern, "COUNT", PAGE
            )
            found |= dict.fromkeys(map(text, page if isinstance(page, dict) else page[::2]))
            if int(cursor) == 0:
                return list(map(names.parse_crawl_name, found))

    async def queued(self, crawl: CrawlId) -> list[QueuedIn]:
        cursor, lanes = b"0", dict[tuple[bytes, int], int]()
        while True:
            cursor, page = await self._scripts.run(
                "lanes", names.crawl_name(crawl), cursor, LANES
            )
            lanes |= {(queue, priority): length for queue, priority, length in page}
            if int(cursor) == 0:
                return _by_domain(lanes)

    async def treatment(self) -> Treatment:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(self.keys.limits)
        pipeline.smembers(self.keys.blocked)
        pipeline.hget(self.keys.meta, "deferrals")
        limits, barred, deferrals = await answer(pipeline.execute())
        blocked = set(map(text, barred))
        given = {text(domain): text(limit).split()[2:] for domain, limit in limits.items()}
        settings = [
            DomainSetting(domain, *_given(given.get(domain)), blocked=domain in blocked)
            for domain in sorted(given.keys() | blocked)
        ]
        return Treatment(settings, int(deferrals or 0))

    async def domains(self, spiderid: str, limit: int = 100) -> list[DomainStatus]:
        found, place = dict[str, DomainStatus](), 0
        while place != -1 and len(found) < limit:
            most = min(DOMAINS, limit - len(found))
            page, place = await self._domains(spiderid, most, place)
            found |= {each.domain: each for each in page}
        return list(found.values())[:limit]

    async def all_domains(self, spiderid: str) -> list[DomainStatus]:
        return await self.domains(spiderid, sys.maxsize)

    async def _domains(
        self, spiderid: str, limit: int, place: int
    ) -> tuple[list[DomainStatus], int]:
        """Return domains from *place* on, and the place behind them, -1 for the end."""
        view = names.view(spiderid, self.config)
        place, rows = await self._scripts.run(
            "domains", names.escape(spiderid), view, limit, place
        )
        found = [
            DomainStatus(
                spiderid=spiderid,
                domain=text(domain),
                queued=queued,
                leased=leased,
                opens=int(opens) / 1000 if opens else None,
                blocked=bool(blocked),
                paused=paused,
                deferred=bool(deferred),
                capped=bool(capped),
            )
            for domain, queued, leased, opens, blocked, paused, deferred, capped in rows
        ]
        return found, place

    async def count_domains(self, spiderid: str) -> DomainCounts:
        by_address = int(bool(self.config.ip))
        counts = await self._scripts.run(
            "count_domains", names.escape(spiderid), by_address, RECENT
        )
        return DomainCounts(*counts)

    async def oldest_queued(self, spiderid: str) -> float | None:
        view = names.view(spiderid, self.config)
        since = await self._scripts.run("oldest", names.escape(spiderid), view, RESTING)
        return None if since < 0 else since / 1000

    async def workers(self) -> list[WorkerStatus]:
        with redis_errors():
            deadlines = await read_deadlines(self._redis, self.keys)
        troubles = await self._ask("HGETALL", self.keys.troubles)
        vitals = await self._ask("HGETALL", self.keys.vitals)
        return [
            WorkerStatus(
                worker,
                deadline / 1000,
                await self._ask("HLEN", self.keys.leases(worker)),
                text(troubles.get(worker.encode(), b"")),
                unpack_vitals(vitals.get(worker.encode())),
            )
            for worker, deadline in deadlines
        ]

    async def held(self, worker: str, limit: int = 100) -> list[Held] | None:
        found = await self._scripts.run("held", worker, limit)
        if found is None:
            return None
        return longest_first(unpack_held(*each) for each in found)

    async def failed(
        self,
        crawl: CrawlId,
        limit: int = 100,
        *,
        reason: str = "",
        domain: str = "",
        after: str = "",
    ) -> FailedPage:
        cursor, skip = place_of(after)
        cno, found = await self._number(crawl), list[Failure]()
        if not cno:
            return FailedPage(found, "")
        for _ in range(MOST_CALLS):
            next_cursor, page = await self._ask(
                "HSCAN", self.keys.failed(cno), cursor, "COUNT", FAILURES
            )
            records = page.values() if isinstance(page, dict) else page[1::2]
            for number, failure in enumerate(map(unpack_failure, records)):
                if number < skip or not failure.matches(reason, domain):
                    continue
                if len(found) == limit:
                    return FailedPage(found, f"{cursor}.{number}")
                found.append(failure)
            cursor, skip = int(next_cursor), 0
            if cursor == 0:
                return FailedPage(found, "")
        return FailedPage(found, f"{cursor}.0")

    async def trace(self, crawl: CrawlId, fingerprint: bytes) -> Trace:
        found = await self._scripts.run("trace", names.crawl_name(crawl), fingerprint)
        return unpack_trace(*found)

    async def events(self, after: str = "", limit: int = 100) -> list[Event]:
        start = f"({after}" if after else "-"
        entries = await self._ask("XRANGE", self.keys.outbox, start, "+", "COUNT", limit)
        return [Event(text(id_), json.loads(fields[b"body"])) for id_, fields in entries]

    async def _ask(self, *command: str | bytes | int) -> Any:
        return await answer(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]  # redis-py's

    async def _number(self, crawl: CrawlId) -> int | None:
        cno = await self._ask("HGET", self.keys.crawls, names.crawl_name(crawl))
        return int(cno) if cno else None

    async def _check_server(self) -> None:
        with redis_errors():
            server = await self._redis.info("server")
            schema = await self._ask("HGET", self.keys.meta, "schema")
            if schema is None:
                await self._ask("HSETNX", self.keys.meta, "shards", self.config.shards)
                await self._ask("HSETNX", self.keys.meta, "schema", SCHEMA)
        version = str(server["redis_version"])
        if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
            raise ConfigError("TRACKER", f"needs Redis 6.2 or newer, not {version}")
        if schema not in {None, SCHEMA}:
            raise ConfigError("TRACKER", f"holds data of another version, {schema!r}")
        await self._check_shards()
        await self._check_settings()

    async def _check_shards(self) -> None:
        """Raise `ConfigError` where others divide the domains among another number."""
        tags = {self.keys.tag} if self._is_cluster else {self.keys.tag, "", "{0}"}
        for tag in tags:
            found = await self._ask("HMGET", names.Keys(tag).meta, "schema", "shards")
            shards = int(found[1] or 1)
            if found[0] and shards != self.config.shards:
                raise ConfigError(
                    "TRACKER_SHARDS",
                    f"must be {shards}, as of all that use the Redis at {self._place}, "
                    f"not {self.config.shards}",
                )

    async def _check_settings(self) -> None:
        try:
            settings = await self._redis.config_get("maxmemory-policy")
        except NoPermissionError:
            logger.warning(
                "Redis does not tell its maxmemory-policy; it must be noeviction",
                extra={"action": "open"},
            )
            return
        policy = settings["maxmemory-policy"]
        if policy != "noeviction":
            raise ConfigError(
                "TRACKER",
                f"Redis's maxmemory-policy must be noeviction, not {policy}: "
                "any other loses requests when memory is short",
            )


def _glob(part: str) -> str:
    """Return a pattern of Redis for *part* itself, or for anything where it is empty."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", part) or "*"


def _by_domain(lanes: Mapping[tuple[bytes, int], int]) -> list[QueuedIn]:
    found: dict[str, QueuedIn] = {}
    for (queue, priority), length in lanes.items():
        domain = text(queue).partition(":")[2]
        known = found.get(domain, QueuedIn(domain, 0, priority, priority))
        found[domain] = QueuedIn(
            domain,
            known.queued + length,
            max(known.highest, priority),
            min(known.lowest, priority),
        )
    return list(found.values())


def _given(limit: Sequence[str] | None) -> tuple[int, float, float]:
    if limit is None:
        return (0, 0.0, 1.0)
    hits, window, scale = limit
    return int(hits), float(window), float(scale)

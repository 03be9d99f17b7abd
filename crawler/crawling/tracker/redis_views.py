"""Looking at the Redis tracker: nothing here changes anything."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError

from crawling.exceptions import ConfigError, FleetError, Unavailable
from crawling.tracker import keys as names
from crawling.tracker.redis_records import (
    text,
    unpack_failure,
    unpack_status,
    unpack_trace,
)
from crawling.tracker.redis_watch import read_deadlines
from crawling.tracker.scripts import Scripts, answer, is_lasting, redis_errors
from crawling.tracker.tracker import DomainStatus, Event, Trace, Tracker, WorkerStatus

if TYPE_CHECKING:
    from crawling.tracker.tracker import (
        CrawlId,
        CrawlStatus,
        Failure,
        TrackerConfig,
    )

logger = logging.getLogger(__name__)

#: How the data lies in Redis; another number is another program's.
SCHEMA = b"1"
OLDEST_REDIS = (6, 2)
#: Seconds until a Redis that does not answer counts as away; `?socket_timeout=` in
#: the URL says otherwise.
ANSWER_TIMEOUT = 30.0
#: Connections of a process at most; who finds none free waits.
CONNECTIONS = 64


class RedisViews(Tracker):
    """The part of the Redis tracker that reads."""

    def __init__(self, url: str, config: TrackerConfig, *, tag: str = "") -> None:
        super().__init__(config)
        # Repeating is the caller's business: it alone knows whether it still wants it.
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                decode_responses=False,
                socket_timeout=ANSWER_TIMEOUT,
                timeout=ANSWER_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                max_connections=CONNECTIONS,
            )
        except ValueError as error:
            raise ConfigError("TRACKER", f"is no URL of a Redis: {error}") from error
        self._redis = Redis.from_pool(pool)
        self.keys = names.Keys(tag)
        self._scripts = Scripts(self._redis, self.keys.meta)

    async def open(self) -> None:
        try:
            await self._check_server()
        except FleetError as error:
            await self.close()
            # Later it may be somebody at work on the server: then it is waited for.
            if isinstance(error, Unavailable) and is_lasting(error):
                raise ConfigError("TRACKER", str(error)) from error
            raise

    async def close(self) -> None:
        await self._redis.aclose()

    async def crawl(self, crawl: CrawlId) -> CrawlStatus | None:
        cno = await self._number(crawl)
        book = cno and await self._ask("HGETALL", self.keys.crawl(cno))
        return unpack_status(book) if book else None

    async def crawls(self) -> list[CrawlId]:
        return [
            names.parse_crawl_name(text(name))
            for name in await self._ask("HKEYS", self.keys.crawls)
        ]

    async def domains(self, spiderid: str, limit: int = 100) -> list[DomainStatus]:
        view = names.view(spiderid, self.config)
        rows = await self._scripts.run("domains", names.escape(spiderid), view, limit)
        return [
            DomainStatus(
                spiderid=spiderid,
                domain=text(domain),
                queued=queued,
                leased=leased,
                opens=int(opens) / 1000 if opens else None,
                blocked=bool(blocked),
            )
            for domain, queued, leased, opens, blocked in rows
        ]

    async def workers(self) -> list[WorkerStatus]:
        with redis_errors():
            deadlines = await read_deadlines(self._redis, self.keys)
        return [
            WorkerStatus(
                worker, deadline / 1000, await self._ask("HLEN", self.keys.leases(worker))
            )
            for worker, deadline in deadlines
        ]

    async def failures(self, crawl: CrawlId, limit: int = 100) -> list[Failure]:
        cno = await self._number(crawl)
        cursor, found = b"0", list[bytes]()
        while cno and len(found) < limit:
            cursor, page = await self._ask(
                "HSCAN", self.keys.failed(cno), cursor, "COUNT", limit
            )
            found += page.values() if isinstance(page, dict) else page[1::2]
            if int(cursor) == 0:
                break
        return [unpack_failure(record) for record in found[:limit]]

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
                await self._ask("HSETNX", self.keys.meta, "schema", SCHEMA)
        version = str(server["redis_version"])
        if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
            raise ConfigError("TRACKER", f"needs Redis 6.2 or newer, not {version}")
        if schema not in {None, SCHEMA}:
            raise ConfigError("TRACKER", f"holds data of another version, {schema!r}")
        await self._check_settings()

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

"""What Redis monitors are asked for and must pass on: streams that they share.

Each letter goes to one monitor, and leaves its stream when that one has said so.  What a
monitor that died has left is handed to another.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from redis.exceptions import ResponseError

from crawling.exceptions import RequestError, Unavailable
from crawling.tracker.extras import record_of, requestid
from crawling.tracker.keys import parse_crawl_name
from crawling.tracker.redis_records import (
    domain_in,
    pack,
    source_row,
    text,
    unpack_options,
    unpack_request,
)
from crawling.tracker.scripts import answer, redis_errors
from crawling.tracker.tracker import CrawlOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from redis.asyncio import Redis

    from crawling.tracker.keys import Keys
    from crawling.tracker.replicas import Replicas
    from crawling.tracker.scripts import Scripts
    from crawling.tracker.tracker import Source

GROUP = "fleet"
#: Seconds after which a letter that was not answered goes to another monitor.
CLAIM_AFTER = 30.0
#: Seconds without a word after which a consumer that has no letters is forgotten.
FORGET = 3600.0


class Letter(NamedTuple):
    """*again*: it was delivered before, and perhaps answered."""

    id: str
    body: dict[str, Any]
    again: bool


class Mailbox:
    """The letters of one monitor, the *consumer*; its name must be its own."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        scripts: Scripts,
        *,
        replicas: Replicas,
        consumer: str,
        claim_after: float,
    ) -> None:
        self._redis = redis
        self._replicas = replicas
        self._keys = keys
        self._scripts = scripts
        self._consumer = consumer
        self._claim_after = claim_after
        #: Stream -> when it was last looked through for letters of the dead.
        self._claimed: dict[str, float] = {}

    async def open(self) -> None:
        """Join; from then on nothing is cut off the streams until it was passed on."""
        for stream in (self._keys.control, self._keys.outbox, self._keys.failures):
            await self._join(stream)
        await self._ask("HSET", self._keys.meta, "relay", "1")
        await self._replicas.remember()

    async def _join(self, stream: str) -> None:
        try:
            await self._ask("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        with redis_errors():
            members: Any = await self._redis.xinfo_consumers(stream, GROUP)
        for member in members:
            if not member["pending"] and member["idle"] > FORGET * 1000:
                await self._ask("XGROUP", "DELCONSUMER", stream, GROUP, member["name"])

    async def post(
        self, letters: Sequence[tuple[Mapping[str, Any], Source | None]]
    ) -> list[bool]:
        """Leave control requests; False where the same source had left one before."""
        calls = [(pack(source_row(source)), json.dumps(body)) for body, source in letters]
        return [bool(new) for new in await self._scripts.run_all("post", calls)]

    async def requests(self, limit: int, timeout: float) -> list[Letter]:
        """Return control requests, none after *timeout* seconds."""
        return await self._letters(self._keys.control, limit, timeout)

    async def answered(self, ids: Sequence[str]) -> None:
        await self._delete(self._keys.control, ids)

    async def news(self, limit: int, timeout: float) -> list[Letter]:
        """Return what became of crawls: `finished` and `expired` events.

        The replicas, if there are any, have these too: a failover does not take back what
        others were told.
        """
        letters = await self._letters(self._keys.outbox, limit, timeout)
        if not letters:
            return []
        await self._replicas.until_followed(self._keys.meta)
        # They are those of the server that has these letters, if it was not just replaced.
        pipeline = self._redis.pipeline(transaction=False)
        for letter in letters:
            pipeline.xrange(self._keys.outbox, letter.id, letter.id)
        found: list[Any] = await answer(pipeline.execute())
        return [
            letter
            for letter, entries in zip(letters, found, strict=True)
            if entries and json.loads(entries[0][1][b"body"]) == letter.body
        ]

    async def relayed(self, ids: Sequence[str]) -> None:
        await self._delete(self._keys.outbox, ids)

    async def failures(self, limit: int, timeout: float) -> list[Letter]:
        """Return requests that failed for good, as messages of `failed_firehose`."""
        found = await self._read(self._keys.failures, limit, timeout)
        options: dict[bytes, CrawlOptions] = {}
        for _, fields, _ in found:
            cno = fields[b"cno"]
            if cno not in options:
                book = await self._ask("HGETALL", self._keys.crawl(int(cno)))
                options[cno] = unpack_options(book) if book else CrawlOptions()
        return [
            Letter(text(id_), failure_of(fields, options[fields[b"cno"]]), again)
            for id_, fields, again in found
        ]

    async def reported(self, ids: Sequence[str]) -> None:
        await self._delete(self._keys.failures, ids)

    async def _letters(self, stream: str, limit: int, timeout: float) -> list[Letter]:
        return [
            Letter(text(id_), json.loads(fields[b"body"]), again)
            for id_, fields, again in await self._read(stream, limit, timeout)
        ]

    async def _read(
        self, stream: str, limit: int, timeout: float
    ) -> list[tuple[bytes, dict[bytes, bytes], bool]]:
        left = await self._claim(stream, limit)
        if left:
            return [(id_, fields, True) for id_, fields in left]
        async with self._member_of(stream):
            answered: Any = await self._redis.xreadgroup(
                GROUP,
                self._consumer,
                {stream: ">"},
                count=limit,
                block=max(1, round(timeout * 1000)),
            )
        batches = answered.items() if isinstance(answered, dict) else answered or ()
        return [
            (id_, fields, False) for _, entries in batches for id_, fields in _flat(entries)
        ]

    async def _claim(self, stream: str, limit: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Take over what was not answered in time, looked for now and then."""
        now = time.monotonic()
        if now < self._claimed.get(stream, 0.0) + self._claim_after / 2:
            return []
        async with self._member_of(stream):
            answered: Any = await self._redis.xautoclaim(
                stream,
                GROUP,
                self._consumer,
                min_idle_time=round(self._claim_after * 1000),
                start_id="0",
                count=limit,
            )
        if not answered[1]:
            self._claimed[stream] = now
        return [(id_, fields) for id_, fields in answered[1] if fields]

    @asynccontextmanager
    async def _member_of(self, stream: str) -> AsyncIterator[None]:
        """Join anew where Redis has forgotten the monitors, with all that it had."""
        try:
            with redis_errors():
                yield
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.open()
            raise Unavailable(f"Redis has lost the stream {stream}") from error

    async def _delete(self, stream: str, ids: Sequence[str]) -> None:
        if ids:
            async with self._member_of(stream):
                await self._scripts.run("letters", stream, GROUP, self._consumer, *ids)

    async def _ask(self, *command: str | bytes) -> Any:
        return await answer(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]  # redis-py's


def _flat(entries: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return (id, fields) of what redis-py gives for one stream, with either protocol."""
    if entries and isinstance(entries[0], list):
        return [entry for page in entries for entry in page]
    return list(entries)


def failure_of(fields: Mapping[bytes, bytes], options: CrawlOptions) -> dict[str, Any]:
    """Return the message of `failed_firehose` for an entry of the failures' stream."""
    crawl = parse_crawl_name(text(fields[b"name"]))
    request = unpack_request(fields[b"request"], domain_in(fields[b"queue"]))
    reason, detail = text(fields[b"reason"]), text(fields[b"detail"])
    try:
        record = record_of(request.extras)
    except RequestError:
        record = {}
    status = reason.removeprefix("http_")
    return {
        "requestid": requestid(crawl, request.fingerprint, record),
        **crawl._asdict(),
        "url": request.url,
        "requested_url": record.get("requested_url", request.url),
        "depth": request.depth,
        "priority": int(fields[b"priority"]),
        "reason": reason,
        "detail": detail,
        "attempts": request.attempts + 1,
        "status_code": int(status) if status.isdigit() else None,
        "exception": None if status.isdigit() else detail or None,
        "attrs": record.get("meta", {}).get("attrs", options.shared.get("attrs")),
        "timestamp": int(fields[b"time"]) / 1000,
        "replay": {
            "spiderid": unquote(text(fields[b"queue"]).partition(":")[0]),
            "fingerprint": request.fingerprint.hex(),
            "extras": b64encode(request.extras).decode("ascii"),
            "options": asdict(options),
        },
    }

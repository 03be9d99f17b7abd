"""Kafka, for requests on their way in and answers on their way out."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError, Unavailable
from crawling.service.kafka import KafkaReader, kafka_config, topic_of
from crawling.service.kafka_sender import KafkaSender
from crawling.service.patience import until_done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

logger = logging.getLogger(__name__)

#: Answers that are read at once, and seconds to wait for one.
BATCH, WAIT = 500, 0.5
#: Seconds between two looks whether the brokers are there.
LOOK = 5.0

Reply = dict[str, Any]


class KafkaLink:
    """Sends requests, and hands each answer on `outbound_firehose` to who waits for it.

    Each instance of the service reads all answers.  Those that nobody waits for here are
    given to *keep*: somebody may poll for them, at any instance.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._config = kafka_config(settings)
        self._incoming: str = settings["KAFKA_INCOMING_TOPIC"]
        self._outbound = topic_of(self._config.prefix, "outbound")
        self._feed_timeout: float = settings["KAFKA_FEED_TIMEOUT"]
        self._sender = KafkaSender(self._config)
        self._reader = KafkaReader(self._config, [self._outbound], None, from_beginning=False)
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._stopping = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.keep: Callable[[str, Reply], Awaitable[None]] | None = None
        #: Whether the brokers answered when they were last asked.
        self.is_up = False

    async def open(self) -> None:
        """Begin to connect."""
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._stopping.set()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        with suppress(Unavailable):
            await self._sender.close()
        with suppress(Unavailable):
            await self._reader.close()

    async def send(self, value: bytes, crawlid: str | None) -> None:
        """Return when the brokers have the request; raise `Unavailable` or `TooLarge`."""
        if not self.is_up:
            raise Unavailable("KAFKA_HOSTS: no answer from the brokers yet")
        key = None if crawlid is None else crawlid.encode("utf-8", "surrogatepass")
        try:
            await asyncio.wait_for(
                self._sender.send(self._incoming, value, key=key), self._feed_timeout
            )
        except asyncio.TimeoutError as error:
            raise Unavailable(f"no acknowledgement in {self._feed_timeout:g} s") from error

    def wait_for(self, uuid: str) -> asyncio.Future[Reply]:
        """Return what will be the answer; called before the request is sent.

        Whoever asks twice with the same uuid waits for the same answer.
        """
        if uuid not in self._waiting:
            self._waiting[uuid] = asyncio.get_running_loop().create_future()
        return self._waiting[uuid]

    def give_up(self, uuid: str) -> None:
        """Wait no longer: the answer will be kept."""
        self._waiting.pop(uuid, None)

    async def _read(self) -> None:
        try:
            if not await until_done(self._connect, self._stopping):
                return
        except ConfigError as error:
            # Everything else goes on without Kafka.
            extra = {"action": "connect", "error": str(error)}
            logger.error("Kafka cannot be used", extra=extra)  # noqa: TRY400 no bug of ours
            return
        logger.info("Connected successfully to Kafka", extra={"action": "connect"})
        looked = asyncio.get_running_loop().time()
        while not self._stopping.is_set():
            try:
                for record in await self._reader.poll(BATCH, WAIT):
                    await self._take(record.value)
                if asyncio.get_running_loop().time() > looked + LOOK:
                    await self._reader.ends()
                    looked = asyncio.get_running_loop().time()
                    self._set_up(is_up=True)
            except Unavailable as error:
                # The client goes on by itself, where it was, when the brokers are back.
                self._set_up(is_up=False, error=str(error))
                await asyncio.sleep(WAIT)

    async def _connect(self) -> None:
        for topic in (self._incoming, self._outbound):
            await self._sender.ensure_topic(topic)
        await self._reader.open()
        self.is_up = True

    def _set_up(self, *, is_up: bool, error: str = "") -> None:
        if is_up != self.is_up:
            level = logging.INFO if is_up else logging.WARNING
            text = "Kafka answers again" if is_up else "Kafka does not answer"
            logger.log(level, text, extra={"action": "connect", "error": error})
        self.is_up = is_up

    async def _take(self, value: bytes | None) -> None:
        try:
            reply = json.loads(value or b"")
        except (ValueError, RecursionError):
            return
        uuid = reply.get("uuid") if isinstance(reply, dict) else None
        if not isinstance(uuid, str):
            return
        waiting = self._waiting.pop(uuid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
        elif self.keep is not None:
            await self.keep(uuid, reply)

"""Requests on their way to Kafka, each acknowledged."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError, FleetError, MessageError, Problem, Unavailable
from crawling.messages.reading import LARGEST_MESSAGE, read_message
from crawling.service.kafka import kafka_config
from crawling.service.kafka_sender import KafkaSender
from kafka_monitor.lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

STANDARD_INPUT = 0
#: Requests on their way together: each has KAFKA_FEED_TIMEOUT from its start.
BATCH = 500


async def feed(what: str, settings: Mapping[str, Any], stopping: asyncio.Event) -> int:
    """Send a request, or those of a file or of standard input; return how many failed.

    They are checked to be JSON, and no more: it is the monitor that knows the schemas.
    """
    one = None if what == "-" else _one(what)
    feeder = Feeder(settings)
    await feeder.open()
    try:
        if one is not None:
            await feeder.feed_one(one)
        elif what == "-":
            await feeder.feed_lines(STANDARD_INPUT, stopping)
        else:
            await feeder.feed_lines(os.open(what, os.O_RDONLY), stopping)
    finally:
        await feeder.close()
    return feeder.failed


class Feeder:
    """Counts what Kafka has acknowledged, and what not."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._sender = KafkaSender(kafka_config(settings))
        self._topic: str = settings["KAFKA_INCOMING_TOPIC"]
        self._timeout: float = settings["KAFKA_FEED_TIMEOUT"]
        self.fed = self.failed = 0

    async def open(self) -> None:
        await self._sender.open()

    async def close(self) -> None:
        await self._sender.close()

    async def feed_one(self, text: bytes) -> None:
        shown = json.dumps(_parsed(text), indent=4)
        logger.info("Feeding JSON into %s\n%s", self._topic, shown, extra={"action": "feed"})
        await self._send(text, 1)
        if self.fed:
            logger.info("Successfully fed item to Kafka", extra={"action": "ack"})

    async def feed_lines(self, descriptor: int, stopping: asyncio.Event) -> None:
        number = 0
        async for lines in lines_of(descriptor, stopping):
            for begin in range(0, len(lines), BATCH):
                batch = list(enumerate(lines[begin : begin + BATCH], number + begin + 1))
                await asyncio.gather(
                    *(self._send(text, at) for at, text in batch if text.strip())
                )
            number += len(lines)
        logger.info(
            "Fed %d requests into %s, %d failed",
            self.fed,
            self._topic,
            self.failed,
            extra={"action": "ack"},
        )

    async def _send(self, text: bytes, line: int) -> None:
        try:
            key = _key(_parsed(text))
            sending = self._sender.send(self._topic, text.strip(), key=key)
            await asyncio.wait_for(sending, self._timeout)
        except asyncio.TimeoutError:
            self._fail(Unavailable(f"no acknowledgement in {self._timeout} s"), line)
        except FleetError as error:
            self._fail(error, line)
        else:
            self.fed += 1

    def _fail(self, error: FleetError, line: int) -> None:
        self.failed += 1
        logger.error(
            "Failed to feed item into Kafka",
            extra={"action": "feed", "line": line, "error": str(error)},
        )


def _one(what: str) -> bytes | None:
    """Return the one request that the argument or its file holds, None for a file of lines."""
    if what.lstrip()[:1] in {"{", "["}:
        return what.encode("utf-8", "surrogateescape")
    path = Path(what)
    try:
        text = path.read_bytes() if path.stat().st_size <= LARGEST_MESSAGE else b""
    except (OSError, ValueError) as error:
        raise ConfigError("JSON|FILE|-", f"is neither JSON nor a file: {what!r}") from error
    try:
        read_message(text)
    except MessageError:
        return None
    return text


def _parsed(text: bytes) -> Any:
    try:
        return read_message(text)
    except MessageError as error:
        said = error.errors[0].message
        raise MessageError([Problem("", f"JSON failed to parse: it {said}")]) from error


def _key(message: Any) -> bytes | None:
    """Return what keeps the requests of a crawl in order: they share a partition."""
    crawlid = message.get("crawlid") if isinstance(message, dict) else None
    return crawlid.encode("utf-8") if isinstance(crawlid, str) else None

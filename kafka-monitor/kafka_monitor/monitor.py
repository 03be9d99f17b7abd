"""The loop: messages from Kafka, by plugins, to Redis; what is refused goes back to Kafka."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError, MessageError, Problem, Unavailable
from crawling.messages.crawl import source_of
from crawling.messages.reading import read_message
from crawling.messages.validation import Schema, check_schema
from crawling.service.logs import names_in
from crawling.service.patience import until_done
from crawling.service.plugins import load_plugins
from kafka_monitor.rejects import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from crawling.service.kafka import KafkaReader, Record
    from crawling.service.node import Node
    from kafka_monitor.intake import Intake
    from kafka_monitor.metrics import KafkaMetrics
    from kafka_monitor.offsets import Offsets
    from kafka_monitor.rejects import Rejects

logger = logging.getLogger(__name__)

#: Entry points of packages that bring plugins.
GROUP = "scrapy_fleet.kafka_monitor"
#: Messages in one batch: one round trip to Redis.
BATCH = 500
#: Seconds that an idle loop waits for messages, and so at most for the end of the process.
POLL = 0.5
#: Seconds after a commit that failed in which none is tried.
COMMIT_PAUSE = 2.0


class Plugin:
    """A handler with its schema."""

    def __init__(self, handler: Any, schema: Schema) -> None:
        self.name = type(handler).__name__
        self.schema = schema
        self.handler = handler


def make_plugins(settings: Mapping[str, Any], intake: Intake) -> list[Plugin]:
    """Return the plugins by rank, set up; raise `ConfigError` for one that cannot be."""
    plugins = []
    for cls in load_plugins(settings["PLUGINS"], GROUP):
        handler = cls()
        handler.logger = logging.getLogger(f"kafka_monitor.plugins.{cls.__name__}")
        handler.intake = intake
        handler.setup(settings)
        plugins.append(Plugin(handler, _schema_of(handler)))
    return plugins


def _schema_of(handler: Any) -> Schema:
    """Return the schema of a plugin; a file is looked for beside the plugin's module."""
    cls, schema = type(handler), handler.schema
    if isinstance(schema, str):
        path = Path(str(sys.modules[cls.__module__].__file__)).with_name(schema)
        try:
            schema = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                "PLUGINS", f"{cls.__name__} has no schema {path}: {error}"
            ) from error
    check_schema(schema, cls.__name__)
    return Schema(schema, f"message for {cls.__name__}")


class KafkaMonitor:
    """Reads batches until it is told to stop; nothing that a message holds stops it."""

    def __init__(
        self,
        reader: KafkaReader,
        plugins: Sequence[Plugin],
        *,
        intake: Intake,
        rejects: Rejects,
        offsets: Offsets,
        node: Node,
        metrics: KafkaMetrics | None = None,
    ) -> None:
        self._reader = reader
        self._plugins = plugins
        self._intake = intake
        self._rejects = rejects
        self._offsets = offsets
        self._node = node
        self._metrics = metrics
        #: The batch that is read and handled, and the one before it while it is sent.
        self._records: list[Record] = []
        self._sending: asyncio.Task[bool] | None = None
        self._commit_after = 0.0
        #: As of the oldest message that Redis was given of late.
        self._breaks = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until *stopping* is set.

        While Redis takes one batch the next is read and handled, and sent after it.  What is
        not committed by the end is delivered again, to the next monitor, and happens once all
        the same.
        """
        await until_done(self._begin, stopping)
        while not stopping.is_set() and await self._take(stopping):
            if not await self._arrived():
                return
            await self._commit()
            if self._records:
                self._sending = self._send(stopping)
        if await self._arrived():
            await self._commit()

    async def _begin(self) -> None:
        self._breaks = await self._intake.breaks()

    async def _take(self, stopping: asyncio.Event) -> bool:
        """Read and handle a batch; False when the process ends before."""
        if not await until_done(self._read, stopping):
            return False
        for record in self._records:
            if not await until_done(partial(self._handle, record), stopping):
                return False
        return True

    async def _read(self) -> None:
        wait = self._offsets.wait()
        if wait is not None:
            wait = max(wait, self._commit_after - time.monotonic())
        timeout = POLL if wait is None else min(POLL, wait)
        self._records = []
        if self._offsets.is_full():
            await asyncio.sleep(timeout)
        else:
            self._records = await self._reader.poll(BATCH, timeout)

    def _send(self, stopping: asyncio.Event) -> asyncio.Task[bool]:
        """Begin to send what was handled; the task says whether Redis and Kafka have it."""
        items, refused = self._intake.take(), self._rejects.take()
        sends = [partial(self._intake.send, items), partial(self._rejects.send, refused)]
        return asyncio.create_task(self._sent(self._records, sends, stopping))

    async def _sent(
        self,
        records: Sequence[Record],
        sends: Sequence[Callable[[], Awaitable[None]]],
        stopping: asyncio.Event,
    ) -> bool:
        for send in sends:
            if not await until_done(send, stopping):
                return False
        self._offsets.hold(records)
        if self._metrics is not None:
            self._metrics.taken(records)
        return True

    async def _arrived(self) -> bool:
        """Wait for the batch that is on its way; False when the process ends before."""
        sending, self._sending = self._sending, None
        return sending is None or await sending

    async def _handle(self, record: Record) -> None:
        message = NOT_JSON
        try:
            message = read_message(record.value)
            value = record.value or b""
            source = source_of(record.topic, record.partition, record.offset, value)
            self._intake.begin(source, record.timestamp)
            served = await self._ask_plugins(message)
        except MessageError as error:
            self._rejects.add(record, error, message)
            self._node.failed()
        else:
            self._node.succeeded(*served)

    async def _ask_plugins(self, message: Any) -> list[str]:
        """Return who handled *message*; raise `MessageError` when nobody knows it."""
        served, refusals = list[str](), list[MessageError]()
        for plugin in self._plugins:
            try:
                valid = plugin.schema.validate(message)
            except MessageError as error:
                refusals.append(error)
                continue
            valid["ts"] = time.time()
            served.append(plugin.name)
            if await _call(plugin, valid) is None:
                return served
        if not served:
            raise _nearest(refusals)
        return served

    async def _commit(self) -> None:
        if time.monotonic() < self._commit_after:
            return
        try:
            self._offsets.keep(await self._reader.assignment())
            due = self._offsets.due()
            if self._offsets.is_watched():
                if (breaks := await self._intake.breaks()) != self._breaks:
                    await self._read_again(breaks)
                elif due:
                    await self._reader.commit(due)
        except Unavailable as error:
            logger.warning(
                "Offsets not committed", extra={"action": "commit", "error": str(error)}
            )
            # Reading goes on meanwhile: it is what brings a reader back into its group.
            self._commit_after = time.monotonic() + COMMIT_PAUSE
        else:
            self._offsets.committed()

    async def _read_again(self, breaks: int) -> None:
        """Go back to what Redis was given of late: it takes what it has lost, and no more."""
        again = self._offsets.of_late()
        await self._reader.rewind(again)
        self._offsets.rewound(again)
        self._breaks = breaks
        # What was handled meanwhile is read again behind it, in its order.
        self._records = []
        self._intake.take()
        self._rejects.take()
        places = {
            f"{topic}-{partition}": offset for (topic, partition), offset in again.items()
        }
        logger.warning(
            "Redis may have lost messages, reading them again",
            extra={"action": "rewind", "offsets": places},
        )


async def _call(plugin: Plugin, message: dict[str, Any]) -> Any:
    try:
        answer = plugin.handler.handle(message)
        return await answer if isawaitable(answer) else answer
    except (MessageError, Unavailable):
        raise
    except Exception as error:
        # Whatever a plugin does, the next message is served.
        extra = {"action": "handle", "plugin": plugin.name, **names_in(message)}
        logger.exception("Plugin failed", extra=extra)
        problem = Problem("", f"{plugin.name} failed: {error!r}")
        raise MessageError([problem]) from error


def _nearest(refusals: Sequence[MessageError]) -> MessageError:
    """Return the refusal of the schema that *message* was most likely meant for."""
    if not refusals:
        return MessageError([Problem("", "there is no plugin that is turned on")])
    return min(refusals, key=lambda error: len(error.errors))

"""Messages that are refused: kept with their reason, and their sender is told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.exceptions import OutputError, RequestError
from crawling.messages.rejection import rejection
from crawling.messages.validation import HIDDEN, SECRET
from crawling.service.kafka import topic_of
from crawling.service.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.exceptions import MessageError
    from crawling.service.kafka import Record
    from crawling.service.kafka_sender import KafkaSender

logger = logging.getLogger(__name__)

#: Stands for the JSON of a record that holds none; null is one.
NOT_JSON: Any = object()
#: Bytes that are kept of a message that the broker does not take back whole.
KEPT = 100_000
#: Characters of a message that are logged.
LOGGED = 1000


class Refused(NamedTuple):
    record: Record
    message: Any
    error: MessageError


class Rejects:
    """Sends what is refused to `<prefix>.rejected`, and a reply where there is an appid."""

    def __init__(self, sender: KafkaSender, settings: Mapping[str, Any]) -> None:
        self._sender = sender
        self._outbound = Outbound(sender, settings)
        self._prefix: str = settings["KAFKA_TOPIC_PREFIX"]
        self._refused: list[Refused] = []

    def add(self, record: Record, error: MessageError, message: Any = NOT_JSON) -> None:
        """Refuse a record; *message* is the JSON in it."""
        self._refused.append(Refused(record, message, error))
        parsed = message is not NOT_JSON
        logger.warning(
            "Did not find schema to validate request"
            if parsed
            else "Unparseable JSON Received",
            extra={
                "action": "reject",
                "parsed": parsed,
                "valid": False,
                "data": _logged(record, message),
                "path": error.errors[0].path,
                "reason": str(error)[:LOGGED],
            },
        )

    def take(self) -> list[Refused]:
        """Return what was refused since the last call."""
        refused, self._refused = self._refused, []
        return refused

    async def send(self, refused: Sequence[Refused]) -> None:
        """Return when Kafka has acknowledged all; after `Unavailable` it can be sent again."""
        await asyncio.gather(*(self._send(*each) for each in refused))

    async def _send(self, record: Record, message: Any, error: MessageError) -> None:
        if self._has_sender(message):
            await self._outbound.tell(rejection(message, error))
        topic, value, headers = (
            f"{self._prefix}.rejected",
            record.value,
            _headers(record, error),
        )
        try:
            await self._sender.send(topic, value or b"", key=record.key, headers=headers)
        except OutputError:
            cut, size = (value or b"")[:KEPT], str(len(value or b"")).encode()
            await self._sender.send(topic, cut, headers=[*headers, ("size", size)])

    def _has_sender(self, message: Any) -> bool:
        """Whether *message* says whom to tell, in a name that a topic can have."""
        appid = message.get("appid") if isinstance(message, dict) else None
        if not isinstance(appid, str) or not appid:
            return False
        try:
            topic_of(self._prefix, "outbound", appid)
        except RequestError:
            return False
        return True


def _logged(record: Record, message: Any) -> Any:
    """Return what is shown of a message: no cookies or headers, where they may be in it."""
    if isinstance(message, dict):
        return {name: HIDDEN if name in SECRET else value for name, value in message.items()}
    value = record.value or b""
    if any(name.encode() in value for name in SECRET):
        return HIDDEN
    return value[:LOGGED].decode("utf-8", "replace")


def _headers(record: Record, error: MessageError) -> list[tuple[str, bytes]]:
    about = {
        "reason": str(error)[:LOGGED],
        "path": error.errors[0].path,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
    return [(name, str(value).encode()) for name, value in about.items()]

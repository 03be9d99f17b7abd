"""Messages on their way to the outbound topics and to the failed firehose."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from crawling.exceptions import OutputError, RequestError
from crawling.service.kafka import topic_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawling.service.kafka_sender import KafkaSender

logger = logging.getLogger(__name__)

#: What is left of a message that cannot be sent whole: what tells its reader which it was.
_NAMES = ("action", "appid", "crawlid", "spiderid", "uuid", "stats", "server_time")
#: What a failure can do without.
_BULKY = {"attrs": None, "detail": "", "exception": None, "replay": None}


class Outbound:
    """Sends what clients wait for: to the application's topic first, where there is one."""

    def __init__(self, sender: KafkaSender, settings: Mapping[str, Any]) -> None:
        self._sender = sender
        self._prefix: str = settings["KAFKA_TOPIC_PREFIX"]
        self._for_apps: bool = settings["KAFKA_APPID_TOPICS"]

    async def open(self) -> None:
        """Make the topics that everybody may listen to."""
        for kind in ("outbound", "failed"):
            await self._sender.ensure_topic(topic_of(self._prefix, kind))

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Return when Kafka has acknowledged the message on all its topics.

        One that is too large is told of without what made it so.
        """
        topics = self._topics("outbound", message["appid"])
        try:
            await self._send(message, topics)
        except OutputError as error:
            _complain(message, error)
            names = {name: message[name] for name in _NAMES if name in message}
            await self._send({**names, "error": f"cannot be sent: {error}"}, topics)

    async def report(self, failure: Mapping[str, Any]) -> None:
        """Send a request that failed for good, if need be without its attrs and detail."""
        topics = [topic_of(self._prefix, "failed")]
        try:
            await self._send(failure, topics)
        except OutputError as error:
            _complain(failure, error)
            await self._send({**failure, **_BULKY}, topics)

    async def _send(self, message: Mapping[str, Any], topics: list[str]) -> None:
        value = json.dumps(message).encode()
        crawlid = message.get("crawlid")
        for topic in topics:
            await self._sender.send(
                topic, value, key=_key(crawlid) if isinstance(crawlid, str) else None
            )

    def _topics(self, kind: str, appid: str) -> list[str]:
        firehose = topic_of(self._prefix, kind)
        if not self._for_apps:
            return [firehose]
        try:
            return [topic_of(self._prefix, kind, appid), firehose]
        except RequestError:
            return [firehose]


def _key(crawlid: str) -> bytes:
    return crawlid.encode("utf-8", "surrogatepass")


def _complain(message: Mapping[str, Any], error: OutputError) -> None:
    names = {name: message[name] for name in _NAMES if name in message}
    logger.error("Message cannot be sent whole", extra={**names, "error": str(error)})

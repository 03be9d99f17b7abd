"""Events and failures from the tracker's streams to Kafka."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from crawling.messages import replies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawling.service.node import Node
    from crawling.service.outbound import Outbound
    from crawling.tracker.mailbox import Mailbox

logger = logging.getLogger(__name__)

#: Letters that are read at once, and seconds to wait for the first.
BATCH, WAIT = 500, 1.0
#: What a log line about a page says of it.
WHOSE = ("appid", "crawlid", "spiderid", "requestid")


class Relay:
    """Each letter leaves Redis when Kafka has acknowledged it."""

    def __init__(self, mailbox: Mailbox, outbound: Outbound, node: Node) -> None:
        self._mailbox = mailbox
        self._outbound = outbound
        self._node = node

    async def news(self) -> None:
        """Pass on some events of crawls."""
        letters = await self._mailbox.news(BATCH, WAIT)
        await asyncio.gather(*(self._tell(letter.body) for letter in letters))
        await self._mailbox.relayed([letter.id for letter in letters])

    async def failures(self) -> None:
        """Pass on some requests that failed for good."""
        letters = await self._mailbox.failures(BATCH, WAIT)
        await asyncio.gather(*(self._report(letter.body) for letter in letters))
        await self._mailbox.reported([letter.id for letter in letters])

    async def _report(self, failure: Mapping[str, Any]) -> None:
        await self._outbound.report(failure)
        whose = {name: failure[name] for name in WHOSE}
        logger.debug("Sent failure to kafka", extra={"action": "report", **whose})

    async def _tell(self, event: Mapping[str, Any]) -> None:
        if event["action"] == "expired":
            event = replies.expired(event)
            self._node.succeeded("ExpireMonitor")
        await self._outbound.tell(event)
        logger.info("Sent event to kafka", extra={**event, "success": True})

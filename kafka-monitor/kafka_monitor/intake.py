"""What a batch of messages asks of Redis, sent in the order in which it came."""

from __future__ import annotations

import logging
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.messages.crawl import page_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.service.tracing import Traces
    from crawling.tracker.mailbox import Mailbox
    from crawling.tracker.tracker import Source, Submission, Tracker

logger = logging.getLogger(__name__)


class Item(NamedTuple):
    """A crawl or a letter for Redis, and what the log says when Redis has it."""

    text: str
    fields: Mapping[str, Any]
    crawl: Submission | None = None
    letter: tuple[Mapping[str, Any], Source | None] | None = None
    #: When the message was sent, in Unix seconds.
    since: float = 0.0


class Intake:
    """Collects what plugins want of Redis, for one pipelined round trip a batch.

    Everything bears its *source*: what is sent twice, or delivered twice, happens once.
    """

    def __init__(
        self, tracker: Tracker, mailbox: Mailbox, traces: Traces | None = None
    ) -> None:
        self._tracker = tracker
        self._mailbox = mailbox
        self._traces = traces
        self._items: list[Item] = []
        self._message: Source | None = None
        self._since = 0.0
        self._made = 0

    def begin(self, message: Source, since: float) -> None:
        """Take note of which message is handled now, sent at *since* (Unix seconds)."""
        self._message, self._since, self._made = message, since, 0

    @property
    def source(self) -> Source | None:
        """Return what the next crawl or letter bears: the message, and which of it this is."""
        if self._message is None or not self._made:
            return self._message
        return self._message._replace(topic=f"{self._message.topic}#{self._made}")

    def submit(self, crawl: Submission, text: str, fields: Mapping[str, Any]) -> None:
        """Submit a crawl whose source is `source`; then log *text* with *fields*."""
        self._add(Item(text, fields, crawl=crawl, since=self._since))

    def post(self, kind: str, request: Mapping[str, Any], text: str) -> None:
        """Leave a request for the Redis monitor, which answers it."""
        letter = ({"kind": kind, **request}, self.source)
        self._add(Item(text, request, letter=letter))

    async def breaks(self) -> int:
        """Return how often Redis may have lost what it had taken, up to now."""
        return await self._tracker.breaks()

    def take(self) -> list[Item]:
        """Return what was collected since the last call."""
        items, self._items = self._items, []
        return items

    async def send(self, items: Sequence[Item]) -> None:
        """Return when Redis holds all of it; after `Unavailable` it can be sent again."""
        for _, group in groupby(items, lambda item: item.crawl is None):
            alike = list(group)
            await self._tracker.submit_all([item.crawl for item in alike if item.crawl])
            await self._mailbox.post([item.letter for item in alike if item.letter])
        _log(items)
        if self._traces is not None:
            for item in items:
                if item.crawl is not None:
                    self._traces.fed(item.crawl, item.since)

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self._made += 1


def _log(items: Sequence[Item]) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    for item in items:
        given = {"action": "ingest", "parsed": True, "valid": True, **item.fields}
        if item.crawl is not None and len(pages := page_ids(item.crawl)) == 1:
            given["requestid"] = pages[0]
        logger.info(item.text, extra=given)

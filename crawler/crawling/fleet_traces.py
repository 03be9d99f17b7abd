"""The traces of a worker's pages, as an extension of Scrapy; without TRACING there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from scrapy import Request, signals
from scrapy.exceptions import NotConfigured

from crawling import signals as ours
from crawling.held_lease import current_lease, held_here
from crawling.request_record import requestid
from crawling.service.config import read
from crawling.service.text import without_logins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import Span
    from scrapy.crawler import Crawler
    from typing_extensions import Self

    from crawling.tracker.tracker import Lease, Outcome


class FleetTraces:
    """A span `page` for each lease until it is settled, with `download` and `deliver` in it."""

    def __init__(self, crawler: Crawler) -> None:
        # Only here: a worker that nobody traces does without OpenTelemetry.
        from crawling.service.tracing import Traces, traceparent  # noqa: PLC0415

        self._traceparent = traceparent
        self._traces = Traces("fleet-worker")
        #: Of each lease that is held.
        self._pages: dict[tuple[str, bytes], Span] = {}
        #: When each request was sent, and answered whole.
        self._downloads: WeakKeyDictionary[Request, list[int]] = WeakKeyDictionary()
        connect: Any = crawler.signals.connect
        connect(self._taken, ours.leases_taken)
        connect(self._settled, ours.leases_settled)
        connect(self._sent, signals.request_reached_downloader)
        connect(self._downloaded, signals.response_downloaded)
        connect(self._delivered, signals.item_scraped)
        connect(self._traces.close, signals.engine_stopped)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        if not read(crawler.settings, "TRACING"):
            raise NotConfigured
        return cls(crawler)

    def headers(self) -> list[tuple[str, bytes]]:
        """Return those of the message of the page that the running code works for."""
        lease = current_lease()
        span = self._pages.get(lease.key) if lease else None
        return [("traceparent", self._traceparent(span))] if span else []

    def _taken(self, leases: Sequence[Lease]) -> None:
        now = time.time_ns()
        for lease in leases:
            attributes: dict[str, str | int] = {
                "fleet.attempt": lease.attempts + 1,
                "fleet.depth": lease.depth,
                "url.full": without_logins(lease.url),
            }
            self._pages[lease.key] = self._traces.begin(
                "page", lease.crawl, requestid(lease), since=now, attributes=attributes
            )

    def _settled(self, outcomes: Sequence[Outcome], accepted: Sequence[bool]) -> None:
        for outcome, was_ours in zip(outcomes, accepted, strict=True):
            span = self._pages.pop(outcome.lease.key, None)
            if span is None:
                continue
            # What another worker got meanwhile is not this one's to settle.
            span.set_attribute("fleet.outcome", outcome.kind if was_ours else "lost")
            if outcome.status:
                span.set_attribute("http.response.status_code", outcome.status)
            if outcome.reason:
                span.set_attribute("error.type", outcome.reason)
            span.end()

    def _sent(self, request: Request) -> None:
        self._downloads[request] = [time.time_ns()]

    def _downloaded(self, request: Request) -> None:
        if request in self._downloads:
            self._downloads[request].append(time.time_ns())

    def _delivered(self) -> None:
        held = held_here()
        span = self._pages.get(held.lease.key) if held else None
        if held is None or span is None:
            return
        times = self._downloads.pop(held.request, []) if held.request else []
        if len(times) > 1:
            self._traces.add(span, "download", times[0], times[-1])
        now = time.time_ns()
        since = now - round((time.monotonic() - held.since) * 1e9)
        self._traces.add(span, "deliver", since, now)

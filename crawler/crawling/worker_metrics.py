"""What a worker tells Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from crawling.held_lease import held_here
from crawling.service.metrics import BUCKETS, reason_label, status_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from scrapy import Request
    from scrapy.http import Response

    from crawling.tracker.tracker import Lease, Outcome


class WorkerMetrics(Collector):
    """Counts what the signals tell: once a batch of leases or outcomes where that will do."""

    def __init__(
        self, registry: CollectorRegistry, *, slots: int, busy: Callable[[], int]
    ) -> None:
        self._slots = slots
        self._busy = busy
        self._down: set[str] = set()
        #: When each lease that is held was taken; oldest first.
        self._held: dict[tuple[str, bytes], float] = {}
        self._pages = Counter(
            "fleet_pages",
            "Pages that are safe and settled, by class of status",
            ["status"],
            registry=registry,
        )
        self._bytes = Counter("fleet_page_bytes", "Bodies of those pages", registry=registry)
        self._settled = Counter(
            "fleet_leases_settled", "Leases that ended, by how", ["kind"], registry=registry
        )
        self._lost = Counter(
            "fleet_leases_lost",
            "Leases that had been given to another worker when they ended here",
            registry=registry,
        )
        self._retries = Counter(
            "fleet_retries",
            "Requests given back for another try, by reason",
            ["reason"],
            registry=registry,
        )
        self._failures = Counter(
            "fleet_failures",
            "Requests that failed for good, by reason",
            ["reason"],
            registry=registry,
        )
        self._download = _histogram(
            registry, "fleet_download_seconds", "From a request to its answer"
        )
        self._tracker = Histogram(
            "fleet_tracker_call_seconds",
            "A call of the tracker for many requests: lease or settle",
            ["call"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._delivery = _histogram(
            registry,
            "fleet_delivery_seconds",
            "From a page's parsing until all outputs have an item of it",
        )
        registry.register(self)

    # Signals.

    def taken(self, leases: Sequence[Lease]) -> None:
        now = time.monotonic()
        self._held.update({lease.key: now for lease in leases})

    def settled(self, outcomes: Sequence[Outcome], accepted: Sequence[bool]) -> None:
        for outcome, was_ours in zip(outcomes, accepted, strict=True):
            self._held.pop(outcome.lease.key, None)
            if not was_ours:
                self._lost.inc()
                continue
            self._settled.labels(outcome.kind).inc()
            if outcome.kind == "done":
                self._pages.labels(status_label(str(outcome.status))).inc()
                self._bytes.inc(outcome.size)
            elif outcome.kind == "retry":
                self._retries.labels(reason_label(outcome.reason)).inc()
            elif outcome.kind == "failed":
                self._failures.labels(reason_label(outcome.reason)).inc()

    def called(self, call: str, seconds: float) -> None:
        self._tracker.labels(call).observe(seconds)

    def downloaded(self, response: Response, request: Request) -> None:
        latency = request.meta.get("download_latency")
        if latency is not None:
            self._download.observe(latency)

    def delivered(self) -> None:
        held = held_here()
        if held is not None:
            self._delivery.observe(time.monotonic() - held.since)

    def output_down(self, saver: object) -> None:
        self._down.add(str(saver))

    def output_up(self, saver: object) -> None:
        self._down.discard(str(saver))

    # When Prometheus asks, in its own thread.

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        oldest = next(iter(self._held.copy().values()), None)
        return [
            GaugeMetricFamily(
                "fleet_worker_slots", "Downloads that may run together", self._slots
            ),
            GaugeMetricFamily("fleet_worker_busy_slots", "Downloads that run", self._busy()),
            GaugeMetricFamily("fleet_worker_leases", "Leases that are held", len(self._held)),
            GaugeMetricFamily(
                "fleet_oldest_lease_seconds",
                "Since the oldest lease that is held was taken",
                0 if oldest is None else time.monotonic() - oldest,
            ),
            GaugeMetricFamily(
                "fleet_outputs_down", "Outputs that take no pages", len(self._down)
            ),
        ]


def _histogram(registry: CollectorRegistry, name: str, text: str) -> Histogram:
    return Histogram(name, text, buckets=BUCKETS, registry=registry)

"""What Prometheus is told: this process's requests, and the sums over all crawls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from rest_service.events import Events
    from rest_service.overview import Overview

#: Seconds: a fast answer takes 2 ms, one that waits for a reply 5 s.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STATES = ("running", "paused", "stopped", "expired", "finished")

# A series more for each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # its own


class Metrics(Collector):
    """The metrics of one process; labels are of closed lists, never a crawl or a domain."""

    def __init__(self, overview: Overview, events: Events) -> None:
        self._overview = overview
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "fleet_rest_requests",
            "Requests that were answered.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "fleet_rest_request_seconds",
            "Time until the answer was there.",
            ("endpoint",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        Gauge(
            "fleet_rest_listeners", "Open streams of events.", registry=self._registry
        ).set_function(lambda: events.listeners)
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        totals = self._overview.totals()
        yield GaugeMetricFamily(
            "fleet_tracker_up",
            "Whether the tracker answered last time.",
            float(totals["tracker"] == "up"),
        )
        yield GaugeMetricFamily(
            "fleet_kafka_up",
            "Whether Kafka answered last time.",
            float(totals["kafka"] == "up"),
        )
        if totals["tracker"] == "up":
            yield from self._fleet(totals)

    def _fleet(self, totals: Mapping[str, Any]) -> Iterator[Metric]:
        requests = GaugeMetricFamily(
            "fleet_requests",
            "Requests of all crawls that the tracker knows, by state.",
            labels=["state"],
        )
        for state in ("queued", "delayed", "leased", "done", "failed", "dropped"):
            requests.add_metric([state], totals[state])
        yield requests
        crawls = GaugeMetricFamily("fleet_crawls", "Crawls by state.", labels=["state"])
        for state in STATES:
            crawls.add_metric([state], totals["crawls"].get(state, 0))
        yield crawls
        yield GaugeMetricFamily(
            "fleet_workers", "Workers that were heard of lately.", totals["workers"]
        )

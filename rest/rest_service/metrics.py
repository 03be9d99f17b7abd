"""What the REST service tells Prometheus of itself; of the fleet it tells what monitors do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from crawling.service.metrics import TrackerCollector, new_registry

if TYPE_CHECKING:
    from rest_service.backends import Backends
    from rest_service.events import Events

#: Seconds: a fast answer takes 2 ms, one that waits for a reply 5 s.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one process; labels are of closed lists, never a crawl or a domain.

    To be made where the event loop runs.
    """

    def __init__(self, backends: Backends, events: Events) -> None:
        self.registry = registry = new_registry()
        self.requests = Counter(
            "fleet_rest_requests",
            "Requests that were answered",
            ["path", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "fleet_rest_request_seconds",
            "Time until the answer was there",
            ["path", "method"],
            buckets=BUCKETS,
            registry=registry,
        )
        listeners = Gauge("fleet_rest_listeners", "Open streams of events", registry=registry)
        listeners.set_function(lambda: events.listeners)
        if kafka := backends.kafka:
            is_up = Gauge(
                "fleet_kafka_up", "1 if Kafka answered last time, else 0", registry=registry
            )
            is_up.set_function(lambda: kafka.is_up)
        loop = asyncio.get_running_loop()
        registry.register(TrackerCollector(lambda: backends.tracker, loop))

    async def text(self) -> bytes:
        # In a thread: what looks at the tracker waits for this loop.
        return await asyncio.to_thread(generate_latest, self.registry)

"""How far the Kafka monitor is behind, for Prometheus."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Gauge, Histogram

from crawling.exceptions import Unavailable
from crawling.service.metrics import BUCKETS, NodeCollector, serve_monitor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from crawling.service.kafka import KafkaReader, Record
    from crawling.service.node import Node

#: Seconds between two looks at the ends of the partitions: one round trip.
CYCLE = 5.0


class KafkaMetrics:
    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.lag = Gauge(
            "fleet_kafka_lag_messages",
            "Messages of this monitor's partitions that it has not read yet",
            registry=registry,
        )
        self.intake = Histogram(
            "fleet_kafka_intake_seconds",
            "From a message's own time until the tracker has it",
            buckets=(*BUCKETS, 300, 1800, 7200),
            registry=registry,
        )

    def taken(self, records: Sequence[Record]) -> None:
        now = time.time()
        for record in records:
            self.intake.observe(max(0.0, now - record.timestamp))

    async def watch(self, reader: KafkaReader) -> None:
        """Measure the lag for ever; while Kafka is away the last one stands."""
        while True:
            # The monitor itself waits for Kafka, and says so.
            with suppress(Unavailable):
                self.lag.set(await reader.lag())
            await asyncio.sleep(CYCLE)


def served_metrics(
    settings: Mapping[str, Any], stack: AsyncExitStack, reader: KafkaReader, node: Node
) -> KafkaMetrics:
    """Answer Prometheus until *stack* ends it."""
    metrics = KafkaMetrics(None)
    serve_monitor(settings, stack, [metrics.lag, metrics.intake, NodeCollector(node)])
    watching = asyncio.create_task(metrics.watch(reader))
    stack.callback(watching.cancel)
    return metrics

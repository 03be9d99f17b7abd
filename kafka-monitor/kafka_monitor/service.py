"""A Kafka monitor with all that it needs, from its settings."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from crawling.service.kafka import KafkaReader, kafka_config
from crawling.service.node import Node
from crawling.service.servers import opened_sender, opened_traces, opened_tracker
from kafka_monitor.intake import Intake
from kafka_monitor.monitor import KafkaMonitor, make_plugins
from kafka_monitor.offsets import Offsets
from kafka_monitor.rejects import Rejects

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

logger = logging.getLogger(__name__)


async def serve(settings: Mapping[str, Any], stopping: asyncio.Event) -> None:
    """Run a Kafka monitor until *stopping* is set."""
    async with AsyncExitStack() as stack:
        monitor = await _make(settings, stack)
        logger.info("Kafka Monitor runs", extra={"action": "open"})
        await monitor.run(stopping)
        logger.info("Closing Kafka Monitor", extra={"action": "close"})


async def _make(settings: Mapping[str, Any], stack: AsyncExitStack) -> KafkaMonitor:
    """Connect to everything; *stack* closes it again."""
    tracker = await opened_tracker(settings, stack)
    node = Node("kafka-monitor", settings)
    traces = opened_traces(settings, stack, "kafka-monitor")
    intake = Intake(tracker, tracker.mailboxes(node.id)[0], traces)
    plugins = make_plugins(settings, intake)
    sender = await opened_sender(settings, stack)
    topic = settings["KAFKA_INCOMING_TOPIC"]
    await sender.ensure_topic(topic)
    reader = KafkaReader(
        kafka_config(settings),
        [topic],
        settings["KAFKA_GROUP"],
        from_beginning=settings["KAFKA_CONSUMER_AUTO_OFFSET_RESET"].lower() == "earliest",
        instance=settings["KAFKA_GROUP_INSTANCE"],
    )
    await reader.open()
    stack.push_async_callback(reader.close)
    await node.open()
    stack.push_async_callback(node.close)
    measured = None
    if settings["METRICS_PORT"]:
        from kafka_monitor.metrics import served_metrics  # noqa: PLC0415 for who asks for it

        measured = served_metrics(settings, stack, reader, node)
    return KafkaMonitor(
        reader,
        plugins,
        intake=intake,
        rejects=Rejects(sender, settings),
        offsets=Offsets(),
        node=node,
        metrics=measured,
    )

"""The servers that monitors and the REST service work with, opened for as long as they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError
from crawling.service.config import tracker_config
from crawling.service.kafka import kafka_config
from crawling.service.kafka_sender import KafkaSender
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.redis_tracker import RedisTracker
from crawling.tracker.sharded_tracker import ShardedTracker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from crawling.service.tracing import Traces


async def opened_tracker(
    settings: Mapping[str, Any], stack: AsyncExitStack
) -> RedisTracker | ShardedTracker:
    """Open the tracker, which must be a Redis; *stack* closes it."""
    url = settings["TRACKER"]
    tracker = await open_tracker(url, tracker_config(settings))
    stack.push_async_callback(close_tracker, url)
    if not isinstance(tracker, (RedisTracker, ShardedTracker)):
        raise ConfigError("TRACKER", "must be a Redis: other processes do the work")
    return tracker


async def opened_sender(settings: Mapping[str, Any], stack: AsyncExitStack) -> KafkaSender:
    """Connect to Kafka; *stack* sends what is on its way, and leaves."""
    sender = KafkaSender(kafka_config(settings))
    await sender.open()
    stack.push_async_callback(sender.close)
    return sender


def opened_traces(
    settings: Mapping[str, Any], stack: AsyncExitStack, service: str
) -> Traces | None:
    """Return what makes spans, None without `TRACING`; *stack* sends the last ones."""
    if not settings["TRACING"]:
        return None
    from crawling.service.tracing import Traces  # noqa: PLC0415 for who asks for it

    traces = Traces(service)
    stack.callback(traces.close)
    return traces

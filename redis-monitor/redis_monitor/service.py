"""A Redis monitor with all that it needs, from its settings."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from crawling.service.node import Node
from crawling.service.outbound import Outbound
from crawling.service.servers import opened_sender, opened_tracker
from crawling.service.statistics import Statistics
from crawling.service.windows import WINDOWS
from redis_monitor.answers import Answers
from redis_monitor.monitor import RedisMonitor
from redis_monitor.relay import Relay
from redis_monitor.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)


async def serve(settings: Mapping[str, Any], stopping: asyncio.Event) -> None:
    """Run a Redis monitor until *stopping* is set."""
    async with AsyncExitStack() as stack:
        monitor = await _make(settings, stack)
        logger.info("Redis Monitor runs", extra={"action": "open"})
        await monitor.run(stopping)
        logger.info("Closing Redis Monitor", extra={"action": "close"})


async def _make(settings: Mapping[str, Any], stack: AsyncExitStack) -> RedisMonitor:
    """Connect to everything; *stack* closes it again."""
    tracker = await opened_tracker(settings, stack)
    windows = [WINDOWS[name] for name in settings["STATS_TIMES"]]
    url = settings["TRACKER"]
    statistics = Statistics(url, windows, timeout=settings["REDIS_SOCKET_TIMEOUT"])
    stack.push_async_callback(statistics.close)
    outbound = Outbound(await opened_sender(settings, stack), settings)
    await outbound.open()
    node = Node("redis-monitor", settings)
    mailboxes = tracker.mailboxes(node.id, claim_after=settings["CLAIM_AFTER"])
    for mailbox in mailboxes:
        await mailbox.open()
    await node.open()
    stack.push_async_callback(node.close)
    if settings["METRICS_PORT"]:
        from crawling.service import metrics  # noqa: PLC0415 for who asks for it

        fleet = metrics.TrackerCollector(lambda: tracker, asyncio.get_running_loop())
        metrics.serve_monitor(settings, stack, [fleet, metrics.NodeCollector(node)])
    answers = Answers(settings, tracker, statistics, node)
    stack.push_async_callback(answers.close)
    return RedisMonitor(
        answers,
        outbound,
        mailbox=mailboxes[0],
        relays=[Relay(mailbox, outbound, node) for mailbox in mailboxes],
        upkeep=Upkeep(tracker, statistics, settings),
    )

"""Waiting for work without asking for it: Redis tells an idle process that there is some."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING
from uuid import uuid4

from redis.exceptions import RedisError

from crawling.tracker.scripts import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

    from crawling.tracker.keys import Keys

#: Seconds after which an idle worker asks anyhow: a message may be lost.
LONGEST_IDLE = 5.0


class WakeUp:
    """One process's ear on the wake-up channel."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.name = uuid4().hex
        self._redis = redis
        self._channel = keys.wake(self.name)
        self._called = asyncio.Event()
        self._subscribing = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Subscribe, unless this process still is: to be done before it says it is idle."""
        async with self._subscribing:
            if self._listening is not None and not self._listening.done():
                return
            ear = self._redis.pubsub(ignore_subscribe_messages=True)
            with redis_errors():
                await ear.subscribe(self._channel)
            self._listening = asyncio.create_task(self._hear(ear))

    async def wait(self, timeout: float) -> None:
        patience = min(timeout, LONGEST_IDLE * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
        try:
            await asyncio.wait_for(self._called.wait(), max(patience, 0.0))
        except asyncio.TimeoutError:
            return
        self._called.clear()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    async def _hear(self, ear: PubSub) -> None:
        """Pass on calls until the connection breaks; the next `listen` makes a new one."""
        async with ear:
            try:
                async for _ in ear.listen():
                    self._called.set()
            except RedisError:
                return

"""The loops of a Redis monitor: answer, pass on, clean up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from crawling.service.patience import pause, until_done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crawling.service.outbound import Outbound
    from crawling.tracker.mailbox import Letter, Mailbox
    from redis_monitor.answers import Answers
    from redis_monitor.relay import Relay
    from redis_monitor.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: Requests that are answered together, and seconds to wait for the first.
BATCH, WAIT = 50, 1.0


class RedisMonitor:
    """Serves until it is told to stop; other monitors share the work."""

    def __init__(
        self,
        answers: Answers,
        outbound: Outbound,
        *,
        mailbox: Mailbox,
        relays: Sequence[Relay],
        upkeep: Upkeep,
    ) -> None:
        self._answers = answers
        self._outbound = outbound
        self._mailbox = mailbox
        self._relays = relays
        self._upkeep = upkeep

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until *stopping* is set, and end what was begun.

        What is then not answered is handed to another monitor.
        """
        loops = [_repeat(self._requests, stopping)]
        for relay in self._relays:
            loops += [_repeat(relay.news, stopping), _repeat(relay.failures, stopping)]
        loops += [
            _repeat(step, stopping, every=seconds) for step, seconds in self._upkeep.steps()
        ]
        await asyncio.gather(*loops)

    async def _requests(self) -> None:
        letters = await self._mailbox.requests(BATCH, WAIT)
        # One by one: a stop and an info of the same crawl mean something in their order.
        answered = [(letter, await self._answers.to(letter.body)) for letter in letters]
        await asyncio.gather(*(self._outbound.tell(reply) for _, reply in answered))
        await self._mailbox.answered([letter.id for letter in letters])
        for letter, reply in answered:
            _log(letter, reply.get("error"))


def _log(letter: Letter, error: str | None) -> None:
    request = letter.body
    what = request.get("action") or f"{request.get('stats')} stats"
    extra = {**request, "action": what, "success": error is None, "again": letter.again}
    logger.info("Sent %s answer to kafka", what, extra=extra)


async def _repeat(
    step: Callable[[], Awaitable[None]], stopping: asyncio.Event, every: float = 0.0
) -> None:
    while not stopping.is_set():
        await until_done(step, stopping)
        if every:
            await pause(every, stopping)

"""Control requests and the plugins that answer them."""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from crawling.exceptions import Unavailable
from crawling.messages import replies
from crawling.service.logs import names_in
from crawling.service.plugins import load_plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawling.service.node import Node
    from crawling.service.statistics import Statistics
    from crawling.tracker.tracker import Tracker

logger = logging.getLogger(__name__)

#: Entry points of packages that bring plugins.
GROUP = "scrapy_fleet.redis_monitor"


class Answers:
    """Asks the plugins by rank; each request has an answer, and be it that there is none."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        tracker: Tracker,
        statistics: Statistics,
        node: Node,
    ) -> None:
        self._node = node
        self._tries = 1 + settings["RETRY_FAILURES_MAX"] * settings["RETRY_FAILURES"]
        self._plugins = []
        for cls in load_plugins(settings["PLUGINS"], GROUP):
            plugin = cls()
            plugin.logger = logging.getLogger(f"redis_monitor.plugins.{cls.__name__}")
            plugin.tracker, plugin.statistics = tracker, statistics
            plugin.setup(settings)
            self._plugins.append(plugin)

    async def to(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer; raise `Unavailable` when it has to be asked for again."""
        error = "nobody answers this: is its plugin turned on?"
        for attempt in range(self._tries):
            try:
                found = await self._ask_plugins(request)
            except Unavailable:
                raise
            # A plugin may raise anything; the request still gets its answer.
            except Exception as problem:
                extra = {"action": "handle", "tries": attempt + 1, **names_in(request)}
                logger.exception("Plugin failed", extra=extra)
                self._node.failed()
                error = f"could not be carried out: {problem!r}"
            else:
                if found is not None:
                    return found
                break
        return replies.failed(request, error)

    async def close(self) -> None:
        for plugin in self._plugins:
            closed = plugin.close()
            if isawaitable(closed):
                await closed

    async def _ask_plugins(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = request["kind"]
        wanted = kind if kind == "stats" else request.get("action", kind)
        for plugin in self._plugins:
            if wanted not in plugin.answers:
                continue
            reply = plugin.handle({**request})
            if isawaitable(reply):
                reply = await reply
            if reply is not None:
                self._node.succeeded(type(plugin).__name__)
                return dict(reply)
        return None

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from crawling.tracker.tracker import CrawlId

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Mapping

    from crawling.service.statistics import Statistics
    from crawling.tracker.redis_tracker import RedisTracker


class BaseMonitor(ABC):
    """A plugin of the Redis monitor: it answers the requests that it names.

    *answers* holds actions (`info`, `domain-update` …) or `stats`.  Any class with these
    four will do; the monitor gives it the attributes below.
    """

    answers: ClassVar[frozenset[str]]
    logger: logging.Logger
    tracker: RedisTracker
    statistics: Statistics

    def setup(self, settings: Mapping[str, Any]) -> None:  # noqa: B027 for whoever needs it
        """Get ready, once, before the first request; *settings* are all of the monitor's."""

    @abstractmethod
    def handle(
        self, request: dict[str, Any]
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None:
        """Return the answer, which has the appid; None leaves it to the next plugin.

        A request may come again when its monitor died meanwhile.
        """

    def close(self) -> Awaitable[None] | None:
        return None


def crawl_of(request: Mapping[str, Any]) -> CrawlId:
    return CrawlId(request["spiderid"], request["appid"], request["crawlid"])

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema
from kafka_monitor.plugins.base_handler import BaseHandler

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields that are too long, or nobody else's business.
UNLOGGED = frozenset({"body", "headers", "cookies", "cookie"})


class ScraperHandler(BaseHandler):
    """Submits crawls."""

    def setup(self, settings: Mapping[str, Any]) -> None:
        self.schema = load_schema("crawl", settings).definition
        self._private_allowed: bool = settings["ALLOW_PRIVATE_ADDRESSES"]

    def handle(self, message: dict[str, Any]) -> None:
        crawl = submission(message, self.intake.source, private_allowed=self._private_allowed)
        shown = {
            name: value
            for name, value in message.items()
            if value is not None and name not in UNLOGGED
        }
        self.intake.submit(crawl, "Added crawl to Redis", shown)

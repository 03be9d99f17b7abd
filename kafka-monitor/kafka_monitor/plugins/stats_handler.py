from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.messages.validation import load_schema
from kafka_monitor.plugins.base_handler import BaseHandler

if TYPE_CHECKING:
    from collections.abc import Mapping


class StatsHandler(BaseHandler):
    """Hands questions about statistics to the Redis monitor."""

    def setup(self, settings: Mapping[str, Any]) -> None:
        self.schema = load_schema("stats", settings).definition

    def handle(self, message: dict[str, Any]) -> None:
        self.intake.post("stats", message, "Added stat request to Redis")

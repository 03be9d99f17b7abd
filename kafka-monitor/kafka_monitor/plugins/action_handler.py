from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.messages.control import check_action
from crawling.messages.validation import load_schema
from kafka_monitor.plugins.base_handler import BaseHandler

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionHandler(BaseHandler):
    """Hands actions on crawls to the Redis monitor."""

    def setup(self, settings: Mapping[str, Any]) -> None:
        self.schema = load_schema("action", settings).definition

    def handle(self, message: dict[str, Any]) -> None:
        check_action(message)
        self.intake.post("action", message, "Added action to Redis")

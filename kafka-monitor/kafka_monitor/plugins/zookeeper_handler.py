from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.messages.control import check_domain
from crawling.messages.validation import load_schema
from kafka_monitor.plugins.base_handler import BaseHandler

if TYPE_CHECKING:
    from collections.abc import Mapping


class ZookeeperHandler(BaseHandler):
    """Hands changes of domains to the Redis monitor; the name is Scrapy Cluster's."""

    def setup(self, settings: Mapping[str, Any]) -> None:
        self.schema = load_schema("zookeeper", settings).definition

    def handle(self, message: dict[str, Any]) -> None:
        check_domain(message)
        self.intake.post("zookeeper", message, "Added zookeeper action to Redis")

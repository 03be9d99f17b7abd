"""The fleet's logs, as an extension of Scrapy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.exceptions import NotConfigured

from crawling.service.config import read
from crawling.service.logs import install

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class FleetLogs:
    """Sends all records where the SC_LOG settings say; with LOG_ENABLED Scrapy does."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FleetLogs:
        if read(crawler.settings, "LOG_ENABLED"):
            raise NotConfigured
        install(crawler.settings)
        return cls()

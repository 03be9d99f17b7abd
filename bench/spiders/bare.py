"""Bare Scrapy with its own scheduler in memory."""

from __future__ import annotations

from typing import Any

from scrapy import Spider

from bench.spiders.parsing import LinkParsing


class BareSpider(LinkParsing, Spider):
    name = "bare"

    def __init__(self, first: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start_urls = [first]

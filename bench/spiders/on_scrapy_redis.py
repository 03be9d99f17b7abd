"""The same spider on scrapy-redis; runs in an environment of its own."""

from __future__ import annotations

from typing import ClassVar

from scrapy_redis.spiders import RedisSpider

from bench.spiders.parsing import LinkParsing


class ScrapyRedisSpider(LinkParsing, RedisSpider):  # type: ignore[misc]  # it has no types
    name = "bare"
    redis_key = "bare:start_urls"
    custom_settings: ClassVar = {
        "SCHEDULER": "scrapy_redis.scheduler.Scheduler",
        "DUPEFILTER_CLASS": "scrapy_redis.dupefilter.RFPDupeFilter",
        "SCHEDULER_PERSIST": True,
    }

"""The spider on scrapy-redis, with the pipeline that comes with it."""

from __future__ import annotations

from typing import ClassVar

from bench.spiders.on_scrapy_redis import ScrapyRedisSpider


class SavingSpider(ScrapyRedisSpider):
    custom_settings: ClassVar = {
        **ScrapyRedisSpider.custom_settings,
        "ITEM_PIPELINES": {"scrapy_redis.pipelines.RedisPipeline": 300},
    }


# runspider takes the one spider of its module.
del ScrapyRedisSpider

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from scrapy import Field, Item
from scrapy.crawler import Crawler
from scrapy.settings import Settings
from scrapy.spiders import Spider
from twisted.python.failure import Failure

from crawling import signals
from crawling.exceptions import ConfigError, OutputError
from crawling.items import RawResponseItem, page_of
from crawling.outcomes import Released
from crawling.pipelines import LoggingAfterPipeline, LoggingBeforePipeline, SaverPipeline
from tests.pages import make_page
from tests.saved import bodies, from_redis
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Price:
    amount: int


class Title(Item):
    text = Field()


#: Enough that a pipe is full long before all are written.
PAGES = 500
OTHERS: list[Any] = [{"url": "x"}, Price(7), Title(text="t"), None]


def make_item(number: int = 0, **fields: Any) -> RawResponseItem:
    page = make_page(number, **fields)
    return RawResponseItem(body=page.body, **page.metadata())


def make_crawler(**settings: Any) -> Crawler:
    return Crawler(Spider, Settings(settings))


class Heard:
    """What the pipeline told the scheduler."""

    def __init__(self, crawler: Crawler) -> None:
        self.signals: list[str] = []
        crawler.signals.connect(self._down, signals.output_down)
        crawler.signals.connect(self._up, signals.output_up)

    def _down(self, saver: str, reason: str) -> None:
        self.signals.append(f"down {saver}")

    def _up(self, saver: str) -> None:
        self.signals.append(f"up {saver}")


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_page_goes_to_every_saver(tmp_path: Path) -> None:
    targets = [f"{tmp_path}/x.tar.gz", f"{tmp_path}/x.jsonl", f"{tmp_path}/x/"]
    pipeline = SaverPipeline.from_crawler(make_crawler(SAVERS=targets, FILE_NAME="{requestid}"))
    await pipeline.open_spider()
    items = [make_item(number) for number in range(5)]

    results = await asyncio.gather(*map(pipeline.process_item, items))
    await pipeline.close_spider()

    assert all(result is item for result, item in zip(results, items, strict=True))
    expected = {make_page(n).requestid: make_page(n).body for n in range(5)}
    assert [bodies(tmp_path / name) for name in ("x.tar.gz", "x.jsonl", "x")] == [expected] * 3
    assert (tmp_path / "x" / make_page(1).requestid).exists()


@pytest.mark.parametrize("item", OTHERS)
async def test_other_items_pass_untouched(item: Any, tmp_path: Path) -> None:
    crawler = make_crawler(SAVERS=f"{tmp_path}/x.jsonl")
    pipeline = SaverPipeline.from_crawler(crawler)
    await pipeline.open_spider()

    result = await pipeline.process_item(item)
    result = LoggingAfterPipeline().process_item(LoggingBeforePipeline().process_item(result))

    await pipeline.close_spider()
    assert result is item
    assert bodies(tmp_path / "x.jsonl") == {}


async def test_without_savers_a_page_passes() -> None:
    pipeline = SaverPipeline.from_crawler(make_crawler(SAVERS=[]))
    await pipeline.open_spider()
    item = make_item()

    assert await pipeline.process_item(item) is item
    await pipeline.close_spider()


async def test_a_target_that_makes_no_sense_stops_the_start() -> None:
    pipeline = SaverPipeline.from_crawler(make_crawler(SAVERS=["nonsense"]))

    with pytest.raises(ConfigError, match="for a folder write nonsense/"):
        await pipeline.open_spider()


async def test_pages_are_held_while_an_output_is_down_and_saved_when_it_is_back(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as url:
        crawler = make_crawler(SAVERS=[url, f"{tmp_path}/x.jsonl"])
        heard = Heard(crawler)
        pipeline = SaverPipeline.from_crawler(crawler)
        await pipeline.open_spider()
    held = [asyncio.ensure_future(pipeline.process_item(make_item(n))) for n in range(3)]
    await until(lambda: bool(heard.signals))
    await asyncio.wait(held, timeout=0.5)

    assert heard.signals == [f"down {url}"]
    assert not any(task.done() for task in held)

    with redis_server(tmp_path), Redis.from_url(url) as redis:
        await asyncio.gather(*held)
        assert len(from_redis(redis)) == 3
        await pipeline.close_spider()
    assert heard.signals == [f"down {url}", f"up {url}"]


async def test_a_worker_that_stops_meanwhile_lets_the_pages_go(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        crawler = make_crawler(SAVERS=[url])
        heard = Heard(crawler)
        pipeline = SaverPipeline.from_crawler(crawler)
        await pipeline.open_spider()
    held = [asyncio.ensure_future(pipeline.process_item(make_item(n))) for n in range(3)]
    await until(lambda: bool(heard.signals))

    crawler.signals.send_catch_log(signals.stopping)

    results = await asyncio.gather(*held, return_exceptions=True)
    assert [type(result) for result in results] == [Released] * 3
    await pipeline.close_spider()


async def test_a_page_that_one_saver_cannot_write_fails_and_is_with_the_others(
    tmp_path: Path,
) -> None:
    crawler = make_crawler(SAVERS=[f"{tmp_path}/x.jsonl", f"{tmp_path}/x.warc"])
    pipeline = SaverPipeline.from_crawler(crawler)
    await pipeline.open_spider()
    items = [make_item(1), make_item(2, attrs={"x": float("nan")}), make_item(3)]

    results = await asyncio.gather(*map(pipeline.process_item, items), return_exceptions=True)

    await pipeline.close_spider()
    assert [type(result) for result in results] == [
        RawResponseItem, OutputError, RawResponseItem
    ]  # fmt: skip
    assert len(bodies(tmp_path / "x.jsonl")) == 2


def test_an_item_may_leave_out_what_it_does_not_know() -> None:
    item = RawResponseItem(url="http://example.com/", status_code=200, body="naïve")

    page = page_of(item)

    assert page.body == "naïve".encode()
    assert page.requested_url == page.response_url == "http://example.com/"


def test_an_item_and_its_page_say_the_same() -> None:
    page = make_page(
        3, attrs={"a": 1}, redirects=["http://example.com/0"], depth=2, elapsed=0.5
    )

    assert (
        page_of(RawResponseItem(body=page.body, **page.metadata())).to_json() == page.to_json()
    )


def test_every_page_leaves_two_log_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    item = make_item(1, attrs={"a": 1})

    LoggingAfterPipeline().process_item(LoggingBeforePipeline().process_item(item))

    before, after = caplog.records
    assert (before.getMessage(), after.getMessage()) == ("Scraped page", "Sent page")
    assert (vars(before)["action"], vars(after)["action"]) == ("emit", "ack")
    assert vars(after)["success"] is True
    for record in caplog.records:
        fields = {
            name: vars(record)[name] for name in ("appid", "crawlid", "attrs", "status_code")
        }
        assert fields == {
            "appid": "app",
            "crawlid": "crawl",
            "attrs": {"a": 1},
            "status_code": 200,
        }


def test_a_page_that_got_lost_is_logged_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = LoggingAfterPipeline.from_crawler(make_crawler())

    failure = Failure(OutputError("too large"))  # type: ignore[no-untyped-call]  # Twisted's

    pipeline.item_error(make_item(), failure)
    pipeline.item_error({"other": 1}, failure)

    [record] = caplog.records
    assert record.getMessage() == "Failed to send page"
    assert vars(record)["success"] is False
    assert vars(record)["exception"] == "OutputError('too large')"


CRAWL = """
import json, sys
from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerProcess
from tests.integration.test_pipelines import OTHERS, PAGES, make_item

class Pages(Spider):
    name = "pages"

    async def start(self):
        for number in range(PAGES):
            yield Request(f"data:,{number}")

    def parse(self, response):
        yield make_item(int(response.text))
        if response.text == "0":
            yield from OTHERS[:3]

settings = {
    "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    "ITEM_PIPELINES": {
        "crawling.pipelines.LoggingBeforePipeline": 1,
        "crawling.pipelines.SaverPipeline": 100,
        "crawling.pipelines.LoggingAfterPipeline": 200,
    },
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
    "LOG_LEVEL": "ERROR",
    **json.loads(sys.argv[1]),
}
process = AsyncCrawlerProcess(settings)
crawler = process.create_crawler(Pages)
process.crawl(crawler)
process.start()
stats = crawler.stats.get_stats()
told = {"reason": stats["finish_reason"], "items": stats.get("item_scraped_count", 0)}
sys.stderr.write(json.dumps(told))
"""


def test_pages_and_feed_exports_go_side_by_side_through_a_crawl(tmp_path: Path) -> None:
    settings = {
        "SAVERS": [f"{tmp_path}/x.tar.gz"],
        "FEEDS": {f"{tmp_path}/feed.jsonl": {"format": "jsonlines", "item_export_kwargs": {}}},
    }

    answer = subprocess.run(
        [sys.executable, "-c", CRAWL, json.dumps(settings)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(answer.stderr) == {"reason": "finished", "items": PAGES + 3}
    assert len(bodies(tmp_path / "x.tar.gz")) == PAGES
    assert len((tmp_path / "feed.jsonl").read_text().splitlines()) == PAGES + 3


def test_a_crawl_ends_when_nobody_reads_its_standard_output() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CRAWL, json.dumps({"SAVERS": ["-"], "LOG_LEVEL": "CRITICAL"})],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None

    first = json.loads(process.stdout.readline())
    process.stdout.close()

    assert first["appid"] == "app"
    assert json.loads(process.stderr.read())["reason"] == "output_closed"
    process.stderr.close()
    assert process.wait() == 0

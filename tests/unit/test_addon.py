from __future__ import annotations

from typing import Any

import pytest
from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import Settings

from crawling import settings as fleet
from crawling.addon import LEFT_ALONE, FleetAddon


class Quotes(Spider):
    name = "quotes of all"


def project(**own: Any) -> Settings:
    """Return the settings of a project that has the add-on, when its crawl begins."""
    settings = Settings({"ADDONS": {FleetAddon: 0}, **own})
    crawler = Crawler(Quotes, settings)
    FleetAddon.from_crawler(crawler).update_settings(crawler.settings)
    return crawler.settings


def components(settings: Settings, name: str) -> dict[str, int | None]:
    return {
        path if isinstance(path, str) else f"{path.__module__}.{path.__qualname__}": order
        for path, order in settings.getdict(name).items()
    }


def test_requests_go_through_the_tracker() -> None:
    settings = project()

    assert settings["SCHEDULER"] == fleet.SCHEDULER
    assert settings["DUPEFILTER_CLASS"] == fleet.DUPEFILTER_CLASS
    assert settings["TRACKER"] == "sqlite://"
    assert settings.getfloat("DOWNLOAD_DELAY") == 0


def test_a_run_ends_with_the_spiders_crawl() -> None:
    assert project()["CRAWL"] == "quotes%20of%20all/default/quotes%20of%20all"


def test_the_project_may_serve_for_ever() -> None:
    assert project(CRAWL="")["CRAWL"] == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACKER", "redis://redis:6379/0"),
        ("LEASE_TIMEOUT", 5),
        ("SCHEDULER", "mine.Scheduler"),
        ("CONCURRENT_ITEMS", 50),
        ("QUEUE_HITS", 3),
    ],
)
def test_what_the_project_has_set_stays(name: str, value: Any) -> None:
    assert project(**{name: value})[name] == value


@pytest.mark.parametrize(
    "name",
    ["USER_AGENT", "ROBOTSTXT_OBEY", "HTTPERROR_ALLOW_ALL", "ITEM_PIPELINES", "LOG_ENABLED"],
)
def test_the_rest_of_scrapy_stays_as_it_was(name: str) -> None:
    assert project()[name] == Settings()[name]


def test_the_fleets_middlewares_take_the_place_of_scrapys() -> None:
    found = components(project(), "DOWNLOADER_MIDDLEWARES")

    assert found["crawling.redis_retry_middleware.RedisRetryMiddleware"] == 510
    assert found["scrapy.downloadermiddlewares.retry.RetryMiddleware"] is None
    assert found["crawling.robots_middleware.RobotsMiddleware"] == 100
    assert found["scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware"] is None


def test_cookie_jars_and_depth_limits_of_the_project_go_on_working() -> None:
    settings = project()

    for name in ("DOWNLOADER_MIDDLEWARES", "SPIDER_MIDDLEWARES"):
        assert not components(settings, name).keys() & LEFT_ALONE


def test_the_projects_own_order_of_middlewares_stays() -> None:
    own = {
        "scrapy.downloadermiddlewares.stats.DownloaderStats": 5,
        "crawling.redis_retry_middleware.RedisRetryMiddleware": 99,
        "crawling.log_retry_middleware.LogRetryMiddleware": None,
    }

    found = components(project(DOWNLOADER_MIDDLEWARES=own), "DOWNLOADER_MIDDLEWARES")

    assert found | own == found

"""One line that lets an existing Scrapy project crawl with the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.settings import default_settings
from scrapy.utils.misc import load_object

from crawling import settings as fleet
from crawling.service.config import crawl_setting
from crawling.tracker.tracker import CrawlId

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

#: Settings of Scrapy's own that leases need; all others stay as the project has them.
NEEDED = (
    "SCHEDULER DUPEFILTER_CLASS CONCURRENT_ITEMS CONCURRENT_REQUESTS_PER_DOMAIN "
    "DOWNLOAD_DELAY SCRAPER_SLOT_MAX_ACTIVE_SIZE TWISTED_REACTOR"
).split()
#: Component settings of which the fleet's entries are added to the project's.
COMPONENTS = ("DOWNLOADER_MIDDLEWARES", "SPIDER_MIDDLEWARES", "EXTENSIONS")
#: What the fleet's own spiders do without or differently, and a project may count on.
LEFT_ALONE = frozenset(
    {
        "scrapy.spidermiddlewares.depth.DepthMiddleware",
        "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware",
        "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware",
        "crawling.meta_refresh_middleware.MetaRefreshMiddleware",
        "scrapy.downloadermiddlewares.cookies.CookiesMiddleware",
        "crawling.custom_cookies.CustomCookiesMiddleware",
        "crawling.fleet_logs.FleetLogs",
    }
)


class FleetAddon:
    """`ADDONS = {"crawling.addon.FleetAddon": 0}` in a project's settings.

    The spiders' requests then go through the tracker (TRACKER; in memory if not set), and
    each run ends with its crawl, as in any Scrapy; with `CRAWL = ""` it serves for ever.
    What the project has set itself stays; so do its pipelines, feeds and cookie jars, of
    which each process has its own.
    """

    def __init__(self, spider: str) -> None:
        self._spider = spider

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FleetAddon:
        return cls(crawler.spidercls.name)

    def update_settings(self, settings: BaseSettings) -> None:
        for name, value in vars(fleet).items():
            if name in NEEDED or (name.isupper() and not _is_scrapys(name)):
                settings.set(name, value, "addon")
        crawl = CrawlId(self._spider, "default", self._spider)
        settings.set("CRAWL", crawl_setting(crawl), "addon")
        if not settings.get("TRACKER"):
            settings.set("TRACKER", "sqlite://", "addon")
        for setting in COMPONENTS:
            _add(settings, setting, getattr(fleet, setting))


def _add(settings: BaseSettings, setting: str, ours: dict[str, Any]) -> None:
    for path in ours.keys() - LEFT_ALONE:
        settings.setdefault_in_component_priority_dict(setting, load_object(path), ours[path])


def _is_scrapys(name: str) -> bool:
    # Scrapy 2.14 has no default for it.
    return name == "HTTPERROR_ALLOW_ALL" or hasattr(default_settings, name)

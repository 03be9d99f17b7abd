"""Classes by their import path: spiders, and what Scrapy's settings name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scrapy import Spider
from scrapy.utils.misc import load_object
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from crawling.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.settings import BaseSettings

#: Settings that name one class, and those whose keys do.
CLASSES = ("SCHEDULER", "DUPEFILTER_CLASS", "LOG_FORMATTER")
TABLES = ("ITEM_PIPELINES", "SPIDER_MIDDLEWARES", "DOWNLOADER_MIDDLEWARES", "EXTENSIONS")


def load(setting: str, path: Any) -> Any:
    """Return what *path* names; raise `ConfigError` whatever goes wrong in its module."""
    try:
        return load_object(path)
    # An import runs a user's module, which may raise anything.
    except Exception as error:
        problem = f"cannot load {path!r} ({type(error).__name__}: {error})"
        raise ConfigError(setting, problem) from error


def check_reactor(settings: BaseSettings) -> None:
    """Raise `ConfigError` unless one command can run both Scrapy and the tracker's clients."""
    if not settings.getbool("TWISTED_REACTOR_ENABLED", True):
        raise ConfigError("TWISTED_REACTOR_ENABLED", "must be true for a crawl of one command")
    reactor = load("TWISTED_REACTOR", settings["TWISTED_REACTOR"])
    if not (isinstance(reactor, type) and issubclass(reactor, AsyncioSelectorReactor)):
        raise ConfigError(
            "TWISTED_REACTOR",
            f"must be an asyncio reactor, not {settings['TWISTED_REACTOR']!r}",
        )
    if name := settings["ASYNCIO_EVENT_LOOP"]:
        loop = load("ASYNCIO_EVENT_LOOP", name)
        if not (isinstance(loop, type) and issubclass(loop, asyncio.AbstractEventLoop)):
            raise ConfigError("ASYNCIO_EVENT_LOOP", f"must be an event loop, not {name!r}")


def check_components(settings: BaseSettings) -> None:
    """Load now what Scrapy loads in the middle of the start, where errors are tracebacks."""
    for name in CLASSES:
        load(name, settings[name])
    for name in TABLES:
        for path, order in settings.getdict(name).items():
            if order is not None:
                load(name, path)


def find_spider(spider: str | type[Spider], known: Mapping[str, type[Spider]]) -> type[Spider]:
    """Return the spider class for a short name, a `module:Class`, or the class itself."""
    if isinstance(spider, str) and spider in known:
        return known[spider]
    if isinstance(spider, str) and "." not in spider and ":" not in spider:
        names = ", ".join(known)
        raise ConfigError("--spider", f"must be {names} or module:Class, not {spider!r}")
    found = load("--spider", spider.replace(":", ".")) if isinstance(spider, str) else spider
    if not (isinstance(found, type) and issubclass(found, Spider)):
        raise ConfigError("--spider", f"must be a subclass of scrapy.Spider, not {spider!r}")
    if not getattr(found, "name", None):
        raise ConfigError(
            "--spider", f"{spider!r} has no name, which its requests are queued by"
        )
    return found

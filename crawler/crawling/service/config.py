"""Settings: one name everywhere, typed wherever they come from."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import traceback
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from crawling.exceptions import ConfigError, FleetError
from crawling.service.options import ALIASES, MONITOR_OPTIONS, OPTIONS, RETIRED
from crawling.tracker.tracker import CrawlId, TrackerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType, TracebackType

    from crawling.service.kinds import Kind

#: Where local settings may be: beside `settings.py` as in Scrapy Cluster, or anywhere
#: on Python's path.
LOCAL_MODULES = ("crawling.localsettings", "localsettings")


#: The settings that a worker, and those that a monitor knows; a few names, such as
#: LOG_LEVEL, are Scrapy's in a worker.
WORKER = {**OPTIONS, **RETIRED}
MONITOR = {**WORKER, **MONITOR_OPTIONS}


class Settings(Protocol):
    """Scrapy's settings, or any mapping."""

    def get(self, name: str, /) -> Any: ...

    def __contains__(self, name: object, /) -> bool: ...


def typed(name: str, value: Any, kinds: Mapping[str, Kind] = WORKER) -> Any:
    """Return *value* as the setting *name* wants it; raise `ConfigError` if it cannot be."""
    kind = kinds.get(ALIASES.get(name, name))
    if kind is None:
        return value
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(name, f"{error}, not {value!r}") from error


def read(settings: Settings, name: str) -> Any:
    """Return one setting, typed: what `-s NAME=VALUE` gave is text until here."""
    value = settings.get(name)
    if value is None and name not in settings:
        raise ConfigError(name, "is not set: use crawling.settings, or the add-on's line")
    return typed(name, value)


def typed_settings(pairs: Iterable[str], kinds: Mapping[str, Kind] = WORKER) -> dict[str, Any]:
    """Return the settings that `-s NAME=VALUE` options name."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError("-s", f"must be NAME=VALUE, not {pair!r}")
        settings[ALIASES.get(name, name)] = typed(name, value, kinds)
    return settings


def load_settings(pairs: Iterable[str] = ()) -> dict[str, Any]:
    """Return all settings where Scrapy is not loaded; TRACKER is always a URL."""
    settings = named(import_module("crawling.settings")) | typed_settings(pairs)
    return {**settings, "TRACKER": tracker_url(settings)}


def validate(settings: Settings) -> None:
    """Raise `ConfigError` for the first setting that makes no sense."""
    for name in OPTIONS:
        if settings.get(name) is not None:
            read(settings, name)
    tracker_config(settings)


def named(module: ModuleType) -> dict[str, Any]:
    """Return the settings of a module, which are its names in capitals."""
    return {name: value for name, value in vars(module).items() if name.isupper()}


def overrides() -> dict[str, Any]:
    """Return what the local settings and the environment change, typed; the latter wins."""
    return {**typed_all(local_settings()), **environment()}


def typed_all(given: Mapping[str, Any], kinds: Mapping[str, Kind] = WORKER) -> dict[str, Any]:
    return {ALIASES.get(name, name): typed(name, value, kinds) for name, value in given.items()}


def environment(kinds: Mapping[str, Kind] = WORKER) -> dict[str, Any]:
    """Return the settings that environment variables set.

    A variable that is set but empty counts as not set, which is how `docker compose`
    hands on what nobody chose.
    """
    names = (*kinds, *ALIASES)
    return typed_all({name: os.environ[name] for name in names if os.environ.get(name)}, kinds)


def explain_bad_settings() -> None:
    """Let an uncaught `ConfigError` end the program in one line, without a traceback.

    Scrapy imports the settings before anything of ours could catch the error.
    """
    previous = sys.excepthook

    def one_line(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ConfigError):
            sys.stderr.write(f"{error}\n")
        else:
            previous(kind, error, trace)

    sys.excepthook = one_line


def tracker_url(settings: Settings) -> str:
    """Return TRACKER, or the Redis that REDIS_HOST, _PORT, _DB and _PASSWORD name."""
    url = read(settings, "TRACKER")
    if url:
        return str(url)
    password = read(settings, "REDIS_PASSWORD")
    login = f":{quote(password, safe='')}@" if password else ""
    host, port = read(settings, "REDIS_HOST"), read(settings, "REDIS_PORT")
    return f"redis://{login}{_bracketed(host)}:{port}/{read(settings, 'REDIS_DB')}"


def tracker_config(settings: Settings) -> TrackerConfig:
    """Return the tracker's part of the settings; what is not set keeps its default."""
    given = {
        field: read(settings, name)
        for field, name in _TRACKER_FIELDS.items()
        if settings.get(name) is not None
    }
    if "SCHEDULER_IP_ENABLED" in settings and read(settings, "SCHEDULER_IP_ENABLED"):
        given["ip"] = settings.get("PUBLIC_IP") or own_address()
    config = TrackerConfig(**given)
    if config.retry_delay > config.retry_delay_max:
        raise ConfigError(
            "RETRY_DELAY_MAX",
            f"must be at least RETRY_DELAY ({config.retry_delay}), not {config.retry_delay_max}",
        )
    return config


def crawl_setting(crawl: CrawlId) -> str:
    """Return the value of CRAWL that names *crawl*."""
    return "/".join(quote(part, safe="") for part in crawl)


def own_address() -> str:
    """Return the address this host sends from; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            raise ConfigError(
                "PUBLIC_IP", f"must be set: this host has no route to ask ({error})"
            ) from error
        return str(probe.getsockname()[0])


#: TrackerConfig field -> setting.
_TRACKER_FIELDS = {
    "hits": "QUEUE_HITS",
    "window": "QUEUE_WINDOW",
    "moderated": "QUEUE_MODERATED",
    "concurrency": "QUEUE_CONCURRENCY",
    "by_type": "SCHEDULER_TYPE_ENABLED",
    "lease_timeout": "LEASE_TIMEOUT",
    "retry_delay": "RETRY_DELAY",
    "retry_delay_max": "RETRY_DELAY_MAX",
    "defer_max": "DEFER_MAX",
    "page_limit": "GLOBAL_PAGE_PER_DOMAIN_LIMIT",
    "max_queued": "TRACKER_MAX_QUEUED",
    "shards": "TRACKER_SHARDS",
    "dupefilter_timeout": "DUPEFILTER_TIMEOUT",
}


def local_settings() -> dict[str, Any]:
    for name in LOCAL_MODULES:
        if importlib.util.find_spec(name) is not None:
            with settings_errors(name):
                return named(import_module(name))
    return {}


@contextmanager
def settings_errors(name: str) -> Iterator[None]:
    """Turn whatever a file of settings raises into an error that says where."""
    try:
        yield
    except FleetError:
        raise
    # It is somebody's program: anything may come of it.
    except Exception as error:
        line, problem = traceback.extract_tb(error.__traceback__)[-1].lineno, str(error)
        if isinstance(error, SyntaxError):
            line, problem = error.lineno, error.msg
        raise ConfigError(name, f"line {line}: {type(error).__name__}: {problem}") from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

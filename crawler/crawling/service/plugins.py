"""The plugins of a monitor: classes that a setting names, or a package that is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Rank of an installed plugin that has no attribute `rank`: after the monitor's own.
RANK = 1000


def load_plugins(table: Mapping[str, int | None], group: str) -> list[type[Any]]:
    """Return the classes of *table* and of the entry points of *group*, by rank.

    *table* maps the import path of a class to its rank, None for "not this one"; it also
    counts for what an entry point names.  Scrapy Cluster's paths of the monitor's own
    plugins (`plugins.scraper_handler.ScraperHandler`) mean the same plugins here.
    """
    ranks = {_path(cls): (cls, getattr(cls, "rank", RANK)) for cls in _installed(group)}
    own = {path.partition(".")[2]: path for path in table if ".plugins." in path}
    wanted = {own.get(path, path): rank for path, rank in table.items()}
    for path, rank in wanted.items():
        if rank is None:
            ranks.pop(path, None)
        else:
            ranks[path] = (_load(path), rank)
    return [cls for cls, _ in sorted(ranks.values(), key=lambda entry: entry[1])]


def _installed(group: str) -> list[type[Any]]:
    found = sorted(entry_points(group=group), key=lambda point: point.value)
    return [_load(point.value.replace(":", ".")) for point in found]


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _load(path: str) -> type[Any]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except (ImportError, ValueError) as error:
        raise ConfigError("PLUGINS", f"cannot import {path!r}: {error}") from error
    if not isinstance(found, type):
        raise ConfigError("PLUGINS", f"there is no class {path!r}")
    return found

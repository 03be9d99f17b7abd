"""`fleet worker`: the worker processes of one host, started again when they die."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError
from crawling.service.config import load_settings

if TYPE_CHECKING:
    import argparse

#: The package's own spiders.
NAMES = ("link", "wandering", "simple", "id")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "run workers that serve the crawls of a tracker until SIGTERM"
    parser = commands.add_parser("worker", help=text, description=text)
    add = parser.add_argument
    add("--processes", type=int, default=1, metavar="N", help="so many on this host (1)")
    add(
        "--spider",
        default="link",
        metavar="NAME",
        help="link, wandering, simple, id, or a file",
    )
    add("--tracker", default="", metavar="URL", help="redis://HOST:PORT/DB")
    add("-s", dest="settings", metavar="NAME=VALUE", action="append", default=[])
    add("--traceback", action="store_true", help="show where an error comes from")
    parser.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    from crawling.supervisor import Supervisor  # noqa: PLC0415 asyncio's processes, for this alone

    if args.processes < 1:
        raise ConfigError("--processes", f"must be at least 1, not {args.processes}")
    settings = load_settings(args.settings)
    # What the workers would all stumble over is said once, and before the first of them.
    tracker = args.tracker or settings["TRACKER"]
    if tracker == "sqlite://":
        raise ConfigError("TRACKER", "must be one that processes share, not sqlite://")
    pairs = [*args.settings, f"TRACKER={tracker}"]
    options = [word for pair in pairs for word in ("-s", pair)]
    worker = [
        sys.executable,
        "-m",
        "scrapy",
        "runspider",
        str(spider_file(args.spider)),
        *options,
    ]
    # A project's scrapy.cfg goes before it.
    os.environ.setdefault("SCRAPY_SETTINGS_MODULE", "crawling.settings")
    grace: float = settings["SHUTDOWN_GRACE"]
    workers = [
        [*worker, *_port(settings["METRICS_PORT"], number)] for number in range(args.processes)
    ]
    return asyncio.run(Supervisor(workers, grace=grace).run())


def _port(first: int | None, number: int) -> list[str]:
    """Return the option by which each process of a host has a port of its own for metrics."""
    return [] if first is None else ["-s", f"METRICS_PORT={first + number}"]


def spider_file(spider: str) -> Path:
    """Return the file of one of the package's spiders, or of the user's own."""
    if spider in NAMES:
        return Path(str(files("crawling.spiders") / f"{spider}_spider.py"))
    if spider.endswith(".py") and Path(spider).is_file():
        return Path(spider)
    names = ", ".join(NAMES)
    raise ConfigError(
        "--spider", f"must be {names} or a Python file that exists, not {spider!r}"
    )

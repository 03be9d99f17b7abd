"""`fleet alive`: whether a service runs on this host, for health checks."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

from crawling.exceptions import FleetError
from crawling.report import show
from crawling.service.config import load_settings, tracker_config
from crawling.service.statistics import Statistics
from crawling.tracker.connect import close_tracker, open_tracker

if TYPE_CHECKING:
    import argparse

SERVICES = ("kafka-monitor", "redis-monitor", "rest", "worker")


class NotAlive(FleetError):
    """No process of the service on this host has been heard of lately."""


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "exit with 0 if a service of this host was heard of lately"
    parser = commands.add_parser("alive", help=text, description=text, parents=[common])
    parser.add_argument("service", choices=SERVICES)
    parser.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    settings = load_settings(args.settings)
    if args.tracker:
        settings["TRACKER"] = args.tracker
    host = socket.gethostname()
    count = asyncio.run(_count(args.service, host, settings))
    if not count:
        raise NotAlive(f"no {args.service} of {host} was heard of lately")
    show(f"{count} of {host}")
    return 0


async def _count(service: str, host: str, settings: dict[str, Any]) -> int:
    url: str = settings["TRACKER"]
    if service != "worker":
        statistics = Statistics(url, (), timeout=settings["REDIS_SOCKET_TIMEOUT"])
        try:
            return len((await statistics.nodes(service)).get(host, ()))
        finally:
            await statistics.close()
    tracker = await open_tracker(url, tracker_config(settings))
    try:
        now = time.time()
        return sum(
            worker.host == host and worker.deadline > now for worker in await tracker.workers()
        )
    finally:
        await close_tracker(url)

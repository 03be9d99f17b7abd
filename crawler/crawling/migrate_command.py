"""`fleet migrate`: from the Redis of a Scrapy Cluster, or of scrapy-redis, to a tracker."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError
from crawling.report import show
from crawling.service.config import load_settings, tracker_config
from crawling.service.text import printable
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.redis_connect import is_redis

if TYPE_CHECKING:
    import argparse
    from typing import TextIO

    from crawling.migrate.takeover import Report


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "take over the Redis of a Scrapy Cluster, or of scrapy-redis"
    parser = commands.add_parser("migrate", help=text, description=text, parents=[common])
    add = parser.add_argument
    add("--from", dest="source", required=True, metavar="URL", help="the old Redis; only read")
    add("--go", action="store_true", help="do it; without, only say what there is")
    add(
        "--rejected",
        default="migrate-rejected.jsonl",
        metavar="FILE",
        help="where --go puts what cannot be read",
    )
    parser.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    report = asyncio.run(_migrate(args))
    if args.json:
        show(json.dumps({"dry_run": not args.go, **report.to_json()}))
    else:
        show(printable_lines(report, go=args.go, rejected=args.rejected))
    return 0


async def _migrate(args: argparse.Namespace) -> Report:
    from crawling.migrate.old_redis import OldRedis  # noqa: PLC0415 for this command alone
    from crawling.migrate.takeover import Takeover, check_apart  # noqa: PLC0415

    settings = load_settings(args.settings)
    url = args.tracker or settings["TRACKER"]
    async with AsyncExitStack() as stack:
        old = OldRedis(args.source)
        stack.push_async_callback(old.close)
        if is_redis(url):
            new = OldRedis(url)
            stack.push_async_callback(new.close)
            await check_apart(old, new)
        if not args.go:
            return await Takeover(old, settings, None, lambda _: None).run()
        file = stack.enter_context(_opened(args.rejected))

        def reject(record: dict[str, str]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()

        tracker = await open_tracker(url, tracker_config(settings))
        stack.push_async_callback(close_tracker, url)
        return await Takeover(old, settings, tracker, reject).run()


def _opened(name: str) -> TextIO:
    try:
        return Path(name).open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError("--rejected", f"cannot write {name!r}: {error.strerror}") from error


def printable_lines(report: Report, *, go: bool, rejected: str) -> str:
    found: dict[str, Any] = report.to_json()
    counts = (found["requests"], len(found["crawls"]), found["domains"])
    lines = ["{} requests of {} crawls in {} domains".format(*counts)]
    for crawl in found["crawls"]:
        name = "/".join(crawl[part] for part in ("spiderid", "appid", "crawlid"))
        done = f", {crawl['queued']} of them queued now" if go else ""
        lines.append(f"  {name}: {crawl['requests']} requests{done}, {crawl['seen']} URLs seen")
    if found["ended"]:
        lines.append(f"{found['ended']} requests of crawls that were stopped: left out")
    if found["idle_dupefilters"]:
        lines.append(
            f"{found['idle_dupefilters']} dupefilters of crawls with nothing left to do"
        )
    for key, count in found["unreadable"].items():
        where = f", see {rejected}" if go else ""
        lines.append(f"{count} members of {key} cannot be read{where}")
    lines.append("Done." if go else "Nothing was changed: --go does it.")
    return "\n".join(map(printable, lines))

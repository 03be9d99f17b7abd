"""Looking at crawls and workers of a tracker, and changing how crawls go on."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawling.crawl_actions import ACTIONS, Done, retry
from crawling.exceptions import ConfigError
from crawling.idle_report import NAMED, idle_workers, waiting_of, worker_json, worker_text
from crawling.report import show, status_text, trace_text
from crawling.service.config import load_settings, tracker_config
from crawling.service.text import printable
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import FAILED_REASONS, is_failure
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crawling.tracker.tracker import CrawlId, CrawlStatus, Tracker


def add_parsers(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    for name, text, action in (
        ("status", "what became of a crawl so far", _status),
        ("stop", "end a crawl; what is queued is dropped", _acting("stop")),
        ("pause", "lease nothing of a crawl until it is resumed", _acting("pause")),
        ("resume", "go on with a paused crawl", _acting("resume")),
        (
            "prioritize",
            "let a crawl count more, or less, than it was submitted with",
            _prioritize,
        ),
        ("retry", "queue again what failed", _retry),
        ("trace", "where a URL is and why", _trace),
    ):
        command = commands.add_parser(
            name, help=text, description=text, parents=[common, crawl_name()]
        )
        command.set_defaults(command=on_tracker(action))
        if name == "trace":
            command.add_argument("url", metavar="URL")
        if name == "prioritize":
            command.add_argument(
                "boost", metavar="N", type=_boost, help="-100 to 100, added to every priority"
            )
        if name == "retry":
            add = command.add_argument
            add("--reason", default="", type=_reason, help="only what failed for this")
            add("--domain", default="", metavar="D", help="only what failed of this domain")
            add(
                "--from-kafka",
                action="store_true",
                help="also what the tracker has forgotten, from <prefix>.failed_firehose",
            )
    text = "which workers there are, where, and what they hold"
    command = commands.add_parser("workers", help=text, description=text, parents=[common])
    command.set_defaults(command=on_tracker(_workers))


def crawl_name() -> argparse.ArgumentParser:
    name = argparse.ArgumentParser(add_help=False, parents=[crawl_kind()])
    name.add_argument("--crawlid", metavar="ID", help="needed when there are several crawls")
    return name


def crawl_kind() -> argparse.ArgumentParser:
    """Return what tells crawls of the same crawlid apart."""
    kind = argparse.ArgumentParser(add_help=False)
    kind.add_argument("--spider", metavar="NAME", help="the crawl's kind of spider")
    kind.add_argument("--appid", metavar="ID", help="the crawl's application")
    return kind


def _reason(text: str) -> str:
    if text and not is_failure(text):
        reasons = ", ".join(sorted(FAILED_REASONS))
        raise argparse.ArgumentTypeError(f"must be {reasons} or http_500, not {text!r}")
    return text


def _boost(text: str) -> int:
    number = int(text)
    if not -100 <= number <= 100:
        raise ValueError
    return number


_boost.__name__ = "number from -100 to 100"


def on_tracker(
    action: Callable[[argparse.Namespace, Tracker], Awaitable[None]],
) -> Callable[[argparse.Namespace], int]:
    """Return a command that opens the tracker of the command line for *action*."""

    async def with_tracker(args: argparse.Namespace) -> None:
        settings = load_settings(args.settings)
        url = _existing(args.tracker or settings["TRACKER"])
        tracker = await open_tracker(url, tracker_config(settings))
        try:
            await action(args, tracker)
        finally:
            await close_tracker(url)

    def command(args: argparse.Namespace) -> int:
        asyncio.run(with_tracker(args))
        return 0

    return command


def _existing(url: str) -> str:
    if url == "sqlite://":
        raise ConfigError("--tracker", "say which: sqlite:///FILE or redis://HOST:PORT/DB")
    file = url.removeprefix("sqlite:///")
    # SQLite would make an empty one.
    if file != url and not Path(file).exists():
        raise ConfigError("--tracker", f"there is no file {file!r}")
    return url


async def _status(args: argparse.Namespace, tracker: Tracker) -> None:
    crawls = [crawl for crawl in await tracker.crawls() if _is_named(args, crawl)]
    if args.crawlid and not crawls:
        raise _unknown(args)
    states = [status for crawl in crawls if (status := await tracker.crawl(crawl))]
    if len(states) == 1:
        await _show_one(args, tracker, states[0])
    elif args.json:
        print_json([books_json(status) for status in states])
    else:
        show("\n".join(map(status_text, states)) if states else "no crawls")


async def _show_one(args: argparse.Namespace, tracker: Tracker, status: CrawlStatus) -> None:
    """Print the books of a crawl, and why what is queued waits."""
    waiting = await waiting_of(tracker, status)
    workers = await idle_workers(tracker) if status.outstanding else []
    if args.json:
        looks = {
            "domains": [each.json() for each in waiting],
            "workers": [worker_json(*pair) for pair in workers],
        }
        print_json([{**books_json(status), **looks}])
        return
    lines = [status_text(status), *(f"  {each.text()}" for each in waiting[:NAMED])]
    if len(waiting) > NAMED:
        lines.append(f"  … and {len(waiting) - NAMED} more domains")
    lines += [f"  worker {worker_text(*pair)}" for pair in workers]
    if status.outstanding and not workers:
        lines.append("  no workers")
    show("\n".join(lines))


def books_json(status: CrawlStatus) -> dict[str, Any]:
    return {
        **status.totals(),
        **status.breakdown(),
        "queued": status.queued,
        "delayed": status.delayed,
        "leased": status.leased,
        "started": status.started,
        "ended": status.ended,
        "priority": status.boost,
    }


def _acting(name: str) -> Callable[[argparse.Namespace, Tracker], Awaitable[None]]:
    async def act(args: argparse.Namespace, tracker: Tracker) -> None:
        crawl = await find_crawl(args, tracker)
        _say(args, crawl, name, await ACTIONS[name](tracker, crawl))

    return act


async def _prioritize(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await find_crawl(args, tracker)
    raised = await tracker.prioritize(crawl, args.boost)
    text = f"counts {args.boost:+d}" if raised else "has ended"
    _say(args, crawl, "prioritize", Done(text, {"priority": args.boost, "changed": raised}))


async def _workers(args: argparse.Namespace, tracker: Tracker) -> None:
    workers = await idle_workers(tracker)
    if args.json:
        print_json([worker_json(*pair) for pair in workers])
    else:
        show("\n".join(worker_text(*pair) for pair in workers) if workers else "no workers")


async def _retry(args: argparse.Namespace, tracker: Tracker) -> None:
    if args.from_kafka:
        await _replay(args, tracker)
        return
    crawl = await find_crawl(args, tracker)
    _say(args, crawl, "retry", await retry(tracker, crawl, args.reason, args.domain))


async def _replay(args: argparse.Namespace, tracker: Tracker) -> None:
    """Queue again what failed of the named crawls, known to the tracker or not."""
    if not args.crawlid:
        raise ConfigError("--crawlid", "say which crawl is to be replayed from Kafka")
    from crawling.replay import Wanted, replay  # noqa: PLC0415  # Kafka for this alone

    wanted = Wanted(args.crawlid, args.spider or "", args.appid or "", args.reason, args.domain)
    queued = 0
    for crawl in await tracker.crawls():
        if _is_named(args, crawl):
            queued += await tracker.retry(crawl, args.reason, args.domain)
    queued += await replay(tracker, load_settings(args.settings), wanted)
    if args.json:
        print_json({"action": "retry", "crawlid": args.crawlid, "queued": queued})
    else:
        show(printable(f"{args.crawlid}: {queued} requests queued again"))


async def _trace(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await find_crawl(args, tracker)
    try:
        seen_as = fingerprint(args.url)
    except ValueError as error:
        raise ConfigError("URL", f"not a URL ({error}): {args.url!r}") from error
    trace = await tracker.trace(crawl, seen_as)
    if args.json:
        print_json({"url": args.url, **vars(trace)})
    else:
        show(trace_text(args.url, trace))


async def find_crawl(args: argparse.Namespace, tracker: Tracker) -> CrawlId:
    """Return the one crawl that the command line names."""
    crawls = [crawl for crawl in await tracker.crawls() if _is_named(args, crawl)]
    if not crawls:
        raise _unknown(args)
    if len(crawls) > 1:
        names = ", ".join("/".join(crawl) for crawl in crawls[:10])
        raise ConfigError("--crawlid", f"which of these (spider/app/crawl): {names}")
    return crawls[0]


def _is_named(args: argparse.Namespace, crawl: CrawlId) -> bool:
    wanted = (args.spider, args.appid, args.crawlid)
    return all(want in {None, name} for want, name in zip(wanted, crawl, strict=True))


def _unknown(args: argparse.Namespace) -> ConfigError:
    named = f" {args.crawlid!r}" if args.crawlid else ""
    return ConfigError("--crawlid", f"this tracker has no crawl{named}")


def _say(args: argparse.Namespace, crawl: CrawlId, action: str, done: Done) -> None:
    if args.json:
        print_json({"action": action, **crawl._asdict(), **done.result})
    else:
        show(f"{printable(crawl.crawlid)}: {done.text}")


def print_json(value: Any) -> None:
    show(json.dumps(value))

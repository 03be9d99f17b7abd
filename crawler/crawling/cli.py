"""The `fleet` command."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawling import crawl_command
from crawling.exceptions import ConfigError, FleetError
from crawling.report import printable, show, status_text, trace_text
from crawling.service.config import load_settings, tracker_config
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import FAILED_REASONS, is_failure
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crawling.tracker.tracker import CrawlId, CrawlStatus, Tracker

#: Exit codes: the crawl finished, no seed could be fetched, bad usage, interrupted.
FINISHED, NOTHING_FETCHED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> None:
    # `--spider module:Class` may be a file of the current folder, as for Scrapy's commands.
    if "" not in sys.path:
        sys.path.insert(0, "")
    # A name that the terminal cannot show must not end the command.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are one line on standard error."""
    args = make_parser().parse_args(argv)
    args.command_line = shlex.join(["fleet", *argv])
    try:
        _check_text(argv)
        code: int = args.command(args)
    except ConfigError as error:
        return _fail(args, error, USAGE)
    except FleetError as error:
        return _fail(args, error, NOTHING_FETCHED)
    except KeyboardInterrupt:
        print("fleet: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _check_text(argv: Sequence[str]) -> None:
    for word in argv:
        if not word.isascii() and word.encode("utf-8", "replace").decode() != word:
            raise ConfigError("arguments", f"must be UTF-8, not {word!r}")


def _fail(args: argparse.Namespace, error: FleetError, code: int) -> int:
    if args.traceback:
        raise error
    print(f"fleet: {printable(str(error))}", file=sys.stderr)
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet", description="Crawl together, lose nothing.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    crawl_command.add_parser(commands, _common(None))
    for name, text, action in (
        ("status", "what became of a crawl so far", _status),
        ("stop", "end a crawl; what is queued is dropped", _stop),
        ("pause", "lease nothing of a crawl until it is resumed", _pause),
        ("resume", "go on with a paused crawl", _resume),
        ("retry", "queue again what failed", _retry),
        ("trace", "where a URL is and why", _trace),
    ):
        command = commands.add_parser(
            name, help=text, description=text, parents=[_common(""), _crawl_name()]
        )
        command.set_defaults(command=_on_tracker(action))
        if name == "trace":
            command.add_argument("url", metavar="URL")
        if name == "retry":
            command.add_argument(
                "--reason", default="", type=_reason, help="only what failed for this"
            )
    return parser


def _common(tracker: str | None) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--tracker",
        metavar="URL",
        default=tracker,
        help="sqlite:///FILE or redis://HOST:PORT/DB"
        + (" (default: in memory)" if tracker is None else ""),
    )
    common.add_argument("--json", action="store_true", help="print JSON on standard output")
    common.add_argument(
        "-s",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a setting; may be repeated",
    )
    common.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    return common


def _crawl_name() -> argparse.ArgumentParser:
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--crawlid", metavar="ID", help="needed when there are several crawls")
    name.add_argument("--spider", metavar="NAME", help="the crawl's kind of spider")
    name.add_argument("--appid", metavar="ID", help="the crawl's application")
    return name


def _reason(text: str) -> str:
    if text and not is_failure(text):
        reasons = ", ".join(sorted(FAILED_REASONS))
        raise argparse.ArgumentTypeError(f"must be {reasons} or http_500, not {text!r}")
    return text


def _on_tracker(
    action: Callable[[argparse.Namespace, Tracker], Awaitable[None]],
) -> Callable[[argparse.Namespace], int]:
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
        return FINISHED

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
    if args.json:
        _print([_books(status) for status in states])
        return
    show("\n".join(map(status_text, states)) if states else "no crawls")


def _books(status: CrawlStatus) -> dict[str, Any]:
    return {
        **status.totals(),
        "queued": status.queued,
        "delayed": status.delayed,
        "leased": status.leased,
        "started": status.started,
        "ended": status.ended,
    }


async def _stop(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await _find(args, tracker)
    dropped = await tracker.stop(crawl)
    _say(args, crawl, "stop", f"stopped, {dropped} requests dropped", dropped=dropped)


async def _pause(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await _find(args, tracker)
    paused = await tracker.pause(crawl)
    _say(args, crawl, "pause", "paused" if paused else "was not running", changed=paused)


async def _resume(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await _find(args, tracker)
    resumed = await tracker.resume(crawl)
    _say(args, crawl, "resume", "goes on" if resumed else "was not paused", changed=resumed)


async def _retry(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await _find(args, tracker)
    queued = await tracker.retry(crawl, args.reason)
    _say(args, crawl, "retry", f"{queued} requests queued again", queued=queued)


async def _trace(args: argparse.Namespace, tracker: Tracker) -> None:
    crawl = await _find(args, tracker)
    try:
        seen_as = fingerprint(args.url)
    except ValueError as error:
        raise ConfigError("URL", f"not a URL ({error}): {args.url!r}") from error
    trace = await tracker.trace(crawl, seen_as)
    if args.json:
        _print({"url": args.url, **vars(trace)})
    else:
        show(trace_text(args.url, trace))


async def _find(args: argparse.Namespace, tracker: Tracker) -> CrawlId:
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


def _say(
    args: argparse.Namespace, crawl: CrawlId, action: str, text: str, **result: object
) -> None:
    if args.json:
        _print({"action": action, **crawl._asdict(), **result})
    else:
        show(f"{printable(crawl.crawlid)}: {text}")


def _print(value: Any) -> None:
    show(json.dumps(value))


if __name__ == "__main__":
    main()

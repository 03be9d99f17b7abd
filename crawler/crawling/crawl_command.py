"""`fleet crawl`: options in, a summary and an exit code out."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import nullcontext
from datetime import datetime, timezone
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crawling.exceptions import ConfigError, RequestError
from crawling.report import show, summary_text
from crawling.service.addresses import is_private
from crawling.service.config import overrides, typed_settings
from crawling.service.cookies import parse_cookies
from crawling.service.kinds import LARGEST
from crawling.tracker.tracker import CrawlOptions
from crawling.tracker.urls import check_url, host_of, with_scheme

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from crawling.manager import CrawlManager, Summary

#: Levels that the link spider follows when --depth is not given; the other spiders
#: narrow their way by themselves and have no limit.
DEFAULT_DEPTH = 2
#: Settings of one command: one site is asked twice a second, a thousand sites two
#: thousand times; the progress and the summary say what a worker's log would.
DEFAULTS = {
    "QUEUE_HITS": 2,
    "QUEUE_WINDOW": 1.0,
    "SC_LOG_LEVEL": "WARNING",
    "STATS_DUMP": False,
}
#: The last second of the year 9999: what is later is a slip of the keyboard.
LATEST = 253402300799
#: What --expires understands after a number.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    parser = commands.add_parser(
        "crawl",
        parents=[common],
        help="crawl from one command, with no server",
        description="Crawl from one command, with no server.\n"
        "Every URL ends as done, failed (with a reason) or dropped (with a reason).",
    )
    add = parser.add_argument
    add("urls", metavar="URL", nargs="*", help="where to begin (for --spider id: IDs)")
    add("--spider", default="link", help="link, wandering, simple, id or module:Class")
    add("--depth", type=_count, metavar="N", help=f"levels to follow (link: {DEFAULT_DEPTH})")
    add(
        "--save",
        action="append",
        default=[],
        metavar="TARGET",
        help="dir/, x.tar[.gz|.bz2|.xz], x.warc[.gz], x.jsonl, - or redis://…; repeatable",
    )
    add(
        "--file-name", metavar="SCHEME", help="names in dir/ and tar, e.g. {domain}/{sha1}{ext}"
    )
    add("--crawlid", metavar="ID", help="name of the crawl (default: made from the seeds)")
    add(
        "--known", metavar="FILE", help="more URLs to fetch, one a line; - reads standard input"
    )
    add("--explored", metavar="FILE", help="URLs never to fetch, one a line")
    add("--link-regex", metavar="RE", help="simple spider: what a link looks like")
    add("--id-regex", metavar="RE", help="id spider: what an ID looks like")
    add("--download-url-fmt", metavar="FMT", help="id spider: URL of an ID, {} stands for it")
    add("--allowed-domain", action="append", metavar="D", help="stay on it; repeatable")
    add("--allow", action="append", metavar="RE", help="follow only matching URLs; repeatable")
    add("--deny", action="append", metavar="RE", help="never follow matching URLs; repeatable")
    add("--max-pages", type=_positive, metavar="N", help="pages of the whole crawl")
    add("--domain-max-pages", type=_positive, metavar="N", help="pages of one domain")
    add("--priority", type=int, default=1, metavar="N", help="1 to 100, 100 is first")
    add(
        "--expires", metavar="WHEN", help="Unix seconds, ISO time, or 90s, 30m, 2h, 1d from now"
    )
    add(
        "--hits",
        type=_count,
        metavar="N",
        help=f"hits per window and domain, 0: no throttle (default {DEFAULTS['QUEUE_HITS']})",
    )
    add(
        "--window",
        type=float,
        metavar="S",
        help=f"seconds (default {DEFAULTS['QUEUE_WINDOW']:g})",
    )
    add("--concurrency", type=_positive, metavar="N", help="requests at once, over all domains")
    add("--user-agent", metavar="UA")
    add("--cookie", metavar="C", help="sent to the seeds' domains only")
    add("--ignore-robots", action="store_true", help="do not ask robots.txt")
    add("--allow-private", action="store_true", help="allow private and loopback addresses")
    add("--quiet", action="store_true", help="no progress, no summary")
    parser.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    # Scrapy takes a second to import: `fleet status` does without.
    from crawling import progress  # noqa: PLC0415

    manager = make_manager(args)
    # One line for each failed attempt is for a worker's log; here the summary counts them.
    logging.getLogger("crawling.log_retry_middleware").setLevel(logging.CRITICAL)
    if not args.quiet:
        manager.watch = progress.show_bar if sys.stderr.isatty() else progress.print_lines
    summary = manager.run(
        known=read_lines(args.known) if args.known else (),
        explored=read_lines(args.explored) if args.explored else (),
        seeds=args.urls,
    )
    _report(args, manager, summary)
    if summary.state == "interrupted":
        return 130
    return 0 if summary.fetched_seeds else 1


def make_manager(args: argparse.Namespace) -> CrawlManager:
    from crawling.manager import CrawlManager  # noqa: PLC0415

    settings = crawl_settings(args)
    if not args.urls and not args.known:
        raise ConfigError("URL", "say where to begin: a URL, or --known FILE")
    if not 1 <= args.priority <= 100:
        raise ConfigError("--priority", f"must be from 1 to 100, not {args.priority}")
    if args.cookie is not None and not parse_cookies(args.cookie):
        raise ConfigError("--cookie", "must be name=value")
    if args.spider != "id":
        args.urls = [seed_url(url, allow_private=args.allow_private) for url in args.urls]
    return CrawlManager(
        spider=args.spider,
        tracker=args.tracker or "sqlite://",
        savers=args.save,
        settings=settings,
        options=crawl_options(args),
        crawlid=args.crawlid or default_crawlid(args),
        priority=args.priority,
        file_name=args.file_name,
    )


def crawl_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what differs from `settings.py`; the later wins.

    Our own defaults, `localsettings.py` and the environment, the options, `-s`.
    """
    options = {
        "QUEUE_HITS": args.hits,
        "QUEUE_WINDOW": args.window,
        "CONCURRENT_REQUESTS": args.concurrency,
        "USER_AGENT": args.user_agent,
        "ROBOTSTXT_OBEY": False if args.ignore_robots else None,
        "ALLOW_PRIVATE_ADDRESSES": True if args.allow_private else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return {**DEFAULTS, **overrides(), **given, **typed_settings(args.settings)}


def crawl_options(args: argparse.Namespace) -> CrawlOptions:
    shared = {
        "allowed_domains": args.allowed_domain,
        "allow_regex": args.allow,
        "deny_regex": args.deny,
        "useragent": args.user_agent,
        "cookie": args.cookie,
        "link_regex": args.link_regex,
        "id_regex": args.id_regex,
        "download_url_fmt": args.download_url_fmt,
    }
    depth = DEFAULT_DEPTH if args.depth is None and args.spider == "link" else args.depth
    return CrawlOptions(
        maxdepth=depth,
        domain_max_pages=args.domain_max_pages,
        max_pages=args.max_pages,
        expires=moment(args.expires) if args.expires else 0.0,
        shared={name: value for name, value in shared.items() if value is not None},
    )


def seed_url(url: str, *, allow_private: bool) -> str:
    """Return *url*, with http:// when it has no scheme; raise `ConfigError` if it is none."""
    url = with_scheme(url)
    try:
        check_url(url)
    except RequestError as error:
        raise ConfigError("URL", str(error)) from error
    if not allow_private and is_private(host_of(url)):
        raise ConfigError("URL", f"{url} is a private address; --allow-private allows it")
    return url


def moment(text: str) -> float:
    """Return Unix seconds of an absolute or relative time."""
    try:
        when = _moment(text)
    except ValueError as error:
        raise ConfigError(
            "--expires", f"must be Unix seconds, an ISO time or like 30m, not {text!r}"
        ) from error
    if not 0 <= when <= LATEST:
        raise ConfigError("--expires", f"must be before the year 10000, not {text!r}")
    return when


def _moment(text: str) -> float:
    try:
        if text[-1:] in UNITS:
            return time.time() + float(text[:-1]) * UNITS[text[-1]]
        return float(text)
    except ValueError:
        when = datetime.fromisoformat(text)
    return when.replace(tzinfo=when.tzinfo or timezone.utc).timestamp()


def default_crawlid(args: argparse.Namespace) -> str:
    """Return the same name for the same seeds, so that the same command goes on."""
    names = "\n".join([args.spider, *args.urls, args.known or ""])
    return f"crawl-{blake2b(names.encode(), digest_size=4).hexdigest()}"


def read_lines(name: str) -> Iterator[str]:
    """Yield the lines of a file or of standard input that are not empty."""
    try:
        with _open(name) as lines:
            yield from filter(None, map(str.strip, lines))
    except OSError as error:
        raise ConfigError("FILE", f"cannot read {name!r}: {error.strerror}") from error


def _open(name: str) -> AbstractContextManager[TextIO]:
    if name == "-":
        return nullcontext(sys.stdin)
    return Path(name).open(encoding="utf-8", errors="surrogateescape")


def _report(args: argparse.Namespace, manager: CrawlManager, summary: Summary) -> None:
    if not args.quiet:
        print(summary_text(summary, args.save), file=sys.stderr)
    if summary.state == "interrupted":
        _say_how_to_resume(args, manager)
    if args.json:
        show(json.dumps(summary.to_json()))


def _say_how_to_resume(args: argparse.Namespace, manager: CrawlManager) -> None:
    if manager.tracker == "sqlite://":
        text = "the tracker was in memory; with --tracker sqlite:///crawl.db it could go on"
    else:
        text = f"to go on: {args.command_line}"
    print(f"fleet: interrupted; {text}", file=sys.stderr)


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= LARGEST:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= LARGEST:
        raise ValueError
    return number


# argparse names the type in its message: "invalid number of 1 or more value: '0'".
_count.__name__ = "number of 0 or more"
_positive.__name__ = "number of 1 or more"

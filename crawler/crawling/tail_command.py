"""`fleet tail`: pages and failures of a crawl as they come, until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.service.config import load_settings, read
from crawling.top_command import add_patience
from crawling.tracker_commands import crawl_kind, find_crawl, on_tracker

if TYPE_CHECKING:
    import argparse

    from crawling.tracker.tracker import Tracker


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "pages and failures of a crawl as they come, until it ends"
    parser = commands.add_parser(
        "tail", help=text, description=text, parents=[common, crawl_kind()]
    )
    parser.add_argument("crawlid", metavar="CRAWLID")
    add_patience(parser)
    parser.set_defaults(command=on_tracker(_tail))


async def _tail(args: argparse.Namespace, tracker: Tracker) -> None:
    from crawling.tail import Tail  # noqa: PLC0415  # rich for this alone

    crawl = await find_crawl(args, tracker)
    settings = load_settings(args.settings)
    tail = Tail(tracker, crawl, as_json=args.json, patience=args.patience)
    if not (args.tracker or settings["TRACKER"]).startswith("sqlite:") and read(
        settings, "KAFKA_HOSTS"
    ):
        from crawling.page_reader import PageReader  # noqa: PLC0415  # Kafka for this alone

        await tail.follow(PageReader(settings, crawl))
    else:
        await tail.follow(None)

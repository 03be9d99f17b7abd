"""`fleet doctor`: prints each hop that works, and ends at the first that does not."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from crawling.report import show
from crawling.service.config import load_settings
from crawling.service.text import printable

if TYPE_CHECKING:
    import argparse

#: Seconds for which a hop is waited for: a worker that rests asks every 5.
PATIENCE = 30.0


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "send one crawl through the whole cluster and name the hop that is broken"
    parser = commands.add_parser("doctor", help=text, description=text, parents=[common])
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="S",
        help=f"seconds to wait for each hop (default {PATIENCE:g})",
    )
    parser.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    settings = load_settings(args.settings)
    if args.tracker:
        settings["TRACKER"] = args.tracker
    asyncio.run(_examine(args, settings))
    return 0


async def _examine(args: argparse.Namespace, settings: dict[str, object]) -> None:
    # The Kafka client takes a moment to import: other commands do without.
    from crawling.doctor import Doctor  # noqa: PLC0415

    async for hop in Doctor(settings, patience=args.patience).examine():
        if args.json:
            show(
                json.dumps(
                    {"hop": hop.name, "what": hop.what, "elapsed": round(hop.elapsed, 3)}
                )
            )
        else:
            show(printable(f"ok  {hop.name}: {hop.what} ({hop.elapsed * 1000:.0f} ms)"))
    if not args.json:
        show("The cluster works from end to end.")

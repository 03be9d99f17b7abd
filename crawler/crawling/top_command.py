"""`fleet top`: crawls, domains and workers of a tracker, live in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError
from crawling.service.config import load_settings
from crawling.tracker.redis_connect import shown
from crawling.tracker_commands import on_tracker

if TYPE_CHECKING:
    import argparse

    from crawling.tracker.tracker import Tracker

#: Seconds for which a tracker that is away is waited for.
PATIENCE = 30.0


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "crawls, domains and workers, live in the terminal"
    parser = commands.add_parser("top", help=text, description=text, parents=[common])
    add_patience(parser)
    parser.set_defaults(command=command)


def add_patience(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="S",
        help=f"seconds to wait for a tracker that is away (default {PATIENCE:g})",
    )


def command(args: argparse.Namespace) -> int:
    from crawling.top.terminal import Terminal  # noqa: PLC0415  # rich for this alone

    if args.json:
        raise ConfigError("--json", "is for `fleet status`; `fleet top` is for a terminal")
    Terminal.check()
    return on_tracker(_top)(args)


async def _top(args: argparse.Namespace, tracker: Tracker) -> None:
    from crawling.service.patience import Patience  # noqa: PLC0415
    from crawling.top.terminal import Terminal  # noqa: PLC0415
    from crawling.top.top import Top  # noqa: PLC0415

    terminal = Terminal()
    terminal.enter()
    try:
        place = shown(args.tracker or load_settings(args.settings)["TRACKER"])
        await Top(tracker, terminal, place=place, patience=Patience(args.patience)).run()
    finally:
        terminal.leave()

"""The command lines of the Kafka monitor, and of kafkadump."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from crawling.service.monitor import (
    add_flags,
    exit_code,
    install_logs,
    monitor_settings,
    run,
)
from crawling.service.usage import help_with_examples
from kafka_monitor import settings as defaults

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    sys.exit(kafka_monitor(sys.argv[1:] if argv is None else argv))


def dump_main(argv: Sequence[str] | None = None) -> None:
    sys.exit(kafkadump(sys.argv[1:] if argv is None else argv))


def kafka_monitor(argv: Sequence[str], prog: str = "kafka_monitor.py") -> int:
    """Run `run` or `feed` and return the exit code."""
    args = kafka_monitor_parser(prog).parse_args(argv)
    return exit_code(prog, args, lambda: args.command(args))


def kafka_monitor_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="From Kafka to Redis.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "take requests from Kafka until SIGTERM"
    command = commands.add_parser(
        "run", prog=_prog(prog), help=text, **help_with_examples(text, "kafka-monitor")
    )
    command.set_defaults(command=_run)
    add_flags(command)
    text = "send requests to Kafka"
    command = commands.add_parser(
        "feed", prog=_prog(prog), help=text, **help_with_examples(text, "feed")
    )
    command.set_defaults(command=_feed)
    add_flags(command)
    command.add_argument(
        "json", metavar="JSON|FILE|-", help="a request, or a file or standard input with many"
    )
    return parser


def kafkadump(argv: Sequence[str], prog: str = "kafkadump.py") -> int:
    """Run `list` or `dump` and return the exit code."""
    args = kafkadump_parser(prog).parse_args(argv)

    def command_() -> int:
        settings = monitor_settings(args, defaults)
        if args.kafka_host:
            settings["KAFKA_HOSTS"] = args.kafka_host
        install_logs({**settings, "LOGGER_NAME": "kafkadump"})
        run(lambda stopping: args.work(args, settings, stopping))
        return 0

    return exit_code(prog, args, command_)


def kafkadump_parser(prog: str) -> argparse.ArgumentParser:
    from kafka_monitor import dump  # noqa: PLC0415 Kafka's client is loaded for whoever needs it

    parser = argparse.ArgumentParser(
        prog=prog, description="What is on Kafka's topics.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="print the names of all topics")
    listing.set_defaults(work=dump.list_topics)
    text = "print the messages of a topic"
    dumping = commands.add_parser(
        "dump", prog=_prog(prog), help=text, **help_with_examples(text, "dump")
    )
    dumping.set_defaults(work=dump.dump_topic)
    dump.add_flags(dumping)
    for command in (listing, dumping):
        command.add_argument("-kh", "--kafka-host", metavar="HOST:PORT", help="KAFKA_HOSTS")
        add_flags(command)
    return parser


def _prog(prog: str) -> str | None:
    """Return how help calls a command: `fleet feed` is one by itself, None for the usual."""
    return None if prog.endswith(".py") else prog


def _run(args: argparse.Namespace) -> int:
    from kafka_monitor.service import serve  # noqa: PLC0415 `feed` needs no Redis

    settings = monitor_settings(args, defaults)
    install_logs(settings)
    run(lambda stopping: serve(settings, stopping))
    return 0


def _feed(args: argparse.Namespace) -> int:
    from kafka_monitor.feed import feed  # noqa: PLC0415 Kafka's client is loaded for whoever needs it

    settings = monitor_settings(args, defaults)
    install_logs(settings)
    return 1 if run(lambda stopping: feed(args.json, settings, stopping)) else 0

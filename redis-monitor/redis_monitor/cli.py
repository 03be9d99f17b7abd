"""The command line of the Redis monitor."""

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
from redis_monitor import settings as defaults
from redis_monitor.service import serve

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    sys.exit(redis_monitor(sys.argv[1:] if argv is None else argv))


def redis_monitor(argv: Sequence[str], prog: str = "redis_monitor.py") -> int:
    """Answer and relay until SIGTERM; return the exit code."""
    args = redis_monitor_parser(prog).parse_args(argv)

    def command() -> int:
        settings = monitor_settings(args, defaults)
        install_logs(settings)
        run(lambda stopping: serve(settings, stopping))
        return 0

    return exit_code(prog, args, command)


def redis_monitor_parser(prog: str) -> argparse.ArgumentParser:
    text = "From Redis to Kafka: answers and events."
    parser = argparse.ArgumentParser(
        prog=prog, allow_abbrev=False, **help_with_examples(text, "redis-monitor")
    )
    add_flags(parser)
    return parser

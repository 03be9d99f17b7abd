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
from redis_monitor import settings as defaults
from redis_monitor.service import serve

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    sys.exit(redis_monitor(sys.argv[1:] if argv is None else argv))


def redis_monitor(argv: Sequence[str], prog: str = "redis_monitor.py") -> int:
    """Answer and relay until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog, description="From Redis to Kafka: answers and events.", allow_abbrev=False
    )
    add_flags(parser)
    args = parser.parse_args(argv)

    def command() -> int:
        settings = monitor_settings(args, defaults)
        install_logs(settings)
        run(lambda stopping: serve(settings, stopping))
        return 0

    return exit_code(prog, args, command)

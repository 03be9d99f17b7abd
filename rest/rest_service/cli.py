"""The command line of the REST service."""

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
from rest_service import settings as defaults
from rest_service.access import SCOPES, new_token

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    sys.exit(rest_service(sys.argv[1:] if argv is None else argv))


def rest_service(argv: Sequence[str], prog: str = "rest_service.py") -> int:
    """Answer HTTP requests until SIGTERM; return the exit code."""
    args = rest_service_parser(prog).parse_args(argv)
    given = {"TRACKER": args.tracker, "REST_HOST": args.host, "REST_PORT": args.port}
    args.settings += [f"{name}={value}" for name, value in given.items() if value]
    return exit_code(prog, args, lambda: _command(args))


def rest_service_parser(prog: str) -> argparse.ArgumentParser:
    text = "crawls, domains and workers over HTTP"
    parser = argparse.ArgumentParser(
        prog=prog, allow_abbrev=False, **help_with_examples(text, "serve")
    )
    add_flags(parser)
    add = parser.add_argument
    add("--tracker", metavar="URL", help="TRACKER: redis://HOST:PORT/DB or sqlite:///FILE")
    add("--host", help="REST_HOST: the address to listen on (127.0.0.1)")
    add("--port", help="REST_PORT: the port to listen on (5343)")
    add(
        "--new-token",
        nargs=2,
        metavar=("NAME", "|".join(SCOPES)),
        help="print a line for the file REST_TOKENS, and on standard error its token; end",
    )
    return parser


def _command(args: argparse.Namespace) -> int:
    if args.new_token:
        token, line = new_token(*args.new_token)
        sys.stderr.write(f"{token}\n")
        sys.stdout.write(f"{line}\n")
        return 0
    # FastAPI takes half a second to import: help and tokens do without.
    from rest_service.service import serve  # noqa: PLC0415

    settings = monitor_settings(args, defaults)
    install_logs(settings)
    run(lambda stopping: serve(settings, stopping))
    return 0

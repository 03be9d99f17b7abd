"""The `fleet` command."""

from __future__ import annotations

import argparse
import shlex
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

from crawling import (
    alive_command,
    audit_command,
    completion_command,
    crawl_command,
    doctor_command,
    domain_commands,
    migrate_command,
    startproject_command,
    tail_command,
    top_command,
    tracker_commands,
    worker_command,
)
from crawling.exceptions import ConfigError, FleetError
from crawling.service.text import printable, without_logins
from crawling.service.usage import (
    FAILED,
    INTERRUPTED,
    USAGE,
    exit_codes,
    help_with_examples,
    subparsers_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Commands of the services: module, function, what goes before the flags, and the help.
ELSEWHERE: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "kafka-monitor": ("kafka_monitor.cli", "kafka_monitor", ("run",), "requests from Kafka"),
    "redis-monitor": ("redis_monitor.cli", "redis_monitor", (), "answers and events to Kafka"),
    "serve": ("rest_service.cli", "rest_service", (), "crawls, domains, workers over HTTP"),
    "feed": ("kafka_monitor.cli", "kafka_monitor", ("feed",), "send requests to Kafka"),
    "dump": ("kafka_monitor.cli", "kafkadump", ("dump",), "print what is on a Kafka topic"),
}


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
    if argv and argv[0] in ELSEWHERE:
        return _run_elsewhere(*argv)
    args = make_parser().parse_args(argv)
    args.command_line = _shown(argv)
    try:
        _check_text(argv)
        code: int = args.command(args)
    except ConfigError as error:
        return _fail(args, error, USAGE)
    except FleetError as error:
        return _fail(args, error, FAILED)
    except KeyboardInterrupt:
        print("fleet: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _shown(argv: Sequence[str]) -> str:
    """Return the command as it may be shown: without passwords and cookies."""
    words = ["fleet", *map(without_logins, argv)]
    for index, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if name == "--cookie" and equals:
            words[index] = "--cookie=…"
        elif name == "--cookie" and index + 1 < len(words):
            words[index + 1] = "…"
    return shlex.join(words)


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
    return _parser()[0]


def _parser() -> tuple[
    argparse.ArgumentParser, argparse._SubParsersAction[argparse.ArgumentParser]
]:
    parser = argparse.ArgumentParser(
        prog="fleet",
        description="Crawl together, lose nothing.  `fleet COMMAND --help` has examples.",
        epilog=exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    crawl_command.add_parser(commands, _common(None))
    doctor_command.add_parser(commands, _common(""))
    alive_command.add_parser(commands, _common(""))
    audit_command.add_parser(commands, _common(""))
    migrate_command.add_parser(commands, _common(""))
    for module in (tracker_commands, domain_commands):
        module.add_parsers(commands, _common(""))
    for module in (top_command, tail_command):
        module.add_parser(commands, _common(""))
    worker_command.add_parser(commands)
    startproject_command.add_parser(commands)
    completion_command.add_parser(commands, whole_parser)
    for name, (*_, text) in ELSEWHERE.items():
        commands.add_parser(name, help=text)
    for name, command in commands.choices.items():
        for attribute, value in help_with_examples(command.description or "", name).items():
            setattr(command, attribute, value)
    return parser, commands


def whole_parser() -> argparse.ArgumentParser:
    """Return the parser with what the monitors' commands take, which are loaded for it."""
    parser, commands = _parser()
    for name, (module, function, words, _) in ELSEWHERE.items():
        command = getattr(import_module(module), f"{function}_parser")(f"fleet {name}")
        for word in words:
            command = subparsers_of(command)[word]
        commands.choices[name] = command
    return parser


def _run_elsewhere(name: str, *flags: str) -> int:
    """Run a command of a service, which is loaded only now."""
    module, function, words, _ = ELSEWHERE[name]
    if flags[:1] == ("list",):
        words = ()
    code: int = getattr(import_module(module), function)([*words, *flags], f"fleet {name}")
    return code


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


if __name__ == "__main__":
    main()

"""`fleet completion`: what a shell needs to complete the words of `fleet`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawling.report import show
from crawling.service.usage import subparsers_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

SHELLS = ("bash", "zsh", "fish")
#: Arguments whose names in the help begin with these are files.
FILES = ("FILE", "TARGET", "JSON|FILE")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    whole: Callable[[], argparse.ArgumentParser],
) -> None:
    """Add the command; *whole* makes the parser of all commands, with those of monitors."""
    text = "print a script that lets a shell complete commands and options"
    parser = commands.add_parser("completion", help=text, description=text)
    parser.add_argument("shell", choices=SHELLS)
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error comes from"
    )
    parser.set_defaults(command=lambda args: _print(args.shell, whole()))


def _print(shell: str, parser: argparse.ArgumentParser) -> int:
    import shtab  # noqa: PLC0415  # for this command alone

    for command in subparsers_of(parser).values():
        for action in command._actions:  # argparse has no other way to them
            if str(action.metavar).startswith(FILES):
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's
    show(shtab.complete(parser, shell))
    return 0

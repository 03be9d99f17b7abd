"""What the monitors have in common: their flags, their settings, their end."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crawling.exceptions import ConfigError, FleetError
from crawling.service import logs
from crawling.service.config import (
    MONITOR,
    environment,
    local_settings,
    named,
    settings_errors,
    tracker_url,
    typed_all,
    typed_settings,
)
from crawling.service.garbage import collect_seldom
from crawling.service.text import printable
from crawling.service.usage import FAILED, USAGE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping
    from types import ModuleType

Result = TypeVar("Result")

#: A monitor's log settings; the crawler's are these with `SC_` before them.
LOG_SETTINGS = (
    "LOGGER_NAME LOG_LEVEL LOG_JSON LOG_STDOUT LOG_DIR LOG_FILE LOG_MAX_BYTES LOG_BACKUPS"
).split()
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-s",
        "--settings",
        action="append",
        default=[],
        metavar="FILE|NAME=VALUE",
        help="a file or module of settings in place of localsettings.py, or one setting; "
        "may be repeated",
    )
    add("-ll", "--log-level", choices=LEVELS, help="what is logged: this and worse")
    add("-lf", "--log-file", action="store_true", help="log to a file: LOG_DIR, LOG_FILE")
    add("-lj", "--log-json", action="store_true", help="log one JSON object a line")
    add("--traceback", action="store_true", help="show where an error comes from")


def monitor_settings(args: argparse.Namespace, defaults: ModuleType) -> dict[str, Any]:
    """Return all settings of the monitor whose own *defaults* these are.

    The later wins: defaults, FILE or `localsettings.py`, the environment, NAME=VALUE,
    the other flags.  PLUGINS are merged, so that one entry changes one plugin.
    """
    pairs = [text for text in args.settings if "=" in text]
    files = [text for text in args.settings if "=" not in text]
    settings = {**named(import_module("crawling.settings")), **named(defaults)}
    for layer in (
        *([_settings_of(file) for file in files] or [local_settings()]),
        environment(MONITOR),
        typed_settings(pairs, MONITOR),
        _flags(args),
    ):
        settings |= _merged(settings, typed_all(layer, MONITOR))
    return {**settings, "TRACKER": tracker_url(settings)}


def install_logs(settings: Mapping[str, Any]) -> None:
    logs.install({f"SC_{name}": settings[name] for name in LOG_SETTINGS})


def exit_code(prog: str, args: argparse.Namespace, command: Callable[[], int]) -> int:
    """Run *command* and return its exit code; an error is one line on standard error."""
    try:
        return command()
    except FleetError as error:
        if args.traceback:
            raise
        sys.stderr.write(f"{prog}: {printable(str(error))}\n")
        return USAGE if isinstance(error, ConfigError) else FAILED


def run(work: Callable[[asyncio.Event], Awaitable[Result]]) -> Result:
    """Run *work* until it ends; SIGTERM or Ctrl-C sets the event, and it should end soon.

    A second signal ends the process at once.
    """
    return asyncio.run(_run(work))


async def _run(work: Callable[[asyncio.Event], Awaitable[Result]]) -> Result:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    collect_seldom()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return await work(stopping)


def _settings_of(name: str) -> dict[str, Any]:
    """Return the settings of a file, or of a module as Scrapy Cluster names it."""
    path = Path(name)
    if path.is_file():
        spec = importlib.util.spec_from_file_location("localsettings", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with settings_errors(name):
            spec.loader.exec_module(module)
        return named(module)
    dotted = name.removesuffix(".py")
    if not _is_module(dotted):
        raise ConfigError("-s", f"must be NAME=VALUE, a file or a module, not {name!r}")
    with settings_errors(name):
        return named(import_module(dotted))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    if args.log_level:
        flags["LOG_LEVEL"] = args.log_level
    if args.log_file:
        flags["LOG_STDOUT"] = False
    if args.log_json:
        flags["LOG_JSON"] = True
    return flags


def _merged(settings: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    if "PLUGINS" not in layer:
        return dict(layer)
    return {**layer, "PLUGINS": {**settings["PLUGINS"], **layer["PLUGINS"]}}

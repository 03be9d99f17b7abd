"""Everything scrapy-fleet raises on purpose, sorted by what the caller should do.

* FleetError
  * ConfigError: a setting, option or target makes no sense; the program exits.
  * MessageError: a message makes no sense; report it to its sender and go on.
  * RequestError: this URL or request will never be valid; report it and go on.
  * Unavailable: Redis, Kafka or the disk is away; keep the work and try again.
    * OutputClosed: this output will not come back; keep the work, and stop.
  * OutputError: this page can never be written; the request fails with its reason.
    * TooLarge: because of its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class FleetError(Exception):
    """Base class of every error in this module."""


class ConfigError(FleetError):
    """A setting, an option or a target is missing or makes no sense."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class Problem(NamedTuple):
    """What is wrong with one field of a message; *path* is "" for the message itself."""

    path: str
    message: str
    value: Any = None


class MessageError(FleetError):
    """A message that nothing can be done with, and everything that is wrong with it."""

    def __init__(self, errors: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{e.path or 'message'}: {e.message}" for e in errors))
        self.errors = tuple(errors)


class RequestError(FleetError):
    """A URL or request that can never be fetched; *reason* is one of the closed list."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class Unavailable(FleetError):
    """A server or the disk does not answer; what was asked may be asked again."""


class OutputClosed(Unavailable):
    """An output that is gone for good, such as a pipe that nobody reads any more."""


class OutputError(FleetError):
    """One page that a saver can never write; other pages are not affected."""


class TooLarge(OutputError):
    """A page that is larger than an output takes."""

"""What kind of value a setting takes, and how it is read from text.

A kind is a function from a value (Python's own, or the text of an environment
variable or of `-s NAME=VALUE`) to the typed one.  It raises `ValueError` with
what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

Kind = Callable[[Any], Any]

#: Largest whole number: SQLite, msgpack and Lua all keep it as it is.
LARGEST = 2**53

_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def boolean(value: Any) -> bool:
    try:
        return _TRUTH[str(value).strip().lower()]
    except KeyError:
        raise ValueError("must be 0, 1, true or false") from None


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 one error for all that is wrong with a value
    return value


def integer(low: int, high: int | None = None) -> Kind:
    """Return the kind of whole numbers from *low* to *high*."""

    def read(value: Any) -> int:
        number = _number(value)
        if number is None or number != int(number):
            raise ValueError(f"must be a whole number, {_bounds(low, high)}")
        if abs(number) > LARGEST:
            raise ValueError(f"must be at most {LARGEST}")
        return int(_within(number, low, high))

    return read


def seconds(low: float) -> Kind:
    """Return the kind of times in seconds, *low* or more."""

    def read(value: Any) -> float:
        number = _number(value)
        if number is None:
            raise ValueError(f"must be a number of seconds, {_bounds(low, None)}")
        return _within(number, low, None)

    return read


def duration(value: Any) -> float:
    """Read a time that must be longer than nothing."""
    number = _number(value)
    if number is None or number <= 0:
        raise ValueError("must be more than 0 seconds")
    return number


def optional(kind: Kind) -> Kind:
    """Return *kind*, or None for None, "" and "none"."""

    def read(value: Any) -> Any:
        if value is None or str(value).strip().lower() in {"", "none"}:
            return None
        return kind(value)

    return read


def choice(*allowed: str) -> Kind:
    """Return the kind of these words, in whatever case they come."""
    spelled = {word.upper(): word for word in allowed}

    def read(value: Any) -> str:
        try:
            return spelled[str(value).strip().upper()]
        except KeyError:
            raise ValueError("must be one of " + ", ".join(allowed)) from None

    return read


def listing(kind: Kind = text) -> Kind:
    """Return the kind of lists whose items are of *kind*; in text a comma parts them."""

    def read(value: Any) -> list[Any]:
        if isinstance(value, str):
            value = [item.strip() for item in value.split(",") if item.strip()]
        if not isinstance(value, Sequence | set | frozenset):
            raise ValueError("must be a list, or text with commas")  # noqa: TRY004 as above
        return [kind(item) for item in value]

    return read


def mapping(value: Any) -> Mapping[Any, Any]:
    """Read a dict; in text it is JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise ValueError("must be a dict, or a JSON object")  # noqa: TRY004 as above
    return value


def ranks(value: Any) -> Mapping[str, int | None]:
    """Read the ranks of classes; None turns one off."""
    table = mapping(value)
    for name, rank in table.items():
        if isinstance(rank, bool) or not isinstance(rank, int | None):
            raise ValueError(f"the rank of {name} must be a whole number or None")  # noqa: TRY004 as above
    return table


def anything(value: Any) -> Any:
    """Read a class, a function or the import path of one."""
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def _within(number: float, low: float, high: float | None) -> float:
    if number < low or (high is not None and number > high):
        raise ValueError(f"must be {_bounds(low, high)}")
    return number


def _bounds(low: float, high: float | None) -> str:
    return f"from {low} to {high}" if high is not None else f"at least {low}"

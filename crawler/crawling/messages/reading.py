"""Bytes from outside to JSON: strictly, and whatever the bytes are without a crash."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

from crawling.exceptions import MessageError, Problem

#: Longest message that is looked into, in bytes: more than Kafka takes unless it is told to.
LARGEST_MESSAGE = 2**21
#: Objects and lists inside each other: more would end in Python's recursion limit later.
DEEPEST = 50

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_message(raw: bytes | None) -> Any:
    """Return the JSON that *raw* is; raise `MessageError` for anything else.

    Stricter than `json.loads`: no NaN, no number beyond floats, no name twice in an
    object, no half of a surrogate pair, no nesting that somebody else chokes on.
    """
    if raw is None:
        raise _refused("has no value")
    if len(raw) > LARGEST_MESSAGE:
        raise _refused(f"has {len(raw)} bytes, at most {LARGEST_MESSAGE} are read")
    try:
        text = raw.decode("utf-8")
        message = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise _refused(f"is not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise _refused("is nested too deeply") from error
    except ValueError as error:
        raise _refused(f"is not JSON: {error}") from error
    _check_depth(message, text)
    if "\\u" in text:
        _check_texts(message)
    return message


def _refused(problem: str, path: str = "", value: Any = None) -> MessageError:
    return MessageError([Problem(path, problem, value)])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:100]!r} stands twice in an object")
    return found


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:100]} is too large")
    return number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


# Made once: `json.loads` with these would make one for each message.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_constant=_constant
)


def _check_depth(message: Any, text: str) -> None:
    if text.count("{") + text.count("[") <= DEEPEST:
        return
    layer = [message]
    for _ in range(DEEPEST + 1):
        layer = [inner for value in layer for inner in _inside(value)]
        if not layer:
            return
    raise _refused(f"is nested too deeply: at most {DEEPEST} objects and lists")


def _check_texts(message: Any) -> None:
    todo = [message]
    while todo:
        value = todo.pop()
        if isinstance(value, str) and _SURROGATE.search(value):
            raise _refused(f"has half of a surrogate pair in {value[:100]!a}")
        if isinstance(value, dict):
            todo.extend(value)
        todo.extend(_inside(value))


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []

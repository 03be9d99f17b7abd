"""What becomes of a message that nothing can be done with."""

from __future__ import annotations

import json
import time
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crawling.exceptions import MessageError, Problem

#: Longest value that is repeated to the sender, as JSON.
LONGEST_VALUE = 1000


def rejection(message: dict[str, Any], error: MessageError) -> dict[str, Any]:
    """Return the reply to whoever sent *message*, an object with an appid."""
    return {
        "action": "rejected",
        "appid": message["appid"],
        "uuid": _name(message.get("uuid")),
        "crawlid": _name(message.get("crawlid")),
        "errors": [shown_problem(problem) for problem in error.errors],
        "server_time": int(time.time()),
    }


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def shown_problem(problem: Problem) -> dict[str, Any]:
    """Return a problem as JSON, its value cut where it is long."""
    shown = json.dumps(problem.value)
    if len(shown) > LONGEST_VALUE:
        value = f"{shown[:LONGEST_VALUE]}…"
    elif isinstance(problem.value, float) and not isfinite(problem.value):
        # NaN and Infinity, which are no JSON.
        value = shown
    else:
        value = problem.value
    return {"path": problem.path, "message": problem.message, "value": value}

"""JSON in, JSON out: bodies read strictly, errors in one form."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Response

from crawling.exceptions import FleetError
from crawling.messages.rejection import shown_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.exceptions import Problem


class NotFound(FleetError):
    """What a path names is not there."""


class NotNow(FleetError):
    """What is asked for cannot be done as things are."""


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def json_response(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status, media_type="application/json")


def problem_response(
    status: int, detail: str, errors: Sequence[Problem] = (), retry_after: float = 0.0
) -> Response:
    """Return an error as RFC 9457 has it; *errors* say what is wrong with which field."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = [shown_problem(each) for each in errors]
    return Response(
        to_json(body),
        status,
        headers=headers_of(status, retry_after),
        media_type="application/problem+json",
    )


def headers_of(status: int, retry_after: float) -> dict[str, str]:
    headers = {"Retry-After": str(max(1, round(retry_after + 0.5)))} if retry_after else {}
    return headers | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})

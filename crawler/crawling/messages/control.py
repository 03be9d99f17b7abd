"""Requests that change or ask about crawls and domains: what their schemas cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError, MessageError, Problem
from crawling.service.patterns import registered_domain
from crawling.tracker.tracker import FAILED_REASONS, is_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Fields that an action needs, and those it may have, beside uuid, appid and spiderid.
NEEDED = {
    "stop": ("crawlid",),
    "info": (),
    "pause": ("crawlid",),
    "resume": ("crawlid",),
    "retry": ("crawlid",),
    "trace": ("crawlid", "url"),
    "prioritize": ("crawlid", "priority"),
}
ALLOWED = {"info": ("crawlid",), "retry": ("reason", "domain")}
_OF_SOME = ("crawlid", "url", "reason", "domain", "priority")


def check_action(request: Mapping[str, Any]) -> None:
    """Raise `MessageError` for an action that lacks a field, or has another's."""
    _raise(_action_problems(request))


def check_domain(request: Mapping[str, Any]) -> None:
    """Raise `MessageError` for a domain request that cannot be carried out."""
    _raise(_domain_problems(request))


def check_reason(reason: str) -> None:
    """Raise `MessageError` for what is neither empty nor a reason of failures."""
    _raise(_reason_problems(reason))


def _raise(problems: Iterator[Problem]) -> None:
    if found := list(problems):
        raise MessageError(found)


def _action_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    action = request["action"]
    needed, allowed = NEEDED[action], ALLOWED.get(action, ())
    for field in needed:
        if field not in request:
            yield Problem(field, f"is required for {action}")
    for field in _OF_SOME:
        if field in request and field not in (*needed, *allowed):
            yield Problem(field, f"is no field of {action}", request[field])
    yield from _reason_problems(request.get("reason", ""))


def _reason_problems(reason: str) -> Iterator[Problem]:
    if reason and not is_failure(reason):
        known = ", ".join(sorted(FAILED_REASONS))
        yield Problem("reason", f"must be {known} or http_500, not {reason[:100]}", reason)


def _domain_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        registered_domain(request["domain"])
    except ConfigError as error:
        yield Problem("domain", error.problem, request["domain"])
    if request["action"] == "domain-update":
        for field in ("hits", "window"):
            if request[field] < 1:
                found = request[field]
                yield Problem(
                    field, f"must be at least 1 for domain-update, not {found}", found
                )

"""What the handlers of requests share: what they work with, who may, which page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote, unquote

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import HTTPBearer

from crawling.exceptions import MessageError, Problem
from crawling.tracker.tracker import CrawlId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawling.messages.validation import Schema
    from crawling.service.tracing import Traces
    from crawling.tracker.idleness import Idle
    from crawling.tracker.tracker import Tracker, WorkerStatus
    from rest_service.access import Access, Scope
    from rest_service.backends import Backends
    from rest_service.domain_board import DomainBoard
    from rest_service.events import Events
    from rest_service.overview import Overview
    from rest_service.pages import NewestPages
    from rest_service.shared_look import SharedLook

Item = TypeVar("Item")

#: Rows of a page at most.
MOST_ROWS = 500


@dataclass
class Parts:
    """What one process of the service has, made once."""

    settings: Mapping[str, Any]
    backends: Backends
    access: Access
    overview: Overview
    events: Events
    domains: DomainBoard
    #: All workers, each with why it is idle.
    workers: SharedLook[list[tuple[WorkerStatus, Idle]]]
    pages: NewestPages | None
    crawl_schema: Schema
    traces: Traces | None

    @property
    def tracker(self) -> Tracker:
        return self.backends.tracker

    def touch(self) -> None:
        """Let the next to ask look anew: something was changed through this process."""
        self.overview.touch()
        self.domains.touch()
        self.workers.touch()

    @staticmethod
    def place(crawl: CrawlId) -> str:
        """Return what follows `/crawls` in the path of a crawl."""
        return "".join(f"/{quote(part, safe='')}" for part in crawl)


def parts_of(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


PartsOf = Annotated[Parts, Depends(parts_of)]
Limit = Annotated[
    int, Query(ge=1, le=MOST_ROWS, description="Rows of the page.", examples=[50])
]
After = Annotated[int, Query(ge=0, description="`next` of the page before.", examples=[50])]

_bearer = HTTPBearer(
    auto_error=False,
    description="A token of the file `REST_TOKENS`. None is needed where the service listens "
    "on loopback without such a file.",
)


def needs(scope: Scope) -> Any:
    """Return the dependency of what needs a token of *scope*."""

    async def allowed(
        request: Request, parts: PartsOf, _: Annotated[Any, Security(_bearer)]
    ) -> None:
        authorization = request.headers.get("authorization")
        request.state.token = parts.access.check(authorization, scope)

    return Depends(allowed)


def token_of(request: Request) -> str:
    """Return the name of the token that a request behind `needs` has shown, "" for none."""
    return str(request.state.token)


TokenOf = Annotated[str, Depends(token_of)]


def crawl_named(
    spiderid: Annotated[str, Path(examples=["link"])],
    appid: Annotated[str, Path(examples=["demo"])],
    crawlid: Annotated[str, Path(examples=["first"])],
) -> CrawlId:
    """Return the crawl of a path, whose parts may hold anything, percent-escaped."""
    return CrawlId(
        unescaped("spiderid", spiderid),
        unescaped("appid", appid),
        unescaped("crawlid", crawlid),
    )


def unescaped(name: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise MessageError([Problem(name, "must be UTF-8, percent-escaped", text)]) from error


def page_of(rows: Sequence[Item], after: int, limit: int) -> tuple[Sequence[Item], str | None]:
    """Return a page of *rows*, and where the next one begins."""
    end = after + limit
    return rows[after:end], str(end) if end < len(rows) else None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of answers that are errors (RFC 9457)."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _MEANING[status], "content": content} for status in statuses
    }


_MEANING = {
    400: "The request makes no sense; `errors` has path and reason.",
    401: "There is no token, or it is not known.",
    403: "The token's scope does not allow it.",
    404: "There is no such thing.",
    409: "Not as things are now.",
    413: "The body is too large.",
    429: "More requests or streams than the token may have; see Retry-After.",
    503: "Redis or Kafka does not answer; the same request may be sent again.",
}
